"""The shapes that the rater's API takes."""

from typing import Any

from rest_framework import serializers

from survey.models import Response
from survey.services import MAX_RESPONSE_MS, Showing

MAX_PX = 100_000


class ShowingSerializer(serializers.Serializer[Any]):
    """One showing of a trial, by the browser's clock."""

    key = serializers.RegexField(r"^[-\w]{8,64}$")
    shown_at = serializers.DateTimeField()
    painted_at = serializers.DateTimeField(required=False, allow_null=True)
    answered_at = serializers.DateTimeField(required=False, allow_null=True)
    focus_losses = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    image_width = serializers.FloatField(min_value=0, max_value=MAX_PX, required=False, allow_null=True)
    image_height = serializers.FloatField(min_value=0, max_value=MAX_PX, required=False, allow_null=True)
    pixel_ratio = serializers.FloatField(min_value=0, max_value=1000, required=False, allow_null=True)
    viewport_width = serializers.IntegerField(min_value=0, max_value=MAX_PX, required=False, allow_null=True)
    viewport_height = serializers.IntegerField(min_value=0, max_value=MAX_PX, required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401 (REST framework's signature)
        """Return the showing."""
        return Showing(**super().to_internal_value(data))


class AnswerSerializer(serializers.Serializer[Any]):
    """An answer as it arrives."""

    choice = serializers.ChoiceField(choices=Response.Choice.choices)
    response_ms = serializers.IntegerField(min_value=0, max_value=MAX_RESPONSE_MS, required=False, allow_null=True)
    key = serializers.RegexField(r"^[-\w]{8,64}$", required=False)
    revises = serializers.BooleanField(required=False)
    showing = ShowingSerializer(required=False)


class SkipSerializer(serializers.Serializer[Any]):
    """A trial that cannot be answered."""

    reason = serializers.ChoiceField(choices=["image", "timeout"])
    showing = ShowingSerializer(required=False)


class EnrolSerializer(serializers.Serializer[Any]):
    """What somebody who takes part says: that they consent, and how they came."""

    consent = serializers.BooleanField()
    simulated = serializers.BooleanField(required=False)
    invite = serializers.CharField(max_length=32, required=False)
    participant = serializers.CharField(max_length=128, required=False)
    panel_study = serializers.CharField(max_length=128, required=False)
    panel_session = serializers.CharField(max_length=128, required=False)

    def validate_consent(self, value: bool) -> bool:  # noqa: FBT001 (REST framework's signature)
        """Refuse who does not consent."""
        if not value:
            raise serializers.ValidationError("without consent nobody takes part: send true once they have given it")
        return value


class CountsSerializer(serializers.Serializer[Any]):
    """How far a rater is, practice aside."""

    answered = serializers.IntegerField()
    total = serializers.IntegerField()


class TrialSerializer(serializers.Serializer[Any]):
    """A trial as its rater may know it."""

    token = serializers.CharField()
    class_name = serializers.CharField()
    small = serializers.BooleanField(help_text="Enlarge the images without blur.")
    practice = serializers.BooleanField()
    left = serializers.CharField(help_text="Address of the left image.")
    right = serializers.CharField(help_text="Address of the right image.")


class StateSerializer(serializers.Serializer[Any]):
    """What a rater's front end is to know: show the first trial of `next`, or go to `done_url`."""

    progress = CountsSerializer()
    next = TrialSerializer(many=True)
    done_url = serializers.CharField(required=False)
    seconds_left = serializers.IntegerField(required=False)
    feedback = serializers.DictField(required=False)
    token = serializers.CharField(required=False, help_text="Of a new rater: send it as `Authorization: Rater TOKEN`.")
    link = serializers.CharField(required=False, help_text="A new rater's personal link.")
