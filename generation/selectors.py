"""What other rooms may read of what was generated. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import InvalidStorageError, Storage, storages
from django.db.models import Count, Min, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from .gallery import TRAJECTORY, classifiers_folder, pair_picture
from .models import GeneratedImage, GenerationRun
from .shipped import is_shipped_preset, shipped_digests


def runs_named(name: str) -> QuerySet[GenerationRun]:
    """Return the runs of a set of pairs, one per arm, by the arm's name; unfinished ones have no `completed_at`."""
    return GenerationRun.objects.filter(name=name).order_by("arm")


def run_names() -> list[str]:
    """Return the names of all sets of pairs."""
    return list(GenerationRun.objects.order_by("name").values_list("name", flat=True).distinct())


def images_of(run: GenerationRun) -> QuerySet[GeneratedImage]:
    """Return a run's images by pair index."""
    return run.images.select_related("run").order_by("pair_index")


def classes_of(run: GenerationRun) -> list[tuple[int, str, int]]:
    """Return a run's classes by index, each with its name and number of images.

    Counting reads the index alone; the names are those of each class's first row.
    """
    rows = list(
        run.images.order_by("class_index").values_list("class_index").annotate(count=Count("pk"), first=Min("pk"))
    )
    firsts = GeneratedImage.objects.filter(pk__in=[first for _, _, first in rows])
    names = dict(firsts.values_list("pk", "class_name"))
    return [(index, names[first], count) for index, count, first in rows]


def images_by_class(run: GenerationRun, class_index: int) -> QuerySet[GeneratedImage]:
    """Return a run's images of a class by pair index."""
    return images_of(run).filter(class_index=class_index)


def images_of_pairs(runs: Sequence[GenerationRun], pairs: Sequence[int]) -> dict[int, list[GeneratedImage]]:
    """Return the images of some pairs, each pair's in the order of the runs; by one query."""
    place = {run.pk: number for number, run in enumerate(runs)}
    found: dict[int, list[GeneratedImage]] = {pair: [] for pair in pairs}
    images = GeneratedImage.objects.filter(run__in=runs, pair_index__in=pairs).select_related("run")
    for image in sorted(images, key=lambda image: place[image.run_id]):
        found[image.pair_index].append(image)
    return found


@dataclass(frozen=True)
class PairSet:
    """A named set of pairs, an arm a run.

    Attributes:
        name: the set's.
        runs: by the arms' names, each with its `image_count`.
    """

    name: str
    runs: tuple[GenerationRun, ...]

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return max(getattr(run, "image_count", 0) for run in self.runs)


@dataclass(frozen=True)
class WallPair:
    """A pair; its images are in the order of the set's runs, `pictured` says whether its trajectory is drawn."""

    index: int
    class_name: str
    images: tuple[GeneratedImage, ...]
    pictured: bool


def pair_sets() -> list[PairSet]:
    """Return all sets of pairs, those made last first; by one query."""
    counts = GeneratedImage.objects.filter(run=OuterRef("pk")).order_by().values("run").annotate(count=Count("pk"))
    runs = GenerationRun.objects.annotate(image_count=Coalesce(Subquery(counts.values("count")), 0))
    sets: dict[str, list[GenerationRun]] = {}
    for run in runs.order_by("-created_at", "-pk"):
        sets.setdefault(run.name, []).append(run)
    return [PairSet(name, tuple(sorted(found, key=lambda run: run.arm))) for name, found in sets.items()]


def pair_set(name: str) -> list[GenerationRun]:
    """Return a set's runs by the arms' names; none where there is no such set."""
    return sorted(runs_named(name), key=lambda run: run.arm)


def wall_of(
    runs: Sequence[GenerationRun], *, class_index: int | None, start: int, most: int
) -> tuple[list[WallPair], int | None]:
    """Return some pairs of a set, by index; by two queries, however many pairs there are.

    Args:
        runs: the set's.
        class_index: only pairs of that class.
        start: only pairs from that index on.
        most: how many.

    Returns:
        The pairs, and where the next ones start; None after the last.
    """
    found = runs[0].images.filter(pair_index__gte=start)
    if class_index is not None:
        found = found.filter(class_index=class_index)
    rows = list(found.order_by("pair_index").values_list("pair_index", "class_name")[: most + 1])
    images = images_of_pairs(runs, [index for index, _ in rows[:most]])
    pairs = [
        WallPair(index, name, tuple(images[index]), picture_of(images[index], TRAJECTORY).is_file())
        for index, name in rows[:most]
    ]
    return pairs, rows[most][0] if len(rows) > most else None


