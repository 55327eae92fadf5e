"""Making same-seed pairs: from checkpoints to image files and a manifest, resumable, without a database.

Batches are fixed by the pairs' indices and the batch size alone, and a batch is made whole or not at all, so a run
that was killed and resumed ends with the bytes of one that was not.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PillowImage
from torch import Tensor

from generation.checkpoints import load_classifier, load_diffusion, settle_classes, sha256_of, write_atomically
from generation.datasets import to_bytes
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.errors import CheckpointError, SettingsError
from generation.guidance.score import Guidance, label_tensor
from generation.manifests import ImageRecord, manifest_text
from generation.noise import PairNoise, choose_labels
from generation.presets import Preset, SamplerName
from generation.targets import Target

MANIFEST = "manifest.csv"
SETTINGS = "settings.json"
PRETRAINED = Path(__file__).resolve().parent / "pretrained"


@dataclass(frozen=True)
class ArmPlan:
    """One arm: its name, its classifier's file (None: unguided) and its guidance scale."""

    name: str
    classifier: Path | None
    scale: float


@dataclass(frozen=True)
class PairPlan:
    """All that decides a set of pairs.

    Attributes:
        preset: the experiment.
        count: how many pairs.
        seed: with a pair's index it decides the pair's noise and class.
        classes: classes, or combinations of classes, to take in equal shares.
        diffusion: the U-Net's file.
        arms: two or more.
        respacing: which timesteps to visit.
        sampler: `ddpm` or `ddim`.
        precision: of the networks.
        batch_size: pairs made at once.
        class_order: which of the preset's orders the classes of networks are in that do not name them.
    """

    preset: Preset
    count: int
    seed: int
    classes: tuple[Target, ...]
    diffusion: Path
    arms: tuple[ArmPlan, ...]
    respacing: str
    sampler: SamplerName
    precision: torch.dtype
    batch_size: int
    class_order: str | None = None

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What decides each arm's pixels, by the arm's name and as JSON has it; files by their content, read once."""
        diffusion = sha256_of(self.diffusion)
        return {arm.name: self._settings(arm, diffusion) for arm in self.arms}

    def _settings(self, arm: ArmPlan, diffusion_sha256: str) -> dict[str, Any]:
        settings = {
            "preset": self.preset.as_dict(),
            "seed": self.seed,
            "classes": [target.setting for target in self.classes],
            "diffusion_sha256": diffusion_sha256,
            "arm": arm.name,
            "classifier_sha256": sha256_of(arm.classifier) if arm.classifier else None,
            "scale": arm.scale,
            "respacing": self.respacing,
            "sampler": self.sampler,
            "precision": str(self.precision).removeprefix("torch."),
            "batch_size": self.batch_size,
        }
        if self.class_order is not None:
            settings["class_order"] = self.class_order
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain


def knowing_classes(preset: Preset, diffusion: Path, arms: Sequence[ArmPlan]) -> list[Path]:
    """Return the files of those networks for which it matters how classes are counted."""
    unet = [diffusion] if preset.diffusion.class_conditional else []
    return unet + [arm.classifier for arm in arms if arm.classifier]


def pretrained_checkpoint(preset: Preset, kind: str) -> Path:
    """Return the shipped file of a preset's network: kind is `diffusion`, `vanilla` or `robust`.

    Raises:
        CheckpointError: none is shipped.
    """
    path = PRETRAINED / preset.name / f"{kind}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"No {kind} weights are shipped for preset {preset.name}: give --{kind} FILE.")
    return path


def make_pairs(
    plan: PairPlan, folder: Path, *, device: torch.device, on_step: Callable[[int, int], None]
) -> list[ImageRecord]:
    """Make the plan's images that the folder does not have yet, and its manifest.

    Args:
        plan: what to make.
        folder: gets `<arm>/<index>.png`, settings.json and manifest.csv.
        device: where to compute.
        on_step: told (steps done, steps in all) as they go; a batch found complete counts as done.

    Returns:
        The manifest's lines, by pair, then arm.

    Raises:
        GenerationError: a plan that cannot be, a checkpoint that does not fit, a folder with other pairs in it.
    """
    _check_plan(plan)
    batches = [
        range(start, min(start + plan.batch_size, plan.count)) for start in range(0, plan.count, plan.batch_size)
    ]
    to_make = [batch for batch in batches if not _is_complete(plan, folder, batch)]
    process = Process(
        respaced(build_schedule(plan.preset.schedule), plan.respacing),
        learn_sigma=plan.preset.diffusion.learn_sigma,
        device=device,
    )
    networks = _Networks(plan, device)
    _claim_folder(plan, folder)
    total, done = len(batches) * len(process), (len(batches) - len(to_make)) * len(process)
    on_step(done, total)
    for batch in to_make:
        for images in _sample_batch(plan, batch, networks, process, device):  # noqa: B007 -- the last ones are written
            done += 1
            on_step(done, total)
        _write_images(plan, folder, batch, images)
    records = _records(plan, folder)
    write_atomically(folder / MANIFEST, lambda path: path.write_text(manifest_text(records), encoding="utf-8"))
    return records


class _Networks:
    """The plan's networks on their device."""

    def __init__(self, plan: PairPlan, device: torch.device) -> None:
        preset = settle_classes(plan.preset, knowing_classes(plan.preset, plan.diffusion, plan.arms), plan.class_order)
        self.unet = load_diffusion(plan.diffusion, preset, class_order=plan.class_order, device=device)
        classifiers = {
            path: load_classifier(path, preset, class_order=plan.class_order, device=device)
            for path in {arm.classifier for arm in plan.arms if arm.classifier}
        }
        self.guidances = [
            Guidance(classifiers[arm.classifier] if arm.classifier else None, arm.scale) for arm in plan.arms
        ]


