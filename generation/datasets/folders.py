"""Folders of class folders, ImageNet's layout: image files are read when they are asked for, in parallel."""

import contextlib
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from generation.datasets.augmentation import Draws, crop_offsets, unaugmented
from generation.errors import DatasetError
from generation.presets import Image

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
# The forms of pixels that Pillow brings to 8 bits of grey or colour without a loss that would surprise.
GREY = ("1", "L", "LA", "La")
COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
READABLE = (*GREY, *COLOUR, "P", "PA")
# What Pillow raises on files that are cut off or damaged; which one depends on the format.
CORRUPT = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Pillow.DecompressionBombError)
MOST_THREADS = 16
PROBED = 64
# Of images that come in one heap, one in so many of each class is held out.
HELD_OUT = 10

OnCorrupt = Callable[[Path, str], object]


@dataclass(frozen=True)
class FileList:
    """Image files in class folders.

    Attributes:
        root: holds the class folders.
        classes: the folders' names, sorted.
        files: (N,) bytes, each file's path within its class folder, in an order that is as good as random.
        labels: (N,) int64 indices into `classes`.
    """

    root: Path
    classes: tuple[str, ...]
    files: np.ndarray
    labels: np.ndarray

    def part(self, rows: np.ndarray) -> "FileList":
        """Return some of the files."""
        return FileList(self.root, self.classes, self.files[rows], self.labels[rows])


def list_files(root: Path) -> FileList:
    """List a folder's images.

    The order follows from a hash of each image's class and name, so that any first so many are a fair sample.

    Raises:
        DatasetError: a class folder without images.
    """
    classes = class_folders(root)
    found = [list(_images_in(root / name)) for name in classes]
    for name, in_class in zip(classes, found, strict=True):
        if not in_class:
            raise DatasetError(f"{root / name} holds no images ({', '.join(ENDINGS)}): every class needs some.")
    files = np.array([file for in_class in found for file in in_class], dtype=bytes)
    labels = np.repeat(np.arange(len(classes)), [len(in_class) for in_class in found])
    keys = [
        hashlib.blake2b(os.fsencode(name) + b"/" + file, digest_size=8).digest()
        for name, in_class in zip(classes, found, strict=True)
        for file in in_class
    ]
    return FileList(root, tuple(classes), files, labels).part(np.argsort(np.array(keys), kind="stable"))


def class_folders(root: Path) -> list[str]:
    """Return the names of a folder's folders, hidden ones left out, sorted."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images_in(folder: Path) -> Iterable[bytes]:
    """Yield the images' paths within a class folder, sorted."""
    for directory, inner, files in os.walk(folder):
        inner.sort()
        within = os.path.relpath(directory, folder)
        for file in sorted(files):
            if file.lower().endswith(ENDINGS) and not file.startswith("."):
                yield os.fsencode(os.path.normpath(os.path.join(within, file)))  # noqa: PTH118 -- millions of them


