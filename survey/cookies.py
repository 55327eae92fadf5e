"""The one cookie a rater gets: their random token for one study."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from .models import Rater, Study

MAX_AGE_S = 365 * 24 * 3600


def cookie_name(slug: str) -> str:
    """Return the name of the study's cookie; each study has its own."""
    return f"rater-{slug}"


def token_from(request: HttpRequest, study: Study) -> str | None:
    """Return the token that the browser sent for this study."""
    return request.COOKIES.get(cookie_name(study.slug))


def remember(response: HttpResponse, rater: Rater) -> None:
    """Make the browser know its rater again.

    The path is the whole site because the API, which needs the cookie, lies beside the pages. A separate session would
    cost a row per rater and tell nothing more.
    """
    response.set_cookie(
        cookie_name(rater.study.slug),
        rater.token,
        max_age=MAX_AGE_S,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
