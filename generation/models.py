"""What was generated, with which settings: one run per arm, one row per image."""

from pathlib import Path

from django.db import models


class GenerationRun(models.Model):
    """One arm of a named set of pairs: what decided its pixels, and what documents their making."""

    name = models.SlugField(max_length=80, help_text="The set of pairs; its arms share it.")
    arm = models.SlugField(max_length=40, help_text="The method: robust, vanilla, unguided, ...")
    preset = models.CharField(max_length=200)
    settings = models.JSONField(default=dict, help_text="What decides the pixels, weights' sha256 included.")
    sessions = models.JSONField(
        default=list, help_text="Who computed it, with which code and libraries, and when: an entry for each session."
    )
    directory = models.CharField(max_length=500, help_text="Absolute folder that `file` is under.")
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name", "arm"]
        constraints = [
            models.UniqueConstraint(fields=["name", "arm"], name="one_run_per_arm_of_a_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.arm}"


class GeneratedImage(models.Model):
    """One image of a run; images of two runs of a name with the same index form a pair."""

    run = models.ForeignKey(GenerationRun, on_delete=models.CASCADE, related_name="images")
    pair_index = models.PositiveIntegerField()
    class_index = models.PositiveIntegerField()
    class_name = models.CharField(max_length=200)
    seed = models.BigIntegerField(help_text="The run's seed; with pair_index it decides the noise.")
    file = models.CharField(max_length=300, help_text="Path under the run's directory.")
    sha256 = models.CharField(max_length=64)

    class Meta:
        ordering = ["run", "pair_index"]
        constraints = [
            models.UniqueConstraint(fields=["run", "pair_index"], name="one_image_per_pair_of_a_run"),
        ]
        indexes = [
            models.Index(fields=["run", "class_index", "pair_index"], name="images_of_a_class"),
        ]

    def __str__(self) -> str:
        return f"{self.run} #{self.pair_index} ({self.class_name})"

    @property
    def path(self) -> Path:
        """The image's absolute path."""
        return Path(self.run.directory) / self.file
