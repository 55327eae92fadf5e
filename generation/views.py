"""The runs' pages: read-only, for staff. They show images and pictures that commands have made, and make none.

They say which arm an image is of, so that no rater may see them: each address asks for a staff member's session,
images included, and nothing that they send may be kept by a cache that others share.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe

from generation import selectors
from generation.gallery import CLASSIFIER_FILES, ENERGY, GRADIENTS, PAIR_PICTURES, TARGETED
from generation.models import GenerationRun
from generation.settings_table import side_by_side

View = Callable[..., HttpResponse]

PAGE = 48
LARGEST_INDEX = 2**31 - 1
CONTENT_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".json": "application/json", ".csv": "text/csv"}


def staff_page(view: View) -> View:
    """Let only staff read the page, send others to the admin's login, and keep it out of caches."""
    return require_safe(never_cache(staff_member_required(view)))


def staff_file(view: View) -> View:
    """Let only staff read the file; their browser keeps it, and asks each time whether it may show it."""
    return require_safe(cache_control(private=True, no_cache=True)(staff_member_required(view)))


@staff_page
def run_list(request: HttpRequest) -> HttpResponse:
    """List the sets of pairs with their runs."""
    return render(request, "generation/list.html", {"sets": selectors.pair_sets()})


@staff_page
def wall(request: HttpRequest, name: str) -> HttpResponse:
    """Show a set's settings and the first of its pairs, or those from an index on, or of a class."""
    runs = _runs(name)
    classes = selectors.classes_of(runs[0])
    folder = selectors.classifier_pictures(runs)
    page = {
        **_pairs(request, runs),
        "settings": side_by_side({run.arm: run.settings for run in runs}),
        "classes": classes,
        "total": sum(count for _, _, count in classes),
        "classifiers": [] if folder is None else _classifiers(runs, folder),
    }
    return render(request, "generation/wall.html", page)


@staff_page
def more_pairs(request: HttpRequest, name: str) -> HttpResponse:
    """Return the next pairs of the wall, for its script."""
    return render(request, "generation/_pairs.html", _pairs(request, _runs(name)))


@staff_page
def pair_page(request: HttpRequest, name: str, pair: int) -> HttpResponse:
    """Show a pair with its trajectory and the gradients that steered it, or how to make these."""
    runs = _runs(name)
    images = selectors.images_of_pairs(runs, [_index(pair)])[pair]
    if not images:
        raise Http404
    before, after = selectors.neighbours(images[0].run, pair)
    page = {
        "name": name,
        "images": images,
        "image": images[0],
        "before": before,
        "after": after,
        "pictures": [picture for picture in PAIR_PICTURES if selectors.picture_of(images, picture).is_file()],
        "command": selectors.trajectory_command(runs, pair),
    }
    return render(request, "generation/pair.html", page)


@staff_file
def image(request: HttpRequest, name: str, pair: int, arm: str) -> HttpResponse:
    """Return an image of a pair."""
    found = selectors.image_of(name, arm, _index(pair))
    if found is None:
        raise Http404
    return _file(request, found.path, found.sha256)


@staff_file
def picture(request: HttpRequest, name: str, pair: int, picture: str) -> HttpResponse:
    """Return a picture that a command has drawn of a pair."""
    runs = _runs(name)
    images = selectors.images_of_pairs(runs, [_index(pair)])[pair]
    if not images or picture not in PAIR_PICTURES:
        raise Http404
    return _file(request, selectors.picture_of(images, picture))


@staff_file
def classifier_file(request: HttpRequest, name: str, file: str) -> HttpResponse:
    """Return a picture, or the numbers beside it, that a command has made of a set's classifiers."""
    folder = selectors.classifier_pictures(_runs(name))
    if folder is None or file not in CLASSIFIER_FILES:
        raise Http404
    return _file(request, folder / file)


def _runs(name: str) -> list[GenerationRun]:
    """Return a set's runs.

    Raises:
        Http404: there is no such set.
    """
    if not (runs := selectors.pair_set(name)):
        raise Http404
    return runs


def _index(pair: int) -> int:
    """Return an index that the database can look for.

    Raises:
        Http404: it is larger than any.
    """
    if pair > LARGEST_INDEX:
        raise Http404
    return pair


def _pairs(request: HttpRequest, runs: list[GenerationRun]) -> dict[str, Any]:
    """Return the pairs that a request asks for, with what the templates need to ask for the next ones."""
    class_index, start = _number(request, "class"), _number(request, "from") or 0
    pairs, after = selectors.wall_of(runs, class_index=class_index, start=start, most=PAGE)
    return {"name": runs[0].name, "runs": runs, "pairs": pairs, "after": after, "class": class_index, "start": start}


def _number(request: HttpRequest, key: str) -> int | None:
    """Return a whole number of the query; None where it has none that could be."""
    text = request.GET.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _classifiers(runs: list[GenerationRun], folder: Path) -> list[dict[str, Any]]:
    """Return the pictures of a set's classifiers, each with the files there are and the command that makes them."""
    pictures: list[dict[str, Any]] = []
    for title, command, files in (
        ("Gradients of held-out images", "plot_gradients", (GRADIENTS, f"{ENERGY}.svg")),
        ("Images changed towards other classes", "plot_targeted", (TARGETED,)),
    ):
        stem = ENERGY if command == "plot_gradients" else Path(TARGETED).stem
        numbers = [f"{stem}.{ending}" for ending in ("csv", "json")]
        pictures.append(
            {
                "title": title,
                "files": [file for file in files if (folder / file).is_file()],
                "numbers": [file for file in numbers if (folder / file).is_file()],
                "command": selectors.gradients_command(runs, command),
            }
        )
    return pictures


def _file(request: HttpRequest, path: Path, digest: str = "") -> HttpResponse:
    """Return a file, or that the browser's copy of it is still the right one.

    Args:
        request: it may name the copy.
        path: the file.
        digest: what tells its content; its time and size, unless given.

    Raises:
        Http404: it cannot be read.
    """
    try:
        found = path.stat()
        etag = quote_etag(digest or f"{found.st_mtime_ns}-{found.st_size}")
        if same := get_conditional_response(request, etag=etag):
            return same
        content = path.read_bytes()
    except OSError as error:
        raise Http404(f"{path} cannot be read") from error
    return HttpResponse(content, content_type=CONTENT_TYPES[path.suffix], headers={"ETag": etag})
