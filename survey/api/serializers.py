"""The shapes that the API takes and gives."""

from django.urls import reverse
from rest_framework import serializers

from survey.models import Response, Trial
from survey.services import MAX_RESPONSE_MS


class AnswerSerializer(serializers.Serializer[Response]):
    """An answer as it arrives."""

    choice = serializers.ChoiceField(choices=Response.Choice.choices)
    response_ms = serializers.IntegerField(min_value=0, max_value=MAX_RESPONSE_MS, required=False, allow_null=True)


class TrialSerializer(serializers.ModelSerializer[Trial]):
    """A trial as its rater may know it: no pair, no arm, no position."""

    class_name = serializers.CharField(source="pair.class_name")
    small = serializers.BooleanField(source="pair.small")
    left = serializers.SerializerMethodField()
    right = serializers.SerializerMethodField()

    class Meta:
        model = Trial
        fields = ["token", "class_name", "small", "left", "right"]

    def get_left(self, trial: Trial) -> str:
        """Return the left image's address."""
        return self._address(trial, "left")

    def get_right(self, trial: Trial) -> str:
        """Return the right image's address."""
        return self._address(trial, "right")

    def _address(self, trial: Trial, side: str) -> str:
        return reverse("survey:image", args=[self.context["slug"], trial.token, side])
