"""A study, what it shows and what was answered."""

import base64
import random

from django.core.validators import MinValueValidator
from django.db import models

from generation.models import GeneratedImage, GenerationRun

SMALL_PX = 256
"""Images narrower than this are enlarged pixel by pixel, without blur."""

QUESTION = "Which image is more realistic, and more aligned to the description?"


SYSTEM_RNG = random.SystemRandom()


def make_token(rng: random.Random = SYSTEM_RNG) -> str:
    """Return 128 random bits for an address; says nothing about what it names."""
    return base64.urlsafe_b64encode(rng.randbytes(16)).rstrip(b"=").decode()


class Study(models.Model):
    """One survey: a question asked about every pair of its arms."""

    class Status(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"

    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=200, blank=True)
    question = models.CharField(max_length=300, default=QUESTION)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    pairs_per_rater = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Empty: all of them, as in the paper."
    )
    raters_per_pair = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Empty: no limit."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "studies"
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Arm(models.Model):
    """One method that the study compares."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="arms")
    name = models.SlugField(max_length=40)
    run = models.ForeignKey(GenerationRun, on_delete=models.PROTECT, related_name="arms")

    class Meta:
        ordering = ["study", "name"]
        constraints = [models.UniqueConstraint(fields=["study", "name"], name="one_arm_per_name")]

    def __str__(self) -> str:
        return f"{self.study}: {self.name}"


class Pair(models.Model):
    """Two images of the same class and seed; `first` and `second` follow the arms' names."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="pairs")
    index = models.PositiveIntegerField()
    class_name = models.CharField(max_length=200)
    first_arm = models.ForeignKey(Arm, on_delete=models.CASCADE, related_name="+")
    second_arm = models.ForeignKey(Arm, on_delete=models.CASCADE, related_name="+")
    first_image = models.ForeignKey(GeneratedImage, on_delete=models.PROTECT, related_name="+")
    second_image = models.ForeignKey(GeneratedImage, on_delete=models.PROTECT, related_name="+")
    width = models.PositiveIntegerField(null=True, blank=True, help_text="Of either image, in pixels.")
    height = models.PositiveIntegerField(null=True, blank=True, help_text="Of either image, in pixels.")

    class Meta:
        ordering = ["study", "index"]
        constraints = [
            models.UniqueConstraint(fields=["study", "index", "first_arm", "second_arm"], name="one_pair_per_index"),
        ]

    def __str__(self) -> str:
        return f"{self.study} #{self.index} ({self.class_name})"

    @property
    def small(self) -> bool:
        """Whether the images are enlarged pixel by pixel."""
        return self.width is not None and self.width < SMALL_PX


class Rater(models.Model):
    """Who answers: known by a random token in a cookie, and by nothing else."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="raters")
    token = models.CharField(max_length=32, unique=True, default=make_token)
    consented_at = models.DateTimeField(auto_now_add=True)
    simulated = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.study} rater {self.pk}"


class Trial(models.Model):
    """A pair as one rater sees it: when in the order, and on which side. Stored before it is shown."""

    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="trials")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="trials")
    token = models.CharField(max_length=32, unique=True, default=make_token)
    position = models.PositiveIntegerField(help_text="From 1, in this rater's order.")
    first_is_left = models.BooleanField()

    class Meta:
        ordering = ["rater", "position"]
        constraints = [
            models.UniqueConstraint(fields=["rater", "pair"], name="a_rater_sees_a_pair_once"),
            models.UniqueConstraint(fields=["rater", "position"], name="one_trial_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.rater} trial {self.position}"

    @property
    def left_image(self) -> GeneratedImage:
        """The image on the left."""
        return self.pair.first_image if self.first_is_left else self.pair.second_image

    @property
    def right_image(self) -> GeneratedImage:
        """The image on the right."""
        return self.pair.second_image if self.first_is_left else self.pair.first_image

    @property
    def left_arm(self) -> Arm:
        """The arm of the image on the left."""
        return self.pair.first_arm if self.first_is_left else self.pair.second_arm

    @property
    def right_arm(self) -> Arm:
        """The arm of the image on the right."""
        return self.pair.second_arm if self.first_is_left else self.pair.first_arm


class Response(models.Model):
    """The answer to a trial; a trial has at most one."""

    class Choice(models.TextChoices):
        LEFT = "left"
        SAME = "same"
        RIGHT = "right"

    trial = models.OneToOneField(Trial, on_delete=models.CASCADE, related_name="response")
    choice = models.CharField(max_length=5, choices=Choice.choices)
    response_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="From shown to answered, in the browser."
    )
    answered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(choice__in=["left", "same", "right"]), name="choice_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.trial}: {self.choice}"
