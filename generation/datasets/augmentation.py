"""Augmentation of training images: crops from larger copies, and mirror images.

What is drawn for an iteration's images depends on the seed and the iteration alone. Validation and sampling never
come here.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generation import noise

# A crop shows at least this share of the shorter side (Dhariwal & Nichol's classifier training, which the paper keeps).
LEAST_SHOWN = 0.8


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image.

    Attributes:
        random_crop: the shorter side is drawn from [size, size / 0.8], then a square of `size` is cut out anywhere.
        random_flip: every other image, by chance, is mirrored left to right.
    """

    random_crop: bool = False
    random_flip: bool = False


NONE = Augmentation()
# A place that crop_offsets makes the middle, rounded down.
MIDDLE = 0.5 - 1e-9


@dataclass(frozen=True)
class Draws:
    """What happens to each image of a batch.

    Attributes:
        sides: (N,) int64, the shorter side's length before the crop, in pixels.
        places: (N, 2) float64 in [0, 1), where the crop is between top and bottom, left and right.
        flips: (N,) bool.
    """

    sides: np.ndarray
    places: np.ndarray
    flips: np.ndarray

    def __getitem__(self, rows: slice) -> "Draws":
        """Return some images' draws."""
        return Draws(self.sides[rows], self.places[rows], self.flips[rows])


def draw_augmentation(augmentation: Augmentation, seed: int, step: int, batch_size: int, size: int) -> Draws:
    """Draw what happens to the images of one iteration.

    Args:
        augmentation: what may happen.
        seed: the training's seed.
        step: the iteration.
        batch_size: images in the whole batch, over all processes.
        size: the networks' image size, pixels.

    Returns:
        Each image's draws. The flips do not depend on whether there are crops, nor the other way round.
    """
    plain = unaugmented(batch_size, size)
    stream = noise.stream(seed, noise.AUGMENTATION, step)
    flips = stream.random(batch_size) < 0.5
    sides = stream.integers(size, math.ceil(size / LEAST_SHOWN), batch_size, endpoint=True)
    places = stream.random((batch_size, 2))
    if not augmentation.random_crop:
        sides, places = plain.sides, plain.places
    return Draws(sides, places, flips if augmentation.random_flip else plain.flips)


def unaugmented(count: int, size: int) -> Draws:
    """Return what leaves images as they are: of `size`, the middle, not mirrored."""
    return Draws(np.full(count, size), np.full((count, 2), MIDDLE), np.zeros(count, dtype=bool))


def augment(images: Tensor, draws: Draws) -> Tensor:
    """Enlarge, crop and mirror square images that are in memory.

    Args:
        images: (N, C, size, size) uint8.
        draws: what happens to each.

    Returns:
        (N, C, size, size) uint8. An image whose side stays `size` keeps every pixel; larger sides are interpolated
        bicubically (Catmull-Rom, as Pillow does).
    """
    size = images.shape[-1]
    if (draws.sides == size).all():
        flips = torch.from_numpy(draws.flips)[:, None, None, None]
        return torch.where(flips, images.flip(-1), images)
    rows, columns = _crop_matrices(draws, size)
    narrowed = (images.float().flatten(1, 2) @ columns.mT).reshape(images.shape)
    cropped: Tensor = rows[:, None] @ narrowed
    return cropped.round_().clamp_(0, 255).to(torch.uint8)


def crop_offsets(places: np.ndarray, sides: np.ndarray, size: int) -> np.ndarray:
    """Return crops' top and left corners, all equally likely.

    Args:
        places: (N, 2) in [0, 1).
        sides: (N, 2) heights and widths, or (N, 1) where they are the same.
        size: the crop's side.

    Returns:
        (N, 2) int64.
    """
    offsets: np.ndarray = np.floor(places * (sides - size + 1)).astype(np.int64)
    return offsets


def _crop_matrices(draws: Draws, size: int) -> tuple[Tensor, Tensor]:
    """Return what makes each crop's rows from the image's rows, and its columns: twice (N, size, size) float32."""
    rows = torch.empty(len(draws.sides), size, size)
    columns = torch.empty_like(rows)
    sides = draws.sides.tolist()
    offsets = crop_offsets(draws.places, draws.sides[:, None], size).tolist()
    for index, (side, (top, left), flip) in enumerate(zip(sides, offsets, draws.flips.tolist(), strict=True)):
        enlarging = _enlarging(size, side)
        rows[index] = enlarging[top : top + size]
        shown = enlarging[left : left + size]
        columns[index] = shown.flip(0) if flip else shown
    return rows, columns


@cache
def _enlarging(size: int, side: int) -> Tensor:
    """Return the weights of `size` pixels in `side` interpolated ones: (side, size) float32."""
    return F.interpolate(torch.eye(size)[None, None], (side, size), mode="bicubic", antialias=True)[0, 0]
