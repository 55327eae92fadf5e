"""Pages for what no view answers: calm HTML, or the API's one error shape under /api/."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from survey.api.errors import error_body

_TEXTS = {
    HTTPStatus.BAD_REQUEST: ("bad_request", "The request could not be understood: open your link again."),
    HTTPStatus.FORBIDDEN: ("forbidden", "This is not open to you: sign in, or open your link again."),
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address: check the link."),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "server_error",
        "The server failed and the fault is in its log: try again in a minute. What was acknowledged is stored.",
    ),
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    return _answer(request, HTTPStatus.BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return _answer(request, HTTPStatus.FORBIDDEN)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    return _answer(request, HTTPStatus.NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500."""
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form without its token, and say how to go on."""
    context = {
        "message": "The form had expired or your browser keeps no cookies, so nothing was stored: "
        "allow cookies for this site, open your link again and repeat the last step."
    }
    return render(request, "error.html", context, status=HTTPStatus.FORBIDDEN)


def _answer(request: HttpRequest, status: HTTPStatus) -> HttpResponse:
    code, message = _TEXTS[status]
    if request.path.startswith("/api/"):
        return JsonResponse(error_body(code, message), status=status)
    return render(request, "error.html", {"message": message}, status=status)
