"""The staff's view of a survey: read mostly; opening and closing go through the services."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from . import services
from .models import Arm, Pair, Rater, Response, Study, Trial

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
else:

    class ModelAdmin(admin.ModelAdmin):
        """A ModelAdmin that takes a type argument at run time too."""

        def __class_getitem__(cls, _: Any) -> type:  # noqa: ANN401
            return cls


class ReadOnlyAdmin(ModelAdmin[Any]):
    """Shows rows; the services alone write them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come from commands and raters."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ANN401
        """What was shown and answered stays as it was."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ANN401
        """No answer is lost by a click."""
        return False


@admin.register(Study)
class StudyAdmin(ReadOnlyAdmin):
    """Studies with their progress; only the title can be edited."""

    list_display = ["slug", "title", "status", "link", "pairs", "raters", "finished", "answers", "created_at"]
    list_filter = ["status"]
    search_fields = ["slug", "title"]
    fields = ["slug", "title", "question", "status", "pairs_per_rater", "raters_per_pair", "created_at"]
    readonly_fields = ["slug", "question", "status", "pairs_per_rater", "raters_per_pair", "created_at"]
    actions = ["open_studies", "close_studies"]

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        """Staff with the model's own permission may open, close and retitle."""
        return super(ReadOnlyAdmin, self).has_change_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Study]:
        """Count what the list shows, real raters only."""
        real = Q(raters__simulated=False)
        studies: QuerySet[Study] = super().get_queryset(request)
        return studies.annotate(
            raters_count=Count("raters", filter=real, distinct=True),
            answers_count=Count("raters__trials__response", filter=real, distinct=True),
        )

    @admin.display(description="rater's link")
    def link(self, study: Study) -> str:
        """Link to what raters open."""
        return format_html('<a href="{0}">{0}</a>', reverse("survey:landing", args=[study.slug]))

    @admin.display
    def pairs(self, study: Study) -> int:
        """Count the pairs."""
        return study.pairs.count()

    @admin.display(ordering="raters_count")
    def raters(self, study: Any) -> int:  # noqa: ANN401 (annotated)
        """Count the real raters."""
        return int(study.raters_count)

    @admin.display
    def finished(self, study: Study) -> int:
        """Count the real raters who have answered everything."""
        unanswered = Q(trials__isnull=False, trials__response__isnull=True)
        real = study.raters.filter(simulated=False)
        return real.alias(waiting=Count("trials", filter=unanswered)).filter(waiting=0).count()

    @admin.display(ordering="answers_count")
    def answers(self, study: Any) -> int:  # noqa: ANN401 (annotated)
        """Count the real raters' answers."""
        return int(study.answers_count)

    @admin.action(description="Open the selected studies", permissions=["change"])
    def open_studies(self, request: HttpRequest, queryset: QuerySet[Study]) -> None:
        """Let the studies take answers."""
        for study in queryset:
            services.open_study(study=study)
        self.message_user(request, f"Opened: {', '.join(study.slug for study in queryset)}.")

    @admin.action(description="Close the selected studies", permissions=["change"])
    def close_studies(self, request: HttpRequest, queryset: QuerySet[Study]) -> None:
        """Let the studies take no more answers."""
        for study in queryset:
            services.close_study(study=study)
        self.message_user(request, f"Closed: {', '.join(study.slug for study in queryset)}.")


@admin.register(Arm)
class ArmAdmin(ReadOnlyAdmin):
    """The methods that studies compare."""

    list_display = ["name", "study", "run"]
    list_filter = ["study"]
    list_select_related = ["study", "run"]


@admin.register(Pair)
class PairAdmin(ReadOnlyAdmin):
    """The pairs and their classes."""

    list_display = ["index", "class_name", "study", "first_arm", "second_arm"]
    list_filter = ["study"]
    list_select_related = ["study", "first_arm__study", "second_arm__study"]
    search_fields = ["class_name"]


@admin.register(Rater)
class RaterAdmin(ReadOnlyAdmin):
    """The raters and how far they are; their tokens stay theirs."""

    list_display = ["pk", "study", "consented_at", "simulated", "answered", "planned"]
    list_filter = ["study", "simulated"]
    list_select_related = ["study"]
    exclude = ["token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rater]:
        """Count trials and answers."""
        counts = {"planned_count": Count("trials"), "answered_count": Count("trials__response")}
        raters: QuerySet[Rater] = super().get_queryset(request)
        return raters.annotate(**counts)

    @admin.display(ordering="answered_count")
    def answered(self, rater: Any) -> int:  # noqa: ANN401 (annotated)
        """Count the rater's answers."""
        return int(rater.answered_count)

    @admin.display(ordering="planned_count")
    def planned(self, rater: Any) -> int:  # noqa: ANN401 (annotated)
        """Count the rater's trials."""
        return int(rater.planned_count)


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    """Which pair was shown to whom, when in the order and on which side."""

    list_display = ["rater", "position", "pair", "left_arm"]
    list_filter = ["rater__study"]
    list_select_related = ["rater__study", "pair__study", "pair__first_arm__study", "pair__second_arm__study"]
    exclude = ["token"]
    raw_id_fields = ["rater", "pair"]


@admin.register(Response)
class ResponseAdmin(ReadOnlyAdmin):
    """The answers."""

    list_display = ["trial", "choice", "response_ms", "answered_at"]
    list_filter = ["trial__rater__study", "choice"]
    list_select_related = ["trial__rater__study"]
    raw_id_fields = ["trial"]
    date_hierarchy = "answered_at"
