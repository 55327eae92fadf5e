"""Many small images on one sheet for print: 300 dots an inch, whole pixels, names of rows and columns beside them."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from PIL import Image as PillowImage
from torch import Tensor

from generation.checkpoints import write_atomically
from generation.errors import SettingsError

Pixels = npt.NDArray[np.uint8]

DPI = 300
POINT = DPI / 72
TILE = 128
"""The least a tile is wide, in dots; smaller images are enlarged by a whole number."""
MARGIN = 4
GROUP_MARGIN = 16
EDGE = 12
WHITE = 255
LARGEST_FONT, SMALLEST_FONT = 6.0, 3.5
LARGEST_SIDE = 2**16 - 1
"""Dots; what draws the letters can do no more."""


@dataclass(frozen=True)
class Sheet:
    """Images in rows and columns.

    Attributes:
        rows: (H, W) or (H, W, 3) uint8 images, all of one size; None leaves a place empty. Rows may be of different
            lengths.
        labels: what stands left of the rows; none, or one for each, of one line or more.
        headings: what stands above the columns.
        group: so many rows belong together; between groups there is more room.
        zoom: by which whole number to enlarge, without blur; unless given, so that a tile has 128 dots at least.
    """

    rows: Sequence[Sequence[Pixels | None]]
    labels: Sequence[str] = ()
    headings: Sequence[str] = ()
    group: int = 1
    zoom: int | None = None


def compose(sheet: Sheet) -> Pixels:
    """Return a sheet's images alone, on white: (H, W, 3).

    Raises:
        SettingsError: no images, or images of different sizes.
    """
    found = [image for row in sheet.rows for image in row if image is not None]
    if not found:
        raise SettingsError("There are no images to lay out: make some first.")
    height, width = found[0].shape[:2]
    if any(image.shape[:2] != (height, width) for image in found):
        sizes = sorted({f"{image.shape[1]}x{image.shape[0]}" for image in found})
        raise SettingsError(f"Images of {' and '.join(sizes)} pixels cannot share a sheet: take images of one size.")
    zoom = _zoom(sheet, height, width)
    columns = max(len(row) for row in sheet.rows)
    bottom = _top(sheet, len(sheet.rows) - 1, height * zoom) + height * zoom
    pixels = np.full((bottom, columns * (width * zoom + MARGIN) - MARGIN, 3), WHITE, dtype=np.uint8)
    for number, row in enumerate(sheet.rows):
        top = _top(sheet, number, height * zoom)
        for column, image in enumerate(row):
            if image is not None:
                left = column * (width * zoom + MARGIN)
                colours = image if image.ndim == 3 else image[:, :, None]
                place = pixels[top : top + height * zoom, left : left + width * zoom]
                place[:] = colours.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return pixels


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Write a sheet as a PNG for print.

    Raises:
        SettingsError: no images, images of different sizes, or more of them than a sheet can hold.
        CheckpointError: the file cannot be written.
    """
    images = compose(sheet)
    left = math.ceil(max((_width(label) for label in sheet.labels), default=0) * POINT) + (EDGE if sheet.labels else 0)
    above = math.ceil(LARGEST_FONT * 1.6 * POINT) if sheet.headings else 0
    width, height = EDGE + left + images.shape[1] + EDGE, EDGE + above + images.shape[0] + EDGE
    if max(width, height) > LARGEST_SIDE:
        raise SettingsError(
            f"A sheet of {width}x{height} dots is too large, {LARGEST_SIDE} is the most: take fewer images or a "
            "smaller zoom."
        )
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    figure.figimage(images, EDGE + left, EDGE, origin="upper")
    tile_height, tile_width = _tile_size(sheet)
    for number, label in enumerate(sheet.labels):
        middle = EDGE + above + _top(sheet, number, tile_height) + tile_height / 2
        figure.text(
            left / width, 1 - middle / height, label, size=LARGEST_FONT, ha="right", va="center", linespacing=1.1
        )
    for column, heading in enumerate(sheet.headings):
        text, size = _fitted(heading, tile_width / POINT)
        middle = EDGE + left + column * (tile_width + MARGIN) + tile_width / 2
        baseline = EDGE + above - LARGEST_FONT * 0.5 * POINT
        figure.text(middle / width, 1 - baseline / height, text, size=size, ha="center", va="baseline")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    with PillowImage.open(buffer) as drawn:
        flat = drawn.convert("RGB")
    write_atomically(path, lambda temporary: flat.save(temporary, "PNG", dpi=(DPI, DPI), optimize=True))


def tile(image: Tensor) -> Pixels:
    """Return a (C, H, W) uint8 image, of 1 or 3 channels, as a tile.

    Raises:
        SettingsError: another number of channels.
    """
    if image.shape[0] not in (1, 3):
        raise SettingsError(f"Images of {image.shape[0]} channels cannot be drawn: take a preset with 1 or 3.")
    pixels: Pixels = image.permute(1, 2, 0).cpu().numpy()
    return pixels[:, :, 0] if image.shape[0] == 1 else pixels


def read_tile(path: Path) -> Pixels:
    """Read an image file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        with PillowImage.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): restore it or make the images again.") from error


def _zoom(sheet: Sheet, height: int, width: int) -> int:
    return sheet.zoom or max(1, math.ceil(TILE / min(height, width)))


def _tile_size(sheet: Sheet) -> tuple[int, int]:
    """Return the height and width of a tile, in dots."""
    first = next(image for row in sheet.rows for image in row if image is not None)
    zoom = _zoom(sheet, *first.shape[:2])
    return first.shape[0] * zoom, first.shape[1] * zoom


def _top(sheet: Sheet, row: int, tile_height: int) -> int:
    """Return where a row begins, in dots from the first one's beginning."""
    return row * (tile_height + MARGIN) + row // sheet.group * (GROUP_MARGIN - MARGIN) * (sheet.group > 1)


def _width(text: str, size: float = LARGEST_FONT) -> float:
    """Return how wide a text is, of its lines the longest, in points."""
    return max(
        (float(TextPath((0, 0), line, size=size).get_extents().width) for line in text.split("\n") if line), default=0.0
    )


def _fitted(text: str, room: float) -> tuple[str, float]:
    """Return a text and its size in points so that it is no wider than the room, cut off if need be."""
    width = _width(text)
    size = max(SMALLEST_FONT, min(LARGEST_FONT, LARGEST_FONT * room / width)) if width else LARGEST_FONT
    if _width(text, size) <= room * 1.01:
        return text, size
    while text and _width(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text.rstrip()}…", size
