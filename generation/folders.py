"""Folders of images in the making: whose they are, and which images are whole."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage
from torch import Tensor

from generation.checkpoints import sha256_of, write_atomically
from generation.errors import SettingsError
from generation.manifests import ImageRecord
from generation.noise import choose_labels
from generation.plans import SamplingPlan
from generation.provenance import forget_sessions

MANIFEST = "manifest.csv"
SETTINGS = "settings.json"
LEFTOVER = re.compile(r"\..+\.(png|npy|json|csv)\.\w{8}")  # as write_atomically names them

Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ImageFolder:
    """A plan's images as PNGs: `<arm>/<index>.png`, or `<index>.png` in a flat folder, which has one arm.

    Attributes:
        plan: what the folder is to hold.
        folder: where it is; it need not exist.
        flat: whether the images lie in the folder itself.
    """

    plan: SamplingPlan
    folder: Path
    flat: bool = False

    def claim(self) -> None:
        """Write the settings that the images are made with, or compare with those that stand there.

        Raises:
            SettingsError: the folder holds other images or other things.
        """
        self.check()
        claim_folder(self.folder, self.plan.settings, images=self._pattern)
        remove_leftovers(self.folder)

    def check(self) -> None:
        """Raise what `claim` would raise, and write nothing."""
        check_folder(self.folder, self.plan.settings, images=self._pattern)
        for path in self.folder.glob(self._pattern):
            if path.stem.isdecimal() and int(path.stem) >= self.plan.count:
                raise SettingsError(
                    f"{self.folder} holds more than {self.plan.count} already, {path.name} for one: give --count that "
                    "many, or --output another folder."
                )

    @property
    def _pattern(self) -> str:
        return "*.png" if self.flat else "*/*.png"

    def holds(self, batch: range) -> bool:
        """Say whether every image of a batch is there and can be read; a torn one is made again."""
        size = self.plan.preset.image.size
        return all(
            _is_whole(self.folder / self.file(arm.name, index), size) for arm in self.plan.arms for index in batch
        )

    def write(self, batch: range, pixels: Tensor) -> None:
        """Write a batch's images, (A, N, C, H, W) uint8."""
        for arm, arm_pixels in zip(self.plan.arms, pixels, strict=True):
            for index, image in zip(batch, arm_pixels, strict=True):
                path = self.folder / self.file(arm.name, index)
                write_atomically(path, partial(Path.write_bytes, data=png_bytes(image)))

    def file(self, arm: str, index: int) -> str:
        """Return an image's path under the folder."""
        return f"{index:06d}.png" if self.flat else f"{arm}/{index:06d}.png"

    def records(self) -> Iterator[ImageRecord]:
        """Yield the manifest's lines, by pair, then arm, from the files as they are."""
        for batch in self.plan.batches:
            targets = choose_labels(self.plan.seed, batch, self.plan.classes)
            for index, target in zip(batch, targets, strict=True):
                for arm in self.plan.arms:
                    file = self.file(arm.name, index)
                    yield ImageRecord(
                        pair=index,
                        class_index=target.index,
                        class_name=target.name,
                        seed=self.plan.seed,
                        arm=arm.name,
                        file=file,
                        sha256=sha256_of(self.folder / file),
                    )


def claim_folder(folder: Path, settings: Settings, *, images: str) -> None:
    """Write the settings that a folder's images are made with, or compare with those that stand there.

    Args:
        folder: it need not exist.
        settings: what decides the pixels, by arm.
        images: which files are images, as a pattern.

    Raises:
        SettingsError: the folder holds images made with other settings, or other things.
    """
    if check_folder(folder, settings, images=images):
        return
    # A run that failed before its first image leaves nothing worth keeping.
    forget_sessions(folder)
    write_settings(folder / SETTINGS, settings)


def check_folder(folder: Path, settings: Settings, *, images: str) -> bool:
    """Say whether a folder's images are made with these settings; it may also be free for the taking.

    Raises:
        SettingsError: the folder holds images made with other settings, or other things.
    """
    path = folder / SETTINGS
    if not path.exists():
        if folder.exists() and (
            not folder.is_dir() or not all(LEFTOVER.fullmatch(found.name) for found in folder.iterdir())
        ):
            raise SettingsError(f"{folder} holds something else: give --output an empty or new folder.")
        return False
    before = read_settings(path)
    if before != settings and any(folder.glob(images)):
        raise SettingsError(
            f"{folder} holds images made with another {first_difference(before, settings)}: "
            "give --output another folder, or the settings of these."
        )
    return bool(before == settings)


def write_settings(path: Path, settings: Settings) -> None:
    """Write settings as JSON."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(settings, indent=2) + "\n"))


def read_settings(path: Path) -> Any:  # noqa: ANN401 -- JSON
    """Read what `write_settings` wrote.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): give --output another folder.") from error


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written, beside the places where it was to be."""
    for path in folder.rglob(".*"):
        if LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def first_difference(before: Any, after: Settings) -> str:  # noqa: ANN401 -- JSON
    """Name the first setting that differs, with both values where they are short."""
    if isinstance(before, dict) and before.keys() != after.keys():
        return f"set of arms ({', '.join(before)}, now {', '.join(after)})"
    return _difference(before, after, "settings")


def _difference(before: Any, after: Any, where: str) -> str:  # noqa: ANN401 -- JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *before]:
            if before.get(key) != after.get(key):
                return _difference(before.get(key), after.get(key), key)
    return f"{where} ({before!r}, now {after!r})" if len(f"{before!r}{after!r}") < 100 else where


def _is_whole(path: Path, size: int) -> bool:
    try:
        with PillowImage.open(path) as image:
            image.load()
            return image.size == (size, size)
    except (OSError, SyntaxError):
        return False


def png_bytes(image: Tensor) -> bytes:
    """Encode (C, H, W) uint8, of 1 or 3 channels, as a PNG with nothing but pixels."""
    values = image.permute(1, 2, 0).numpy()
    if values.shape[2] not in (1, 3):
        raise SettingsError(f"Images of {values.shape[2]} channels cannot be PNGs: take a preset with 1 or 3.")
    buffer = io.BytesIO()
    PillowImage.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(buffer, "PNG")
    return buffer.getvalue()
