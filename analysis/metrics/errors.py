"""What may be wrong with images, weights and reference files; the message names the value and the remedy."""

from generation.errors import GenerationError


class MetricsError(GenerationError):
    """Images, features or reference files from which a metric cannot be computed."""