def _check_plan(plan: PairPlan) -> None:
    if plan.count < 1 or plan.batch_size < 1:
        raise SettingsError(f"{plan.count} pairs in batches of {plan.batch_size} cannot be: take at least 1 of each.")
    if plan.seed >= 2**63:
        raise SettingsError(f"seed = {plan.seed} cannot be: take a whole number below 2^63.")
    names = [arm.name for arm in plan.arms]
    if len(set(names)) < max(2, len(names)):
        raise SettingsError(f"Pairs need two arms of different names, not {', '.join(names) or 'none'}.")


def _claim_folder(plan: PairPlan, folder: Path) -> None:
    """Write the settings that the folder's images were made with, or compare with those that stand there."""
    settings = plan.settings
    path = folder / SETTINGS
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingsError(f"{folder} holds something else: give --output an empty or new folder.")
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(settings, indent=2) + "\n"))
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): give --output another folder.") from error
    if before != settings and not any(folder.glob("*/*.png")):
        # A run that failed before its first image leaves nothing worth keeping.
        path.unlink()
        _claim_folder(plan, folder)
    elif before != settings:
        raise SettingsError(
            f"{folder} holds pairs made with another {_first_difference(before, settings)}: "
            "give --output another folder, or the settings of these."
        )


def _first_difference(before: Any, after: Any, where: str = "settings") -> str:  # noqa: ANN401 -- JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *before]:
            if before.get(key) != after.get(key):
                return _first_difference(before.get(key), after.get(key), key)
    return f"{where} ({before!r}, now {after!r})" if len(f"{before!r}{after!r}") < 100 else where


def _file(arm: ArmPlan, index: int) -> str:
    return f"{arm.name}/{index:06d}.png"


def _is_complete(plan: PairPlan, folder: Path, batch: range) -> bool:
    return all(_is_whole(folder / _file(arm, index), plan) for arm in plan.arms for index in batch)


def _is_whole(path: Path, plan: PairPlan) -> bool:
    """Say whether an image is there and can be read; a torn one is made again."""
    try:
        with PillowImage.open(path) as image:
            image.load()
            return image.size == (plan.preset.image.size,) * 2
    except (OSError, SyntaxError):
        return False


def _sample_batch(
    plan: PairPlan, batch: range, networks: _Networks, process: Process, device: torch.device
) -> Iterator[Tensor]:
    """Yield (A, N, C, H, W) images after each step; the last are the finished ones."""
    image = plan.preset.image
    targets = [target.classes for target in choose_labels(plan.seed, batch, plan.classes)]
    steps = reverse_steps(
        networks.unet,
        process,
        networks.guidances,
        label_tensor(targets, image.classes, device),
        PairNoise(plan.seed, batch, (image.channels, image.size, image.size)).draw,
        sampler=plan.sampler,
        conditional=plan.preset.diffusion.class_conditional,
        precision=plan.precision,
    )
    for step in steps:
        yield step.x


def _write_images(plan: PairPlan, folder: Path, batch: range, images: Tensor) -> None:
    if not bool(images.isfinite().all()):
        raise SettingsError(
            f"The images of pairs {batch.start} to {batch.stop - 1} are not finite: lower the guidance scale, or take "
            "--precision fp32."
        )
    pixels = to_bytes(images).cpu()
    for arm, arm_pixels in zip(plan.arms, pixels, strict=True):
        for index, image in zip(batch, arm_pixels, strict=True):
            write_atomically(folder / _file(arm, index), partial(Path.write_bytes, data=png_bytes(image)))


def png_bytes(image: Tensor) -> bytes:
    """Encode (C, H, W) uint8, of 1 or 3 channels, as a PNG with nothing but pixels."""
    values = image.permute(1, 2, 0).numpy()
    if values.shape[2] not in (1, 3):
        raise SettingsError(f"Images of {values.shape[2]} channels cannot be PNGs: take a preset with 1 or 3.")
    buffer = io.BytesIO()
    PillowImage.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(buffer, "PNG")
    return buffer.getvalue()


def _records(plan: PairPlan, folder: Path) -> list[ImageRecord]:
    targets = choose_labels(plan.seed, range(plan.count), plan.classes)
    return [
        ImageRecord(
            pair=index,
            class_index=target.index,
            class_name=target.name,
            seed=plan.seed,
            arm=arm.name,
            file=_file(arm, index),
            sha256=sha256_of(folder / _file(arm, index)),
        )
        for index, target in enumerate(targets)
        for arm in plan.arms
    ]
