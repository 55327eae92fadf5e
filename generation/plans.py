"""What is to be made: all that decides a set of images, and nothing that does not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from generation.checkpoints import sha256_of
from generation.diffusion.solvers import check_eta
from generation.errors import CheckpointError, SettingsError
from generation.presets import Preset, SamplerName
from generation.shipped import PRETRAINED
from generation.targets import Target


@dataclass(frozen=True)
class ArmPlan:
    """One arm: its name, its classifier's file (None: unguided) and its guidance scale."""

    name: str
    classifier: Path | None
    scale: float


@dataclass(frozen=True)
class SamplingPlan:
    """All that decides a set of images: pairs of several arms, or one arm's samples.

    Attributes:
        preset: the experiment.
        count: how many pairs; of one arm, how many samples.
        seed: with a pair's index it decides the pair's noise and class.
        classes: classes, or combinations of classes, to take in equal shares.
        diffusion: the U-Net's file.
        arms: one or more, of different names.
        respacing: which timesteps to visit.
        sampler: `ddpm`, `ddim` or `dpmpp2m`.
        precision: of the networks.
        batch_size: pairs made at once.
        eta: DDIM's share of ancestral noise, 0 to 1.
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
    eta: float = 0.0
    class_order: str | None = None

    @property
    def batches(self) -> list[range]:
        """The indices of the pairs that are made at once: fixed by `count` and `batch_size` alone."""
        starts = range(0, self.count, self.batch_size)
        return [range(start, min(start + self.batch_size, self.count)) for start in starts]

    @property
    def pixel_bytes(self) -> int:
        """How many bytes all images' pixels are."""
        image = self.preset.image
        return self.count * len(self.arms) * image.size**2 * image.channels

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
            "eta": self.eta,
            "precision": str(self.precision).removeprefix("torch."),
            "batch_size": self.batch_size,
        }
        if self.class_order is not None:
            settings["class_order"] = self.class_order
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def check(self) -> None:
        """Refuse what cannot be made.

        Raises:
            SettingsError: no images, batches of none, too large a seed, an eta that the sampler cannot have, or arms
                that share a name.
        """
        if self.count < 1 or self.batch_size < 1:
            raise SettingsError(
                f"{self.count} pairs in batches of {self.batch_size} cannot be: take at least 1 of each."
            )
        if self.seed >= 2**63:
            raise SettingsError(f"seed = {self.seed} cannot be: take a whole number below 2^63.")
        check_eta(self.sampler, self.eta)
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise SettingsError(f"Arms need different names, not {', '.join(names) or 'none'}.")


def choose_eta(preset: Preset, sampler: SamplerName, given: float | None) -> float:
    """Return the given eta, or else the preset's where its sampler, ddim, has not been replaced by another."""
    if given is not None:
        return given
    return preset.sampling.eta if sampler == preset.sampling.sampler else 0.0


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
