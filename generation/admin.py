"""What staff see of the generation runs; commands write them, the admin only shows them."""

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from generation.models import GeneratedImage, GenerationRun


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

    list_display = ("name", "arm", "preset", "image_count", "created_at", "completed_at")
    list_filter = ("arm", "preset")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GenerationRun]:
        """Return the runs with their numbers of images."""
        runs: QuerySet[GenerationRun] = super().get_queryset(request)
        return runs.annotate(image_count=Count("images"))

    @admin.display(description="images")
    def image_count(self, run: GenerationRun) -> int:
        """Return how many images the run has."""
        count: int = run.image_count  # type: ignore[attr-defined]  # annotated above
        return count


@admin.register(GeneratedImage)
class GeneratedImageAdmin(ReadOnlyAdmin):
    """Single images, with what decides their noise."""

    list_display = ("run", "pair_index", "class_name", "seed", "sha256")
    list_filter = ("run",)
    list_select_related = ("run",)
