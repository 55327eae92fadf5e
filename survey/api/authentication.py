"""Who is asking: the rater whose cookie the browser sends, or whose token a front end of one's own does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.crypto import constant_time_compare
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication

from survey.cookies import token_from
from survey.models import Rater, Study, Trial
from survey.selectors import asked_trial, rater_by_token

if TYPE_CHECKING:
    from rest_framework.request import Request

KEYWORD = "Rater "


@dataclass(frozen=True)
class Asking:
    """Who asks, and of which of their own trials, if the address names one."""

    rater: Rater
    trial: Trial | None = None


class _CsrfCheck(CsrfViewMiddleware):
    """The site's own check, which hands back the reason instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _no_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class RaterAuthentication(BaseAuthentication):
    """Recognises the rater by `Authorization: Rater TOKEN`, or by the study's cookie, which needs a CSRF token.

    REST framework exempts its views from Django's CSRF check and its session authentication brings the check back for
    signed-in users only. Raters are known by a cookie that the browser sends by itself, so they need it as much. A
    header is sent by nobody unasked.
    """

    def authenticate(self, request: "Request") -> "tuple[AnonymousUser, Asking] | None":
        """Return who asks as `request.auth`; None if nothing names a rater; PermissionDenied without a CSRF token."""
        header = request.headers.get("Authorization", "")
        by_header = header.startswith(KEYWORD)
        if not by_header:
            self._enforce_csrf(request._request)  # noqa: SLF001 (REST framework offers no public name for it)
        kwargs = (request.parser_context or {}).get("kwargs", {})
        trial = asked_trial(kwargs["token"]) if "token" in kwargs else None
        study = trial.rater.study if trial else Study.objects.filter(slug=kwargs.get("slug", "")).first()
        if study is None:
            return None
        token = header.removeprefix(KEYWORD).strip() if by_header else token_from(request._request, study)  # noqa: SLF001
        if trial is not None and constant_time_compare(trial.rater.token, token or ""):
            return AnonymousUser(), Asking(trial.rater, trial)
        rater = rater_by_token(study=study, token=token)
        return None if rater is None else (AnonymousUser(), Asking(rater))

    def _enforce_csrf(self, request: HttpRequest) -> None:
        check = _CsrfCheck(_no_view)
        check.process_request(request)
        if reason := check.process_view(request, _no_view, (), {}):
            raise exceptions.PermissionDenied(
                f"{reason} Open the trial page again and answer there.", code="csrf_failed"
            )
