"""What staff see of the generation runs; commands write them, the admin only shows them."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from generation.models import GeneratedImage, GenerationRun
from generation.settings_table import flat


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """A list and a page to read; nothing to add, change or delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are made by generate_pairs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """What made an image does not change afterwards."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Studies stand on these rows."""
        return False


@admin.register(GenerationRun)
class GenerationRunAdmin(ReadOnlyAdmin):
    """The arms of the named sets of pairs."""

    list_display = ("name", "arm", "preset", "image_count", "code", "created_at", "completed_at", "pairs")
    list_filter = ("arm", "preset")
    search_fields = ("name",)
    fields = ("name", "arm", "preset", "directory", "created_at", "completed_at", "decided_by", "made_by")
    readonly_fields = ("decided_by", "made_by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[GenerationRun]:
        """Return the runs with their numbers of images."""
        runs: QuerySet[GenerationRun] = super().get_queryset(request)
        return runs.annotate(image_count=Count("images"))

    @admin.display(description="images")
    def image_count(self, run: GenerationRun) -> int:
        """Return how many images the run has."""
        count: int = run.image_count  # type: ignore[attr-defined]  # annotated above
        return count

    @admin.display(description="pairs")
    def pairs(self, run: GenerationRun) -> str:
        """Return a link to the wall of the set's pairs."""
        return format_html('<a href="{}">see</a>', reverse("runs:wall", args=[run.name]))

    @admin.display(description="code")
    def code(self, run: GenerationRun) -> str:
        """Return which code made the images, the last session's first."""
        return ", ".join(dict.fromkeys(_code(session["code"]) for session in reversed(run.sessions)))

    @admin.display(description="what decided the pixels")
    def decided_by(self, run: GenerationRun) -> str:
        """Return the settings as a table."""
        return _table(run.settings)

    @admin.display(description="who made them, and when")
    def made_by(self, run: GenerationRun) -> str:
        """Return each session as a table."""
        return format_html_join("", "{}", ((_table(session),) for session in run.sessions)) or "not recorded"


def _code(code: dict[str, Any]) -> str:
    """Return `0.1.0 (1a2b3c4d5e, changed)`: the version, git's revision and whether files differed from it."""
    if not code["revision"]:
        return str(code["version"])
    return f"{code['version']} ({code['revision'][:10]}{', changed' if code['dirty'] else ''})"


def _table(values: dict[str, Any]) -> str:
    """Return nested values as a table of dotted names and texts."""
    rows = format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", flat(values))
    return format_html("<table>{}</table>", rows)


@admin.register(GeneratedImage)
class GeneratedImageAdmin(ReadOnlyAdmin):
    """Single images, with what decides their noise."""

    list_display = ("run", "pair_index", "class_name", "seed", "sha256")
    list_filter = ("run",)
    list_select_related = ("run",)
