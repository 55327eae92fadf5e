"""IDX files, MNIST's form: Fashion-MNIST comes in four of them."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from generation.errors import DatasetError, NoHeldOutError
from generation.presets import Image

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
IDX_UINT8 = 0x08


def is_idx(folder: Path) -> bool:
    """Whether any of the four files is in a folder."""
    return any(_candidate(folder, name) for names in IDX_FILES.values() for name in names)


def read_idx_split(folder: Path, image: Image, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a split, padded with black to the preset's size.

    Args:
        folder: holds `train-images-idx3-ubyte[.gz]` and its three companions.
        image: the preset's image section.
        split: `train` or `test`.

    Returns:
        (N, 1, size, size) uint8 images and (N,) uint8 labels.

    Raises:
        NoHeldOutError: the test split's files are missing.
        DatasetError: a file is missing or broken, or the images are not of the preset's size and channels.
    """
    if split == "test" and not any(_candidate(folder, name) for name in IDX_FILES[split]):
        raise NoHeldOutError(f"{folder} has no {IDX_FILES[split][0]}.gz: name held-out images with --validation.")
    images_path, labels_path = (_find(folder, name) for name in IDX_FILES[split])
    images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DatasetError(f"{images_path} has {len(images)} images, {labels_path} has {len(labels)} labels.")
    if image.channels != 1:
        raise DatasetError(f"{images_path} has 1 channel, the preset has {image.channels}: take a preset with 1.")
    return _pad(images, image.size, images_path)[:, None], labels


def _candidate(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _find(folder: Path, name: str) -> Path:
    path = _candidate(folder, name)
    if path is None:
        raise DatasetError(f"{folder} has no {name}.gz: it must hold the four IDX files of the data set.")
    return path


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
