"""The staff's view of a survey: read mostly; opening and closing go through the services."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from . import admin_pages, services
from .errors import SurveyError
from .models import Arm, Exposure, ImageFault, Pair, Peek, Rater, Response, Revision, Study, Trial, Withdrawal
from .plans import DEFINITION
from .selectors import plan_of

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
    """Studies with their progress. A form of its own makes them and changes drafts; what is frozen is only shown."""

    list_display = [
        "slug",
        "title",
        "status",
        "link",
        "dashboard",
        "pairs",
        "raters",
        "finished",
        "answers",
        "created_at",
    ]
    list_filter = ["status"]
    search_fields = ["slug", "title"]
    fields = ("slug", "status", "plan_sha256", "previous", *DEFINITION, "created_at")
    readonly_fields = ("slug", "status", "plan_sha256", "previous", *DEFINITION, "created_at")
    actions = ["open_studies", "close_studies"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Staff with the model's own permission make studies."""
        return super(ReadOnlyAdmin, self).has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        """Staff with the model's own permission may open and close."""
        return super(ReadOnlyAdmin, self).has_change_permission(request, obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the study without buttons to save: there is nothing to type."""
        buttons = ("show_save", "show_save_and_continue", "show_save_and_add_another")
        shown = dict.fromkeys(buttons, False) | (extra_context or {})
        return super().change_view(request, object_id, form_url, shown)

    def get_urls(self) -> list[URLPattern]:
        """Put the survey's own pages before the admin's."""
        view = self.admin_site.admin_view
        return [
            path("add/", view(admin_pages.new_study), name="survey_study_add"),
            path("<int:pk>/draft/", view(admin_pages.change_draft), name="survey_study_draft"),
            path("<int:pk>/dashboard/", view(admin_pages.dashboard_page), name="survey_study_dashboard"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Study]:
        """Count what the list shows, real raters only."""
        real = Q(raters__simulated=False)
        studies: QuerySet[Study] = super().get_queryset(request)
        return studies.annotate(
            raters_count=Count("raters", filter=real, distinct=True),
            answers_count=Count(
                "raters__trials__response", filter=real & Q(raters__trials__kind=Trial.Kind.ORDINARY), distinct=True
            ),
        )

    @admin.display(description="rater's link")
    def link(self, study: Study) -> str:
        """Link to what raters open."""
        return format_html('<a href="{0}">{0}</a>', reverse("survey:landing", args=[study.slug]))

    @admin.display
    def dashboard(self, study: Study) -> str:
        """Link to the study's dashboard."""
        return format_html('<a href="{}">dashboard</a>', reverse("admin:survey_study_dashboard", args=[study.pk]))

    @admin.display(description="frozen plan's sha256")
    def plan_sha256(self, study: Study) -> str:
        """Return what the study froze when it opened."""
        plan = plan_of(study)
        return f"{plan.sha256} ({plan.frozen_at:%Y-%m-%d %H:%M} UTC)" if plan else "not frozen yet"

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
        return study.raters.filter(simulated=False, done__gte=F("planned")).count()

    @admin.display(ordering="answers_count")
    def answers(self, study: Any) -> int:  # noqa: ANN401 (annotated)
        """Count the real raters' answers."""
        return int(study.answers_count)

    @admin.action(description="Open the selected studies", permissions=["change"])
    def open_studies(self, request: HttpRequest, queryset: QuerySet[Study]) -> None:
        """Let the studies take answers."""
        for study in queryset:
            try:
                services.open_study(study=study)
            except SurveyError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"Opened: {study.slug}.")

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

    list_display = ["pk", "study", "consented_at", "simulated", "done", "planned", "failed_catches"]
    list_filter = ["study", "simulated"]
    list_select_related = ["study"]
    exclude = ["token", "link_token"]


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    """Which pair was shown to whom, when in the order and on which side."""

    list_display = ["rater", "position", "kind", "state", "pair", "left_arm"]
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


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin):
    """Corrections of answers."""

    list_display = ["response", "number", "before", "choice", "revised_at"]
    list_select_related = ["response__trial__rater__study"]
    raw_id_fields = ["response"]


@admin.register(Exposure)
class ExposureAdmin(ReadOnlyAdmin):
    """What was shown, as browsers measured it."""

    list_display = ["trial", "shown_at", "painted_at", "answered_at", "focus_losses"]
    list_select_related = ["trial__rater__study"]
    raw_id_fields = ["trial"]


@admin.register(ImageFault)
class ImageFaultAdmin(ReadOnlyAdmin):
    """Images that browsers could not show."""

    list_display = ["pair", "rater", "confirmed", "reported_at"]
    list_filter = ["study", "confirmed"]
    list_select_related = ["pair__study", "rater__study"]


@admin.register(Withdrawal)
class WithdrawalAdmin(ReadOnlyAdmin):
    """That raters withdrew."""

    list_display = ["study", "withdrawn_on", "answers", "simulated"]
    list_select_related = ["study"]


@admin.register(Peek)
class PeekAdmin(ReadOnlyAdmin):
    """Looks at preferences before a study closed."""

    list_display = ["study", "place", "user", "answers", "seen_at"]
    list_select_related = ["study", "user"]
