"""The cookies a rater gets: their random token for one study and, until they consent, how they came to it."""

from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from .models import Rater, Study
from .services import Arrival

MAX_AGE_S = 365 * 24 * 3600
ARRIVAL_AGE_S = 24 * 3600


def cookie_name(slug: str) -> str:
    """Return the name of the study's cookie; each study has its own."""
    return f"rater-{slug}"


def arrival_name(slug: str) -> str:
    """Return the name of the cookie that says how somebody came, until they consent."""
    return f"arrival-{slug}"


def token_from(request: HttpRequest, study: Study) -> str | None:
    """Return the token that the browser sent for this study."""
    return request.COOKIES.get(cookie_name(study.slug))


def remember(response: HttpResponse, rater: Rater) -> None:
    """Make the browser know its rater again.

    The path is the whole site because the API, which needs the cookie, lies beside the pages. A separate session would
    cost a row per rater and tell nothing more.
    """
    _set(response, cookie_name(rater.study.slug), rater.token, max_age=MAX_AGE_S)
    response.delete_cookie(arrival_name(rater.study.slug))


def forget(response: HttpResponse, study: Study) -> None:
    """Make the browser forget its rater."""
    response.delete_cookie(cookie_name(study.slug))


def remember_arrival(response: HttpResponse, study: Study, arrival: Arrival) -> None:
    """Keep how somebody came, signed, in their browser only: nothing is stored before they consent."""
    value = signing.dumps(vars(arrival), salt=arrival_name(study.slug))
    _set(response, arrival_name(study.slug), value, max_age=ARRIVAL_AGE_S)


def arrival_from(request: HttpRequest, study: Study) -> Arrival:
    """Return how the browser's owner came; by an open link if there is no cookie, or a forged or old one."""
    name = arrival_name(study.slug)
    try:
        kept: dict[str, Any] = signing.loads(request.COOKIES.get(name, ""), salt=name, max_age=ARRIVAL_AGE_S)
    except signing.BadSignature:
        return Arrival()
    return Arrival(**kept)


def _set(response: HttpResponse, name: str, value: str, *, max_age: int) -> None:
    response.set_cookie(
        name, value, max_age=max_age, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
    )
