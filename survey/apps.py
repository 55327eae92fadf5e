"""Django's entry to the app."""

import logging
import sys
from typing import Any

from django.apps import AppConfig
from django.core.signals import got_request_exception
from django.http import HttpRequest

logger = logging.getLogger(__name__)


class SurveyConfig(AppConfig):
    """The app's name for Django."""

    name = "survey"

    def ready(self) -> None:
        """Have the server's errors counted for the dashboard."""
        got_request_exception.connect(count_server_error, dispatch_uid="survey.count_server_error")


def count_server_error(request: HttpRequest | None = None, **_: Any) -> None:  # noqa: ANN401 (a signal's)
    """Count an error for the dashboard; where not even that can be stored, the log must do."""
    from .services import record_server_error  # noqa: PLC0415 (models are not loaded before the apps are)

    match = request.resolver_match if request else None
    error = sys.exc_info()[0]
    try:
        record_server_error(
            study_slug=str(match.kwargs.get("slug", "")) if match else "",
            place=match.view_name if match else "",
            error=error.__name__ if error else "",
        )
    except Exception:
        logger.exception("An error could not be counted")
