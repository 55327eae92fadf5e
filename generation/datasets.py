"""Labelled images from files, in memory, as the networks take them."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from generation.errors import DatasetError
from generation.presets import Image

Split = Literal["train", "test"]

IDX_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
IDX_UINT8 = 0x08


@dataclass(frozen=True)
class LabelledImages:
    """A data set's split.

    Attributes:
        name: the data set's name, for the checkpoint's metadata.
        images: (N, C, H, W) uint8.
        labels: (N,) int64 class indices.
    """

    name: str
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int) -> "LabelledImages":
        """Return the first `count` images."""
        return LabelledImages(self.name, self.images[:count], self.labels[:count])


def to_unit_range(images: Tensor) -> Tensor:
    """Map uint8 pixels to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Map pixels in [-1, 1] to uint8, cutting what leaves the range: 127.5 (x + 1), truncated."""
    return ((images + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def load_dataset(folder: Path, image: Image, split: Split) -> LabelledImages:
    """Read a folder of IDX files (MNIST's form), gzipped or not, padded with black to the preset's size.

    Args:
        folder: holds `train-images-idx3-ubyte[.gz]` and its three companions.
        image: the preset's image section; sizes, channels and classes are checked against it.
        split: `train` or `test`.

    Returns:
        The split's images and labels.

    Raises:
        DatasetError: a file is missing, truncated, or not what the preset describes.
    """
    if not folder.is_dir():
        raise DatasetError(f"No folder {folder}: give the folder that holds the data set's files.")
    images_path, labels_path = (_find(folder, name) for name in IDX_FILES[split])
    images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DatasetError(f"{images_path} has {len(images)} images, {labels_path} has {len(labels)} labels.")
    if not len(images):
        raise DatasetError(f"{images_path} holds no images.")
    if image.channels != 1:
        raise DatasetError(f"{images_path} has 1 channel, the preset has {image.channels}: take a preset with 1.")
    if int(labels.max()) >= image.classes:
        raise DatasetError(f"{labels_path} has the label {labels.max()}, but the preset has {image.classes} classes.")
    return LabelledImages(
        name=folder.resolve().name,
        images=torch.from_numpy(_pad(images, image.size, images_path)[:, None]),
        labels=torch.from_numpy(labels.astype(np.int64)),
    )


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DatasetError(f"{folder} has no {name}.gz: it must hold the four IDX files of the data set.")


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of bytes: a magic number, each dimension's length, then the values."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}): fetch it again.") from error
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, IDX_UINT8, dimensions]) or len(content) < header:
        raise DatasetError(f"{path} is no IDX file of bytes in {dimensions} dimension(s): fetch it again.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if len(values) != np.prod(shape):
        raise DatasetError(f"{path} holds {len(values)} values, its header says {np.prod(shape)}: fetch it again.")
    return values.reshape(shape)


def _pad(images: np.ndarray, size: int, path: Path) -> np.ndarray:
    height, width = images.shape[1:]
    if height > size or width > size or (size - height) % 2 or (size - width) % 2:
        raise DatasetError(f"{path} has {height}x{width} images, which cannot be padded evenly to the preset's {size}.")
    rows, columns = (size - height) // 2, (size - width) // 2
    return np.pad(images, ((0, 0), (rows, rows), (columns, columns)))
