"""What other rooms may read of what was generated. Loads no torch."""

from django.db.models import QuerySet

from .models import GeneratedImage, GenerationRun


def runs_named(name: str) -> QuerySet[GenerationRun]:
    """Return the runs of a set of pairs, one per arm, by the arm's name; unfinished ones have no `completed_at`."""
    return GenerationRun.objects.filter(name=name).order_by("arm")


def run_names() -> list[str]:
    """Return the names of all sets of pairs."""
    return list(GenerationRun.objects.order_by("name").values_list("name", flat=True).distinct())


def images_of(run: GenerationRun) -> QuerySet[GeneratedImage]:
    """Return a run's images by pair index."""
    return run.images.select_related("run").order_by("pair_index")
