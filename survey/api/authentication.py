"""Who is asking: the rater whose cookie the browser sends, or whose token a front end of one's own does."""

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication

from survey.cookies import token_from
from survey.models import Study, Trial
from survey.selectors import rater_by_token

if TYPE_CHECKING:
    from rest_framework.request import Request

    from survey.models import Rater

KEYWORD = "Rater "


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

    def authenticate(self, request: "Request") -> "tuple[AnonymousUser, Rater] | None":
        """Return the rater as `request.auth`; None if nothing names one; PermissionDenied without a CSRF token."""
        header = request.headers.get("Authorization", "")
        by_header = header.startswith(KEYWORD)
        if not by_header:
            self._enforce_csrf(request._request)  # noqa: SLF001 (REST framework offers no public name for it)
        study = _study_asked_for((request.parser_context or {}).get("kwargs", {}))
        if study is None:
            return None
        token = header.removeprefix(KEYWORD).strip() if by_header else token_from(request._request, study)  # noqa: SLF001
        rater = rater_by_token(study=study, token=token)
        return None if rater is None else (AnonymousUser(), rater)

    def _enforce_csrf(self, request: HttpRequest) -> None:
        check = _CsrfCheck(_no_view)
        check.process_request(request)
        if reason := check.process_view(request, _no_view, (), {}):
            raise exceptions.PermissionDenied(
                f"{reason} Open the trial page again and answer there.", code="csrf_failed"
            )


def _study_asked_for(kwargs: dict[str, str]) -> Study | None:
    """Return the study that the address names, or whose trial it names."""
    if "slug" in kwargs:
        return Study.objects.filter(slug=kwargs["slug"]).first()
    trial = Trial.objects.select_related("rater__study").filter(token=kwargs.get("token", "")).first()
    return None if trial is None else trial.rater.study
