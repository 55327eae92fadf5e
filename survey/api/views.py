"""The API of raters: the trial page's script talks to it, and so may a front end of one's own."""

from http import HTTPStatus
from typing import Any

from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from survey import selectors, services
from survey.arrivals import keep
from survey.errors import UnknownRater
from survey.models import SYSTEM_RNG, Rater, Trial

from .authentication import Asking, RaterAuthentication
from .serializers import AnswerSerializer, EnrolSerializer, ShowingSerializer, SkipSerializer, StateSerializer
from .state import trial_state


@method_decorator(never_cache, name="dispatch")
class RaterView(APIView):
    """What raters send and get; known by their cookie or by their token."""

    authentication_classes: list[type[BaseAuthentication]] = [RaterAuthentication]
    permission_classes = []

    def trial(self, request: Request, token: str) -> Trial:
        """Return the rater's own trial; raise UnknownTrial for any other."""
        asking = request.auth
        if isinstance(asking, Asking) and asking.trial is not None:
            return asking.trial
        return selectors.trial_of(self.rater_or_none(request), token=token)

    def rater_or_none(self, request: Request) -> Rater | None:
        """Return who asks, if they are known."""
        return request.auth.rater if isinstance(request.auth, Asking) else None

    def what_next(self, rater: Rater) -> dict[str, Any]:
        """Return what the browser is to know now; give trials first if some should be there and are not."""
        state = trial_state(rater)
        if not state["next"] and "done_url" not in state and rater.study.is_open:
            state = trial_state(services.resume(rater=rater, rng=SYSTEM_RNG))
        return state


class ResponseView(RaterView):
    """POST an answer to one of the rater's own trials, or a correction of the last one."""

    @extend_schema(request=AnswerSerializer, responses=StateSerializer)
    def post(self, request: Request, token: str) -> Response:
        """Store the answer: 201, or 200 when the same answer was stored before. Reply with what comes next."""
        trial = self.trial(request, token)
        answer = AnswerSerializer(data=request.data)
        answer.is_valid(raise_exception=True)
        response, created = services.record_response(trial=trial, rng=SYSTEM_RNG, **answer.validated_data)
        body = self.what_next(trial.rater)
        if trial.kind == Trial.Kind.PRACTICE:
            body["feedback"] = {"right": trial.right_answer, "correct": response.choice == trial.right_answer}
        return Response(body, status=HTTPStatus.CREATED if created else HTTPStatus.OK)


class SkipView(RaterView):
    """POST that a trial cannot be answered: an image cannot be shown, or its time is over."""

    @extend_schema(request=SkipSerializer, responses=StateSerializer)
    def post(self, request: Request, token: str) -> Response:
        """Skip the trial; doing it again changes nothing. Reply with what comes next."""
        trial = self.trial(request, token)
        skip = SkipSerializer(data=request.data)
        skip.is_valid(raise_exception=True)
        services.skip_trial(trial=trial, rng=SYSTEM_RNG, **skip.validated_data)
        return Response(self.what_next(trial.rater))


class ExposureView(RaterView):
    """POST what the browser measured of a showing that ended without an answer."""

    @extend_schema(request=ShowingSerializer, responses=StateSerializer)
    def post(self, request: Request, token: str) -> Response:
        """Keep it; a later report with the same key replaces it."""
        trial = self.trial(request, token)
        showing = ShowingSerializer(data=request.data)
        showing.is_valid(raise_exception=True)
        services.record_exposure(trial=trial, showing=showing.validated_data)
        return Response(status=HTTPStatus.NO_CONTENT)


class RatersView(RaterView):
    """POST to take part, for a front end of one's own."""

    authentication_classes = []

    @extend_schema(request=EnrolSerializer, responses=StateSerializer)
    def post(self, request: Request, slug: str) -> Response:
        """Enrol a rater who consents: 201 with the token to send as `Authorization: Rater TOKEN`."""
        study = selectors.study_by_slug(slug)
        asked = EnrolSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        panel = {name: keep(study, data.get(name, "")) for name in ("participant", "panel_study", "panel_session")}
        arrival = services.Arrival(
            participant=panel["participant"] or None,
            panel_study=panel["panel_study"],
            panel_session=panel["panel_session"],
            invite=data.get("invite"),
        )
        rater = services.enrol_rater(
            study=study, rng=SYSTEM_RNG, arrival=arrival, simulated=data.get("simulated", False)
        )
        link = reverse("survey:personal", args=[slug, rater.link_token])
        body = {"token": rater.token, "link": request.build_absolute_uri(link), **self.what_next(rater)}
        return Response(body, status=HTTPStatus.CREATED)


class TrialsView(RaterView):
    """GET the rater's progress and next trials."""

    @extend_schema(responses=StateSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Bring the rater back to where they left."""
        study = selectors.study_by_slug(slug)
        rater = self.rater_or_none(request)
        if rater is None:
            raise UnknownRater("nobody in this survey is known by what was sent: take part first")
        selectors.require_open(study)
        return Response(self.what_next(services.resume(rater=rater, rng=SYSTEM_RNG)))
