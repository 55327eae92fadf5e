"""What was shown, what could not be shown, who left and who looked."""

from django.conf import settings
from django.db import models

from .rating import Rater, Trial
from .study import Pair, Study


class Exposure(models.Model):
    """One showing of a trial, as the rater's browser measured it; a trial may be shown, and not be answered."""

    trial = models.ForeignKey(Trial, on_delete=models.CASCADE, related_name="exposures")
    key = models.CharField(max_length=64, help_text="The browser's own name for this showing.")
    shown_at = models.DateTimeField(help_text="By the browser's clock, as all times here.")
    painted_at = models.DateTimeField(null=True, blank=True, help_text="When both images were on the screen.")
    answered_at = models.DateTimeField(null=True, blank=True)
    focus_losses = models.PositiveIntegerField(default=0, help_text="How often the page lost the focus or was hidden.")
    image_width = models.FloatField(null=True, blank=True, help_text="Of either image as rendered, in CSS pixels.")
    image_height = models.FloatField(null=True, blank=True)
    pixel_ratio = models.FloatField(null=True, blank=True, help_text="Device pixels per CSS pixel.")
    viewport_width = models.PositiveIntegerField(null=True, blank=True)
    viewport_height = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["trial", "shown_at", "pk"]
        constraints = [models.UniqueConstraint(fields=["trial", "key"], name="a_showing_is_kept_once")]

    def __str__(self) -> str:
        return f"{self.trial} shown at {self.shown_at:%Y-%m-%d %H:%M:%S}"


class ImageFault(models.Model):
    """A browser's report that an image of a trial could not be shown."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="faults")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="faults")
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="faults")
    confirmed = models.BooleanField(help_text="The server could not read the file either.")
    reported_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.pair}: fault"


class ServerError(models.Model):
    """How often the server failed within an hour at one place: what it answered 500 to, and nothing about who asked."""

    study_slug = models.SlugField(max_length=80, blank=True, help_text="Empty: the address names no study.")
    hour = models.DateTimeField()
    place = models.CharField(max_length=80, help_text="The address's own name.")
    error = models.CharField(max_length=80, help_text="The exception's class; the server's log has the rest.")
    count = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-hour", "place"]
        constraints = [
            models.UniqueConstraint(fields=["study_slug", "hour", "place", "error"], name="one_row_per_hour_and_error")
        ]

    def __str__(self) -> str:
        return f"{self.count} {self.error} at {self.place}, {self.hour:%Y-%m-%d %H:00}"


class Withdrawal(models.Model):
    """A rater withdrew and their answers were deleted: that it happened, and nothing about them."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="withdrawals")
    withdrawn_on = models.DateField()
    answers = models.PositiveIntegerField(help_text="Answers deleted, practice aside.")
    simulated = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.study}: withdrawal on {self.withdrawn_on}"


class Peek(models.Model):
    """A look at preferences before the study closed."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="peeks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    place = models.CharField(max_length=40)
    answers = models.PositiveIntegerField(help_text="Answers there were.")
    seen_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.study}: {self.place} at {self.seen_at:%Y-%m-%d %H:%M:%S}"
