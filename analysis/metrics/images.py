"""Images to measure: a folder of files, or an `.npz` as guided-diffusion writes it; uint8, of one size and colour."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from analysis.metrics.errors import MetricsError

SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
GREY, COLOUR = frozenset({"1", "L", "LA"}), frozenset({"P", "RGB", "RGBA", "PA"})
IMAGES, LABELS = "arr_0", "arr_1"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class ImageFolder:
    """Image files, in the order of their names.

    Attributes:
        path: the folder.
        files: their paths.
        size: height and width, pixels.
        channels: 1 or 3.
        names: what pairs this set's images with those of another set.
    """

    path: Path
    files: tuple[Path, ...]
    size: tuple[int, int]
    channels: int
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Array:
        """Return an image, (H, W, C) uint8.

        Raises:
            MetricsError: The file cannot be read.
        """
        file = self.files[index]
        try:
            with Pillow.open(file) as image:
                plain = image.convert("L" if self.channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise MetricsError(f"{file} cannot be read as an image ({error}): mend it or take it out.") from error
        return np.asarray(plain).reshape(*self.size, self.channels)


@dataclass(frozen=True)
class ImageArray:
    """The images of an `.npz` file's `arr_0`, read from it piece by piece."""

    path: Path
    count: int
    size: tuple[int, int]
    channels: int
    names: tuple[str, ...] | None = field(default=None)

    def __len__(self) -> int:
        return self.count

    def stream(self, batch_size: int) -> Iterator[Array]:
        """Yield (N, H, W, C) uint8 batches.

        Raises:
            MetricsError: The file ends early.
        """
        yield from (batch for _, batch in self.batches(batch_size, range(0, self.count, batch_size)))

    def batches(self, batch_size: int, starts: Iterable[int]) -> Iterator[tuple[int, Array]]:
        """Yield the batches that start at these places, ascending, and where; what lies between is passed over.

        Raises:
            MetricsError: The file ends early.
        """
        bytes_each = self.size[0] * self.size[1] * self.channels
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{IMAGES}.npy") as file:
                _header(file, self.path)
                begin = file.tell()
                for start in starts:
                    wanted = min(batch_size, self.count - start)
                    file.seek(begin + start * bytes_each)
                    content = file.read(wanted * bytes_each)
                    if len(content) != wanted * bytes_each:
                        raise MetricsError(f"{self.path} ends before its {self.count} images do: fetch it again.")
                    yield start, np.frombuffer(bytearray(content), np.uint8).reshape(wanted, *self.size, self.channels)
        except (OSError, zipfile.BadZipFile) as error:
            raise MetricsError(f"{self.path} cannot be read ({error}): fetch it again.") from error


ImageSet = ImageFolder | ImageArray


def open_images(path: Path) -> ImageSet:
    """Find out what images a folder or an `.npz` file holds.

    Raises:
        MetricsError: There are none, or they differ in size or colour, or one is unreadable, or not of 8 bits.
    """
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _open_array(path)
    raise MetricsError(f"{path} is no folder of images and no .npz file: check the path.")


def check_alike(generated: ImageSet, reference: ImageSet) -> str:
    """Return a warning if two sets' images are of different sizes, else nothing.

    Raises:
        MetricsError: One set is grey and the other is not.
    """
    if generated.channels != reference.channels:
        kinds = {1: "grey", 3: "colour"}
        raise MetricsError(
            f"{generated.path} holds {kinds[generated.channels]} images, {reference.path} {kinds[reference.channels]} "
            "ones: save both alike."
        )
    if generated.size != reference.size:
        sizes = " and ".join(f"{width}x{height}" for height, width in (generated.size, reference.size))
        return f"generated and reference images are of sizes {sizes}: the distance then also measures the resizing."
    return ""


def _open_folder(path: Path) -> ImageFolder:
    files = _image_files(path)
    return image_files(path, files, tuple(file.relative_to(path).with_suffix("").as_posix() for file in files))


def image_files(path: Path, files: tuple[Path, ...], names: tuple[str, ...]) -> ImageFolder:
    """Return files as a set.

    Args:
        path: what messages call the set.
        files: the images.
        names: theirs, which pair them with another set's.

    Raises:
        MetricsError: There are none, or they differ in size or colour, or one is unreadable, or not of 8 bits.
    """
    first: tuple[tuple[int, int], int] | None = None
    for file in files:
        form = _form(file)
        first = first or form
        if form[0] != first[0]:
            sizes = " and ".join(f"{width}x{height}" for height, width in (form[0], first[0]))
            raise MetricsError(f"{file} and {files[0].name} are of sizes {sizes}: bring all images to one size.")
        if form[1] != first[1]:
            kinds = ("grey", "colour") if form[1] == 1 else ("colour", "grey")
            raise MetricsError(
                f"{file} is {kinds[0]}, but {files[0].name} is {kinds[1]}: save all images of a set alike."
            )
    if first is None:
        raise MetricsError(f"{path} holds no images ({', '.join(sorted(SUFFIXES))}): check the path.")
    return ImageFolder(path, files, *first, names)


def _image_files(path: Path) -> tuple[Path, ...]:
    """Return the folder's own images or, where it has none, those in its subfolders."""
    here = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
    if here:
        return tuple(sorted(here))
    arms = {file.parent for file in path.glob("*/*") if file.suffix.lower() in SUFFIXES}
    if (path / "manifest.csv").is_file() and len(arms) > 1:
        names = ", ".join(sorted(str(arm) for arm in arms))
        raise MetricsError(f"{path} holds pairs of several arms: name one of {names}.")
    below = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return tuple(sorted(below))


def _form(file: Path) -> tuple[tuple[int, int], int]:
    """Return an image's height and width, and its channels, from its header."""
    try:
        with Pillow.open(file) as image:
            width, height = image.size
            mode = image.mode
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise MetricsError(f"{file} cannot be read as an image ({error}): mend it or take it out.") from error
    if mode not in GREY | COLOUR:
        raise MetricsError(f"{file} is of mode {mode}: save it as 8-bit RGB or grey.")
    return (height, width), 1 if mode in GREY else 3


def _open_array(path: Path) -> ImageArray:
    keys = npz_keys(path)
    if IMAGES not in keys:
        raise MetricsError(f"{path} holds {', '.join(keys) or 'nothing'}, but images must be called {IMAGES}.")
    with zipfile.ZipFile(path) as archive, archive.open(f"{IMAGES}.npy") as file:
        shape, fortran, dtype = _header(file, path)
    form = shape if len(shape) == 4 else (*shape, 1)
    if dtype != np.uint8 or fortran or len(form) != 4 or form[3] not in (1, 3):
        raise MetricsError(
            f"{path}: {IMAGES} is {dtype} of shape {shape}, but must be uint8 of shape (N, H, W, 3) or (N, H, W, 1)."
        )
    if not form[0]:
        raise MetricsError(f"{path} holds no images: check the path.")
    return ImageArray(path, form[0], (form[1], form[2]), form[3])


def npz_keys(path: Path) -> tuple[str, ...]:
    """Return the names of an `.npz` file's arrays.

    Raises:
        MetricsError: It is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
    except (OSError, zipfile.BadZipFile) as error:
        raise MetricsError(f"{path} cannot be read as an .npz file ({error}): fetch or make it again.") from error


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:  # noqa: ANN401 -- zipfile's
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except ValueError as error:
        raise MetricsError(f"{path}: {IMAGES} is no array ({error}): make it again.") from error