def neighbours(run: GenerationRun, pair_index: int) -> tuple[int | None, int | None]:
    """Return the pairs before and after a pair of a set."""
    indices = run.images.values_list("pair_index", flat=True)
    before = indices.filter(pair_index__lt=pair_index).order_by("-pair_index").first()
    after = indices.filter(pair_index__gt=pair_index).order_by("pair_index").first()
    return before, after


def image_of(name: str, arm: str, pair_index: int) -> GeneratedImage | None:
    """Return an image of a set, if there is one."""
    images = GeneratedImage.objects.select_related("run")
    return images.filter(run__name=name, run__arm=arm, pair_index=pair_index).first()


def pictures_root() -> Path:
    """Return the folder of the site's pictures; see `generation.gallery`."""
    return Path(settings.DATA_DIR) / "pictures"


def picture_of(images: Sequence[GeneratedImage], picture: str) -> Path:
    """Return where a pair's picture lies, whether or not it has been made.

    Args:
        images: the pair's, by the arms' names; at least one.
        picture: one of `gallery.PAIR_PICTURES`.
    """
    digests = [image.sha256 for image in images]
    return pair_picture(pictures_root(), images[0].run.name, images[0].pair_index, digests, picture)


def classifier_pictures(runs: Sequence[GenerationRun]) -> Path | None:
    """Return the folder of the pictures of a set's vanilla and robust classifiers; None where it does not have both."""
    digests = {run.arm: run.settings.get("classifier_sha256") for run in runs}
    vanilla, robust = digests.get("vanilla"), digests.get("robust")
    return classifiers_folder(pictures_root(), vanilla, robust) if vanilla and robust else None


def trajectory_command(runs: Sequence[GenerationRun], pair_index: int) -> str:
    """Return the command that draws a pair's pictures; nothing where its making is not known.

    It names the files that are to be given, for those networks that do not come along.
    """
    if not is_replayable(runs):
        return ""
    first = runs[0].settings
    wanted = {"diffusion": first["diffusion_sha256"]}
    wanted |= {run.arm: run.settings["classifier_sha256"] for run in runs if run.settings["classifier_sha256"]}
    words = ["python manage.py plot_trajectory", runs[0].name, f"--pairs {pair_index}"]
    return " ".join([*words, *_files(first, wanted)])


def gradients_command(runs: Sequence[GenerationRun], command: str) -> str:
    """Return the command that draws a set's classifiers, `plot_gradients` or `plot_targeted`."""
    first = runs[0].settings
    preset = first["preset"]["name"]
    wanted = {run.arm: run.settings["classifier_sha256"] for run in runs if run.arm in ("vanilla", "robust")}
    words = [f"python manage.py {command}", preset if is_shipped_preset(preset) else f"{preset}.toml", "--data DATA"]
    return " ".join([*words, *_files(first, wanted)])


def is_replayable(runs: Sequence[GenerationRun]) -> bool:
    """Say whether it is known how a set was made; of imported ones it is not."""
    return all("diffusion_sha256" in run.settings for run in runs)


def _files(first: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """Return an option for each network that does not come along with the preset."""
    shipped = shipped_digests(first["preset"]["name"])
    return [f"--{kind} {kind.upper()}_FILE" for kind, digest in wanted.items() if digest not in shipped]


def image_store() -> Storage | None:
    """Return where the settings keep raters' images; None: on disk, where they were made."""
    try:
        return storages["images"]
    except InvalidStorageError:
        return None


def stored_name(image: GeneratedImage) -> str:
    """Return an image's name in the store, which its content decides: it tells nothing of the arm."""
    return f"{image.sha256}.png"


def image_bytes(image: GeneratedImage) -> bytes:
    """Return an image's file as it was generated.

    Raises:
        OSError: It is not there, or cannot be read. A store that does not answer raises errors of its own, which say
            nothing about the image.
    """
    store = image_store()
    if store is None:
        return image.path.read_bytes()
    with store.open(stored_name(image)) as file:
        return bytes(file.read())
