"""Errors that a person can mend: the message names the value and the remedy."""


class GenerationError(Exception):
    """Base of every error that this room raises on bad input."""


class PresetError(GenerationError):
    """A preset that does not exist, or that says something which cannot be."""


class CheckpointError(GenerationError):
    """A checkpoint that is missing, broken, unsafe, or of another network."""


class DatasetError(GenerationError):
    """A data set that is missing, broken, or not what the preset describes."""


class NoHeldOutError(DatasetError):
    """A data set that has nothing to validate on."""


class SettingsError(GenerationError):
    """A setting given on the command line that cannot be."""
