"""Samples in one `.npz`, as the reference writes them: `arr_0` the images, `arr_1` their classes.

The images lie in a file for each batch until all are there, and are then copied through, so that memory does not grow
with their number.
"""

import glob
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from torch import Tensor

from generation.checkpoints import write_atomically
from generation.folders import check_folder, claim_folder, remove_leftovers
from generation.noise import choose_labels
from generation.plans import SamplingPlan

BLOCK = 1 << 20


@dataclass(frozen=True)
class ArchiveParts:
    """One arm's samples, a `.npy` of (N, H, W, C) uint8 for each batch, on their way to an archive.

    Attributes:
        plan: what is to be made; it has one arm.
        folder: where the parts are; it need not exist.
    """

    plan: SamplingPlan
    folder: Path

    def claim(self) -> None:
        """Take the folder for these settings.

        Raises:
            SettingsError: it holds parts made with other settings, or other things.
        """
        claim_folder(self.folder, self.plan.settings, images="*.npy")
        remove_leftovers(self.folder)

    def check(self) -> None:
        """Raise what `claim` would raise, and write nothing."""
        check_folder(self.folder, self.plan.settings, images="*.npy")

    def holds(self, batch: range) -> bool:
        """Say whether a batch's part is there, whole."""
        try:
            part = np.load(self._path(batch), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return bool(part.shape == (len(batch), *self._shape) and part.dtype == np.uint8)

    def write(self, batch: range, pixels: Tensor) -> None:
        """Write a batch, (1, N, C, H, W) uint8."""
        images = pixels[0].permute(0, 2, 3, 1).contiguous().numpy()
        write_atomically(self._path(batch), partial(_save, images=images))

    def pack(self, path: Path) -> None:
        """Write all parts into one archive, which appears when it is whole.

        Raises:
            CheckpointError: it cannot be written.
        """
        batches = self.plan.batches
        labels = (choose_labels(self.plan.seed, batch, self.plan.classes) for batch in batches)
        indices = (np.array([target.index for target in targets], dtype=np.int64).tobytes() for targets in labels)
        count = self.plan.count
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????"):
            leftover.unlink()

        def write(temporary: Path) -> None:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                write_member(archive, "arr_0", (count, *self._shape), np.uint8, self._blocks(batches))
                write_member(archive, "arr_1", (count,), np.int64, indices)

        write_atomically(path, write)

    def remove(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _shape(self) -> tuple[int, int, int]:
        image = self.plan.preset.image
        return image.size, image.size, image.channels

    def _path(self, batch: range) -> Path:
        return self.folder / f"{batch.start:06d}.npy"

    def _blocks(self, batches: Sequence[range]) -> Iterator[bytes]:
        for batch in batches:
            with self._path(batch).open("rb") as file:
                npy.read_magic(file)
                npy.read_array_header_1_0(file)
                while block := file.read(BLOCK):
                    yield block


def _save(path: Path, images: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, images, allow_pickle=False)


def write_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: type[np.generic], blocks: Iterable[bytes]
) -> None:
    """Write an array of that shape into an archive, as `numpy.savez` would, from pieces of its bytes in C order."""
    header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        npy.write_array_header_1_0(member, header)
        for block in blocks:
            member.write(block)
