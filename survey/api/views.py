"""The API that the trial page's script talks to."""

from http import HTTPStatus
from typing import Any

from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from survey import selectors, services
from survey.models import Rater

from .authentication import RaterAuthentication
from .serializers import AnswerSerializer, TrialSerializer

NEXT = 3
"""How many trials an answer's reply names: the one to show and two to preload."""


@method_decorator(never_cache, name="dispatch")
class ResponseView(APIView):
    """POST an answer to one of the rater's own trials."""

    authentication_classes = [RaterAuthentication]
    permission_classes = []

    def post(self, request: Request, token: str) -> Response:
        """Store the answer: 201, or 200 when the same answer was stored before. Reply with what comes next."""
        rater = request.auth if isinstance(request.auth, Rater) else None
        trial = selectors.trial_of(rater, token=token)
        answer = AnswerSerializer(data=request.data)
        answer.is_valid(raise_exception=True)
        _, created = services.record_response(trial=trial, **answer.validated_data)
        return Response(_what_next(trial.rater), status=HTTPStatus.CREATED if created else HTTPStatus.OK)


def _what_next(rater: Rater) -> dict[str, Any]:
    """Return the rater's progress and next trials; the address of the last page once all are answered."""
    slug = rater.study.slug
    progress = selectors.progress_of(rater)
    waiting = selectors.unanswered_trials(rater, limit=NEXT)
    body: dict[str, Any] = {
        "progress": {"answered": progress.answered, "total": progress.total},
        "next": TrialSerializer(waiting, many=True, context={"slug": slug}).data,
    }
    if progress.complete:
        body["done_url"] = reverse("survey:thanks", args=[slug])
    return body
