"""What was computed in the background, for pages to show at once."""

from django.db import models


class Computation(models.Model):
    """The last result under a key, and the computation of the next one.

    `source` says what the result was computed from; where it differs from what there is now, the result is old.
    """

    class State(models.TextChoices):
        IDLE = "idle"
        RUNNING = "running"
        FAILED = "failed"

    key = models.CharField(max_length=200, unique=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.IDLE)
    progress = models.FloatField(default=0.0, help_text="From 0 to 1.")
    stage = models.CharField(max_length=200, blank=True)
    heartbeat = models.DateTimeField(null=True, blank=True, help_text="The computing process lived then.")
    failure = models.TextField(blank=True)
    failed_source = models.CharField(max_length=200, blank=True, help_text="What could not be computed from.")
    source = models.CharField(max_length=200, blank=True)
    computed_at = models.DateTimeField(null=True, blank=True)
    html = models.TextField(blank=True)
    document = models.TextField(blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return f"{self.key}: {self.state}"


class StudyMetrics(models.Model):
    """The last metrics of a study's arms, as compute_metrics printed them, for the report beside the answers."""

    study = models.OneToOneField("survey.Study", on_delete=models.CASCADE, related_name="metrics")
    result = models.JSONField()
    computed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "study metrics"
        ordering = ["study"]

    def __str__(self) -> str:
        return f"{self.study}: {self.computed_at:%Y-%m-%d}"