def split_files(files: FileList) -> tuple[FileList, FileList]:
    """Hold out the first tenth of each class, rounded up; a class of one image keeps it for training.

    Returns:
        What to train on, and what is held out. The same files are always split alike.
    """
    held_out = np.zeros(len(files.files), dtype=bool)
    for label in range(len(files.classes)):
        rows = np.flatnonzero(files.labels == label)
        held_out[rows[: -(-len(rows) // HELD_OUT) if len(rows) > 1 else 0]] = True
    return files.part(np.flatnonzero(~held_out)), files.part(np.flatnonzero(held_out))


class ImageFiles:
    """The images of a list of files, as the networks take them: (C, size, size) uint8.

    The shorter side is brought to `size`, or to what a crop's draw says, and a square is cut out: first halved by
    averaging while it is twice as long or longer, then interpolated bicubically, as the published training does.
    Only the images that are asked for are in memory.
    """

    def __init__(self, files: FileList, image: Image, on_corrupt: OnCorrupt | None = None) -> None:
        """Read nothing yet.

        Args:
            files: where the images are.
            image: the preset's image section.
            on_corrupt: told of each image that cannot be read, once; the next one of its class takes its place.
                Without it such an image is an error.
        """
        self.files = files
        self.image = image
        self.on_corrupt = on_corrupt
        self._reported: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.files.files)

    def subset(self, count: int) -> "ImageFiles":
        """Return the first `count` images."""
        return ImageFiles(self.files.part(np.arange(min(count, len(self)))), self.image, self.on_corrupt)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return some images, cut out of the middle: (N, C, size, size) uint8."""
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else rows.numpy()
        return self.read(chosen, unaugmented(len(chosen), self.image.size))

    def read(self, rows: np.ndarray, draws: Draws) -> Tensor:
        """Read some images from their files.

        Args:
            rows: (N,) int64.
            draws: how each is augmented.

        Returns:
            (N, C, size, size) uint8.

        Raises:
            DatasetError: an image cannot be read, and none may be skipped; or none of its class can.
        """
        singles = [draws[index : index + 1] for index in range(len(rows))]
        images = list(self._pool.map(self._read, rows.tolist(), singles))
        if not images:
            return torch.empty(0, self.image.channels, self.image.size, self.image.size, dtype=torch.uint8)
        return torch.from_numpy(np.stack(images))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        # Decoding and resizing let other threads run meanwhile.
        return ThreadPoolExecutor(min(MOST_THREADS, len(os.sched_getaffinity(0))), thread_name_prefix="images")

    def path(self, row: int) -> Path:
        """Return where an image is."""
        name: str = self.files.classes[self.files.labels[row]]
        return self.files.root / name / os.fsdecode(bytes(self.files.files[row]))

    def _read(self, row: int, draws: Draws) -> np.ndarray:
        try:
            return self._decode(row, draws)
        except CORRUPT as error:
            self._report(row, error)
        for other in self._others_of_its_class(row):
            try:
                return self._decode(other, draws)
            except CORRUPT as error:
                self._report(other, error)
        count = int((self.files.labels == self.files.labels[row]).sum())
        raise DatasetError(
            f"{self.files.root / self.files.classes[self.files.labels[row]]}: of the {count} image(s) needed of this "
            "class none can be read: fetch the data set again."
        )

    def _report(self, row: int, error: Exception) -> None:
        path, reason = self.path(row), str(error) or type(error).__name__
        if self.on_corrupt is None:
            raise DatasetError(
                f"{path} cannot be read ({reason}): fetch it again, or leave such images out with --skip-corrupt."
            ) from error
        with self._lock:
            if row not in self._reported:
                self._reported.add(row)
                self.on_corrupt(path, reason)

    def _others_of_its_class(self, row: int) -> list[int]:
        """Return the other rows of the row's class, those after it first."""
        rows = np.flatnonzero(self.files.labels == self.files.labels[row])
        place = int(np.searchsorted(rows, row))
        return [*rows[place + 1 :].tolist(), *rows[:place].tolist()]

    def _decode(self, row: int, draws: Draws) -> np.ndarray:
        size = self.image.size
        with Pillow.open(self.path(row)) as file:
            picture = to_channels(file, self.image.channels)
        picture = _shrink_or_enlarge(picture, int(draws.sides[0]))
        top, left = crop_offsets(draws.places, np.array([picture.height, picture.width]), size)[0].tolist()
        pixels = np.asarray(picture)[top : top + size, left : left + size].reshape(size, size, -1)
        if draws.flips[0]:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def check_form(files: ImageFiles) -> None:
    """Refuse images that the preset is not for, by the headers of some of them.

    Raises:
        DatasetError: all are smaller than the preset's, all are colour and the preset is grey, or the reverse.
    """
    image, forms = files.image, []
    for row in range(min(PROBED, len(files))):
        # A damaged one is reported when it is read.
        with contextlib.suppress(*CORRUPT), Pillow.open(files.path(row)) as picture:
            forms.append((picture.mode, min(picture.size), picture.size))
    if not forms:
        return
    root, (width, height) = files.files.root, forms[0][2]
    if image.channels not in (1, 3):
        raise DatasetError(f"{root} has images of 1 or 3 channels, the preset has {image.channels}.")
    if image.channels == 1 and all(mode in COLOUR for mode, _, _ in forms):
        raise DatasetError(f"{root} has images of 3 channels, the preset has 1: convert them to grey.")
    if image.channels == 3 and all(mode in GREY for mode, _, _ in forms):
        raise DatasetError(f"{root} has images of 1 channel, the preset has 3: take a preset with 1.")
    if all(shorter < image.size for _, shorter, _ in forms):
        raise DatasetError(
            f"{root} has images that are smaller than the preset's {image.size}x{image.size}, one of {width}x{height} "
            "for example: take a preset of their size."
        )


def to_channels(picture: Pillow.Image, channels: int) -> Pillow.Image:
    """Return a picture in grey (1 channel) or colour (3).

    Raises:
        ValueError: pixels that are no 8-bit grey or colour.
    """
    if picture.mode not in READABLE:
        message = f"its pixels are of the form {picture.mode}, not 8-bit grey or colour"
        raise ValueError(message)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("L" if channels == 1 else "RGB")


def _shrink_or_enlarge(picture: Pillow.Image, side: int) -> Pillow.Image:
    """Bring the shorter side to `side` pixels, keeping the proportions."""
    while min(picture.size) >= 2 * side:
        picture = picture.resize((picture.width // 2, picture.height // 2), Pillow.Resampling.BOX)
    scale = side / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Pillow.Resampling.BICUBIC)
