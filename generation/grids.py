"""Many images on one sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from generation.errors import SettingsError

MARGIN = 2
GREY = 128


def image_grid(rows: Sequence[Sequence[Path]], *, zoom: int = 1) -> PillowImage.Image:
    """Return a sheet of equally sized images.

    Args:
        rows: image files, a sequence for each row; rows may be of different lengths.
        zoom: by which whole number to enlarge, without blur.

    Returns:
        The sheet, on mid-grey, with a margin between images.

    Raises:
        SettingsError: no images, or images of different sizes.
    """
    sheet: np.ndarray | None = None
    for row, paths in enumerate(rows):
        for column, path in enumerate(paths):
            pixels = _read(path, zoom)
            height, width = pixels.shape[0] + MARGIN, pixels.shape[1] + MARGIN
            if sheet is None:
                longest = max(len(paths) for paths in rows)
                sheet = np.full((len(rows) * height + MARGIN, longest * width + MARGIN, 3), GREY, dtype=np.uint8)
                first = pixels.shape
            if pixels.shape != first:
                raise SettingsError(f"{path} differs in size from the images before it: take images of one size.")
            top, left = MARGIN + row * height, MARGIN + column * width
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    if sheet is None:
        raise SettingsError("There are no images to lay out: make some first.")
    return PillowImage.fromarray(sheet)


def _read(path: Path, zoom: int) -> np.ndarray:
    with PillowImage.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
