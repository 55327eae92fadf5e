"""The same as reopen_study, by the name that one looks for when the study is a draft."""

from .reopen_study import Command as ReopenCommand


class Command(ReopenCommand):
    """open_study SLUG."""
