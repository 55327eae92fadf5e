"""One shape for every error of the API: {"error": {"code": ..., "message": ...}}."""

from typing import Any

from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from survey.errors import SurveyError


def error_body(code: str, message: str) -> dict[str, dict[str, str]]:
    """Return the body that every error has."""
    return {"error": {"code": code, "message": message}}


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer errors in the one shape; None leaves what nobody foresaw to the server's own 500."""
    if isinstance(error, SurveyError):
        return Response(error_body(error.code, str(error)), status=error.status)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    response = exception_handler(error, context)
    if response is not None and isinstance(error, exceptions.APIException):
        response.data = error_body(*_code_and_message(error.detail))
    return response


def _code_and_message(detail: Any) -> tuple[str, str]:  # noqa: ANN401 (REST framework nests lists and dicts at will)
    """Return the first fault of REST framework's nested detail, with the name of its field."""
    if isinstance(detail, dict):
        field, nested = next(iter(detail.items()))
        code, message = _code_and_message(nested)
        return code, message if field == "non_field_errors" else f"{field}: {message}"
    if isinstance(detail, list):
        return _code_and_message(detail[0])
    return str(detail.code), str(detail)
