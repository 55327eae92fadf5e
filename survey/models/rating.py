"""Raters, what they are shown, and what they answer."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from generation.models import GeneratedImage

from .study import Arm, Pair, Study
from .tokens import make_token


class Rater(models.Model):
    """Who answers: known by a random token in a cookie, and by what a panel sends, if the study keeps that.

    The counters are those of the rater's own plan; they change in the transaction that changes the trials.
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="raters")
    token = models.CharField(max_length=32, unique=True, default=make_token)
    link_token = models.CharField(max_length=32, unique=True, default=make_token, help_text="Of the personal link.")
    consented_at = models.DateTimeField(default=timezone.now)
    simulated = models.BooleanField(default=False)

    participant = models.CharField(max_length=128, null=True, blank=True)  # noqa: DJ001 (null is no participant)
    panel_study = models.CharField(max_length=128, blank=True)
    panel_session = models.CharField(max_length=128, blank=True)

    imported_as = models.CharField(max_length=200, blank=True, help_text="The name in the file that was imported.")

    wanted = models.PositiveIntegerField(default=0, help_text="Ordinary trials in the plan.")
    issued = models.PositiveIntegerField(default=0, help_text="Positions given out so far.")
    issued_ordinary = models.PositiveIntegerField(default=0, help_text="Of those, ordinary trials not taken back.")
    planned = models.PositiveIntegerField(default=0, help_text="Trials in the plan, practice aside.")
    done = models.PositiveIntegerField(default=0, help_text="Of those, answered or timed out.")
    left_surplus = models.IntegerField(default=0, help_text="First image on the left, less on the right.")
    specials = models.JSONField(default=dict, help_text="Position to kind, of trials that are not ordinary.")
    failed_catches = models.PositiveSmallIntegerField(default=0)
    screened_out_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["study", "participant"],
                condition=Q(participant__isnull=False),
                name="one_rater_per_participant",
            ),
            models.UniqueConstraint(
                fields=["study", "simulated", "imported_as"],
                condition=~Q(imported_as=""),
                name="one_rater_per_imported_name",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.study} rater {self.pk}"

    @property
    def name(self) -> str:
        """What exports and reports call the rater: their row's number, or their name in the file they came from."""
        return self.imported_as or f"{'simulated' if self.simulated else 'r'}{self.pk}"


class Invite(models.Model):
    """A link for one rater."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="invites")
    token = models.CharField(max_length=32, unique=True, default=make_token)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True, blank=True)
    rater = models.OneToOneField(Rater, on_delete=models.SET_NULL, null=True, blank=True, related_name="invite")

    def __str__(self) -> str:
        return f"{self.study} invitation {self.pk}"


class Trial(models.Model):
    """A pair as one rater sees it: when in the order, and on which side. Stored before it is shown."""

    class Kind(models.TextChoices):
        ORDINARY = "ordinary"
        PRACTICE = "practice", "Practice: an image against noise, with feedback"
        SAME = "same", "Catch: the same image twice"
        NOISE = "noise", "Catch: an image against noise"
        REPEAT = "repeat", "Repeat, with sides swapped"

    class State(models.TextChoices):
        HELD = "held", "Held: waits for its answer and keeps its place"
        STALE = "stale", "Stale: waits, and another may take its place"
        ANSWERED = "answered"
        SKIPPED = "skipped"
        VOID = "void", "Void: taken back"

    COUNTED: ClassVar = (State.HELD, State.ANSWERED)
    WAITING: ClassVar = (State.HELD, State.STALE)

    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="trials")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="trials")
    token = models.CharField(max_length=32, unique=True, default=make_token)
    position = models.PositiveIntegerField(help_text="From 1, in this rater's order.")
    first_is_left = models.BooleanField(help_text="In trials against noise: the image is on the left.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.ORDINARY)
    shows_first = models.BooleanField(default=True, help_text="Which image of the pair a catch or practice shows.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.HELD)
    lease_until = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField(default=timezone.now)
    skip_reason = models.CharField(max_length=10, blank=True)

    class Meta:
        ordering = ["rater", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["rater", "pair"], condition=Q(kind="ordinary"), name="a_rater_sees_a_pair_once"
            ),
            models.UniqueConstraint(fields=["rater", "position"], name="one_trial_per_position"),
        ]
        indexes = [
            models.Index(fields=["lease_until"], condition=Q(state="held"), name="leases_by_their_end"),
        ]

    def __str__(self) -> str:
        return f"{self.rater} trial {self.position}"

    @property
    def ordinary(self) -> bool:
        """Whether its answer counts."""
        return self.kind == self.Kind.ORDINARY

    @property
    def left_image(self) -> GeneratedImage | None:
        """The image on the left; None stands for noise."""
        return self._image(left=True)

    @property
    def right_image(self) -> GeneratedImage | None:
        """The image on the right; None stands for noise."""
        return self._image(left=False)

    def _image(self, *, left: bool) -> GeneratedImage | None:
        if self.kind in {self.Kind.ORDINARY, self.Kind.REPEAT}:
            return self.pair.first_image if self.first_is_left == left else self.pair.second_image
        if self.kind != self.Kind.SAME and self.first_is_left != left:
            return None
        return self.pair.first_image if self.shows_first else self.pair.second_image

    @property
    def left_arm(self) -> Arm | None:
        """The arm of the image on the left; None stands for noise."""
        return self._arm(left=True)

    @property
    def right_arm(self) -> Arm | None:
        """The arm of the image on the right; None stands for noise."""
        return self._arm(left=False)

    def _arm(self, *, left: bool) -> Arm | None:
        if self.kind in {self.Kind.ORDINARY, self.Kind.REPEAT}:
            return self.pair.first_arm if self.first_is_left == left else self.pair.second_arm
        if self.kind != self.Kind.SAME and self.first_is_left != left:
            return None
        return self.pair.first_arm if self.shows_first else self.pair.second_arm

    @property
    def right_answer(self) -> str | None:
        """The choice that a catch or practice trial asks for; None where there is no right one."""
        if self.kind == self.Kind.SAME:
            return Response.Choice.SAME
        if self.kind in {self.Kind.NOISE, self.Kind.PRACTICE}:
            return Response.Choice.LEFT if self.first_is_left else Response.Choice.RIGHT
        return None


class Response(models.Model):
    """The answer to a trial, as it stands; a trial has at most one.

    A corrected answer holds the last choice here and its history in `revisions`; `response_ms` and `answered_at` are
    the first answer's.
    """

    class Choice(models.TextChoices):
        LEFT = "left"
        SAME = "same"
        RIGHT = "right"

    trial = models.OneToOneField(Trial, on_delete=models.CASCADE, related_name="response")
    choice = models.CharField(max_length=5, choices=Choice.choices)
    response_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="From shown to answered, in the browser."
    )
    answered_at = models.DateTimeField(default=timezone.now)
    key = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 (null: sent without a key)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(choice__in=["left", "same", "right"]), name="choice_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.trial}: {self.choice}"


class Revision(models.Model):
    """A correction of an answer. Rows are only ever added."""

    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField(help_text="From 1.")
    before = models.CharField(max_length=5, choices=Response.Choice.choices)
    choice = models.CharField(max_length=5, choices=Response.Choice.choices)
    response_ms = models.PositiveIntegerField(null=True, blank=True)
    revised_at = models.DateTimeField(default=timezone.now)
    key = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 (null: sent without a key)

    class Meta:
        ordering = ["response", "number"]
        constraints = [models.UniqueConstraint(fields=["response", "number"], name="revisions_are_numbered")]

    def __str__(self) -> str:
        return f"{self.response} (revision {self.number})"
