"""A study's definition: what is asked, of which pairs, of whom, and by which rules."""

from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.db import models

from generation.models import GeneratedImage, GenerationRun

from .tokens import make_token

SMALL_PX = 256
"""Images narrower than this are enlarged pixel by pixel, without blur."""

QUESTION = "Which image is more realistic, and more aligned to the description?"

FROM_1 = [MinValueValidator(1)]
FEW = [MaxValueValidator(100)]


class Study(models.Model):
    """One survey: a question asked about every pair of its arms.

    What is below `question` and above `created_at` is frozen when the study opens first: see `Plan`.
    """

    class Status(models.TextChoices):
        DRAFT = "draft"
        OPEN = "open"
        CLOSED = "closed"

    class Access(models.TextChoices):
        OPEN = "open", "Anyone who has the link"
        INVITED = "invited", "Holders of an invitation"
        PANEL = "panel", "Participants whom the panel sends"

    class Panel(models.TextChoices):
        NONE = "", "None"
        PROLIFIC = "prolific"
        MTURK = "mturk", "Mechanical Turk"

    class PanelIds(models.TextChoices):
        HASHED = "hashed", "Hashed, with a key of this study's own"
        PLAIN = "plain"

    class Language(models.TextChoices):
        BROWSER = "", "As the rater's browser asks"
        ENGLISH = "en"
        ARABIC = "ar"

    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    question = models.CharField(max_length=300, default=QUESTION)

    pairs_per_rater = models.PositiveIntegerField(
        null=True, blank=True, validators=FROM_1, help_text="Empty: all of them, as in the paper."
    )
    raters_per_pair = models.PositiveIntegerField(
        null=True, blank=True, validators=FROM_1, help_text="Answers wanted for each pair. Empty: no limit."
    )
    practice_trials = models.PositiveSmallIntegerField(
        default=1, validators=FEW, help_text="Trials with a known answer and feedback, before the others."
    )
    same_catches = models.PositiveSmallIntegerField(
        default=0, validators=FEW, help_text="Trials for each rater with the same image twice: Same is right."
    )
    noise_catches = models.PositiveSmallIntegerField(
        default=0, validators=FEW, help_text="Trials for each rater with an image against noise: the image is right."
    )
    repeats = models.PositiveSmallIntegerField(
        default=0, validators=FEW, help_text="Trials for each rater that repeat an earlier one with sides swapped."
    )
    trial_limit_s = models.PositiveIntegerField(
        null=True, blank=True, validators=FROM_1, help_text="Seconds for each answer. Empty: as long as it takes."
    )
    session_limit_s = models.PositiveIntegerField(
        null=True, blank=True, validators=FROM_1, help_text="Seconds from consent to the last answer. Empty: no limit."
    )
    lease_s = models.PositiveIntegerField(
        default=900,
        validators=FROM_1,
        help_text="Seconds that a trial keeps its place while its rater is not heard of; then another may take it.",
    )

    language = models.CharField(max_length=10, blank=True, choices=Language.choices, default=Language.BROWSER)
    consent_text = models.TextField(blank=True, max_length=20_000, help_text="Before consent. Empty: the usual one.")
    instructions = models.TextField(blank=True, max_length=20_000, help_text="What raters do. Empty: the usual ones.")
    thanks_text = models.TextField(blank=True, max_length=20_000, help_text="On the last page. Empty: the usual one.")

    access = models.CharField(max_length=10, choices=Access.choices, default=Access.OPEN)
    panel = models.CharField(max_length=10, blank=True, choices=Panel.choices, default=Panel.NONE)
    panel_ids = models.CharField(max_length=10, choices=PanelIds.choices, default=PanelIds.HASHED)
    completion_code = models.CharField(max_length=80, blank=True)
    completion_url = models.CharField(
        max_length=500,
        blank=True,
        validators=[URLValidator(["https", "http"])],
        help_text="Where the panel wants them.",
    )
    screen_out_code = models.CharField(max_length=80, blank=True)
    screen_out_url = models.CharField(max_length=500, blank=True, validators=[URLValidator(["https", "http"])])
    screen_out_after = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=FROM_1, help_text="Failed catch trials that end a rater's part. Empty: never."
    )

    rules = models.JSONField(
        default=dict, blank=True, help_text="Quality rules that differ from the usual ones, and which flags exclude."
    )
    analysis_plan = models.TextField(blank=True, max_length=50_000, help_text="How the answers will be analysed.")
    interim_results = models.BooleanField(
        default=True, help_text="Whether preferences may be looked at before the study closes; each look is recorded."
    )

    previous = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="versions")
    panel_key = models.CharField(max_length=32, default=make_token, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "studies"
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_open(self) -> bool:
        """Whether it takes answers."""
        return self.status == self.Status.OPEN


class Plan(models.Model):
    """What a study froze when it opened, as one text, under its sha256. Written once."""

    study = models.OneToOneField(Study, on_delete=models.CASCADE, related_name="plan")
    document = models.TextField(help_text="JSON: definition, arms, pairs' digest, rules and analysis plan.")
    sha256 = models.CharField(max_length=64, help_text="Of the document in UTF-8.")
    frozen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.study} {self.sha256[:12]}"


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


class Balance(models.Model):
    """How often a pair is served: the counters that assignment reads, for real and for simulated raters apart.

    They follow the trials, in the transaction that changes these, and decide only who sees which pair next; no result
    reads them.
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="balances")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="balances")
    simulated = models.BooleanField(default=False)
    served = models.PositiveIntegerField(default=0, help_text="Answers and live leases.")
    left_surplus = models.IntegerField(default=0, help_text="Of those: first image on the left, less on the right.")
    lot = models.PositiveIntegerField(help_text="Drawn anew each time the pair is given out; decides ties.")
    set_aside = models.BooleanField(default=False, help_text="An image of it cannot be shown.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pair", "simulated"], name="one_balance_per_pair")]
        indexes = [
            models.Index(fields=["study", "simulated", "set_aside", "served", "lot"], name="least_served_first"),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {self.served}"
