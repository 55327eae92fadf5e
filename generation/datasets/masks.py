"""Where the object is in an image: by its pixels, where the ground is black, or by masks that somebody drew."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generation.datasets.folders import ImageFiles
from generation.datasets.idx import is_idx
from generation.datasets.images import LabelledImages
from generation.errors import DatasetError

Masks = Callable[[Sequence[int]], Tensor]
"""Rows of a data set -> (N, size, size) bool, True on the object."""

HALF = 127


def has_black_ground(folder: Path) -> bool:
    """Say whether a data set's objects stand on black: Fashion-MNIST and its like, which come as IDX files."""
    return is_idx(folder)


def foreground(images: Tensor) -> Tensor:
    """Return which pixels are not black: (N, C, H, W) uint8 -> (N, H, W) bool."""
    return (images > 0).any(1)


def foreground_masks(data: LabelledImages) -> Masks:
    """Return masks of objects that stand on black."""
    return lambda rows: foreground(data.images[torch.tensor(list(rows))])


def load_masks(path: Path, data: LabelledImages) -> Masks:
    """Read masks of a data set's images.

    Args:
        path: a `.npy` file, (N, size, size) in the order of the images, not 0 on the object; or, for images in class
            folders, a folder with a mask for each image, `CLASS/NAME.png`, of the same name and size as the image's
            file and white on the object. It is cut as the image is.
        data: the images.

    Raises:
        DatasetError: there are no such masks.
    """
    if path.is_dir():
        return _from_folder(path, data)
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} holds no masks ({error}): give a .npy file or a folder of masks.") from error
    expected = (len(data), data.size, data.size)
    if not isinstance(array, np.ndarray) or array.shape != expected:
        found = getattr(array, "shape", "no array")
        raise DatasetError(f"{path} has the shape {found}: masks of {data.name} must be {expected}.")
    return lambda rows: torch.from_numpy(np.asarray(array[list(rows)]) != 0)


def _from_folder(path: Path, data: LabelledImages) -> Masks:
    if not isinstance(data.images, ImageFiles):
        raise DatasetError(f"{path} is a folder, but {data.name} has no image files: give its masks as a .npy file.")
    listed, image = data.images.files, data.images.image
    names = np.array([os.fsencode(Path(os.fsdecode(bytes(file))).with_suffix(".png")) for file in listed.files])
    files = dataclasses.replace(listed, root=path, files=names)
    masks = ImageFiles(files, dataclasses.replace(image, channels=1))
    return lambda rows: masks[torch.tensor(list(rows))][:, 0] > HALF
