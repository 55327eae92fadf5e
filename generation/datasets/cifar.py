"""CIFAR-10 in its binary form: records of a label byte and 3072 pixel bytes. The pickled form is never read."""

import re
from pathlib import Path

import numpy as np

from generation.errors import DatasetError, NoHeldOutError
from generation.presets import Image

SIZE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIZE * SIZE
NAMES = "batches.meta.txt"
TEST = "test_batch.bin"
# The folder in the data set's archive.
FOLDER = "cifar-10-batches-bin"
PICKLED = ("cifar-10-batches-py", "data_batch_1")


def find_cifar(folder: Path) -> Path | None:
    """Return where the binary files are: the folder or its `cifar-10-batches-bin`; None where they are in neither.

    Raises:
        DatasetError: only the pickled form is there.
    """
    for candidate in (folder, folder / FOLDER):
        if _training_files(candidate) or (candidate / TEST).is_file():
            return candidate
    if any((folder / name).exists() for name in PICKLED):
        raise DatasetError(
            f"{folder} holds CIFAR-10 as pickled objects, which might run code: get the binary version, with "
            "fetch_dataset cifar10."
        )
    return None


def read_cifar_split(folder: Path, image: Image, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a split.

    Args:
        folder: holds `data_batch_1.bin` and so on, and `test_batch.bin`.
        image: the preset's image section.
        split: `train` or `test`.

    Returns:
        (N, 3, 32, 32) uint8 images and (N,) uint8 labels.

    Raises:
        NoHeldOutError: the test split's file is missing.
        DatasetError: a file is missing or broken, or the preset has another size or number of channels.
    """
    if (image.size, image.channels) != (SIZE, CHANNELS):
        raise DatasetError(
            f"{folder} has {SIZE}x{SIZE} images of {CHANNELS} channels, the preset has {image.size}x{image.size} of "
            f"{image.channels}: take a preset of that size, cifar10 for one."
        )
    if split == "test" and not (folder / TEST).is_file():
        raise NoHeldOutError(f"{folder} has no {TEST}: name held-out images with --validation.")
    files = _training_files(folder) if split == "train" else [folder / TEST]
    names = [f"data_batch_{number}.bin" for number in range(1, len(files) + 1)] if split == "train" else [TEST]
    missing = [name for name in names or ["data_batch_1.bin"] if not (folder / name).is_file()]
    if missing:
        raise DatasetError(f"{folder} has no {missing[0]}: fetch the data set again.")
    records = np.concatenate([_read_records(folder / name) for name in names])
    return records[:, 1:].reshape(-1, CHANNELS, SIZE, SIZE), records[:, 0]


def read_cifar_names(folder: Path) -> tuple[str, ...]:
    """Return the class names in the order of the labels.

    Raises:
        DatasetError: the file that holds them is missing or no text.
    """
    try:
        names = (folder / NAMES).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{folder / NAMES} cannot be read ({error}): fetch the data set again.") from error
    if not names:
        raise DatasetError(f"{folder / NAMES} names no classes: fetch the data set again.")
    return tuple(names)


def _training_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("data_batch_*.bin") if re.fullmatch(r"data_batch_\d+\.bin", path.name)]


def _read_records(path: Path) -> np.ndarray:
    """Return a file's records: (N, 3073) uint8."""
    try:
        values = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error}): fetch the data set again.") from error
    if not len(values) or len(values) % RECORD:
        raise DatasetError(f"{path} holds {len(values)} bytes, not records of {RECORD}: fetch the data set again.")
    return values.reshape(-1, RECORD)
