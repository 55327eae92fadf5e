"""What the guard at staff's sign-in may know of who tries: the name they give, and no address."""

from django.http import HttpRequest


def no_address(request: HttpRequest) -> None:
    """Return no address."""


def username_only(*_args: object, **_kwargs: object) -> str:
    """Return nothing of the browser either."""
    return ""
