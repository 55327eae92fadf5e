"""A run's plan again, from what is recorded of it, so that its very images can be made once more."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from generation.checkpoints import sha256_of
from generation.errors import SettingsError
from generation.folders import first_difference
from generation.plans import ArmPlan, SamplingPlan
from generation.presets import Preset, preset_from_dict
from generation.shipped import PRETRAINED
from generation.targets import number_targets

Settings = Mapping[str, Mapping[str, Any]]


def replayed_plan(name: str, settings: Settings, count: int, files: Sequence[Path]) -> SamplingPlan:
    """Return the plan that some pairs were made by.

    Args:
        name: the set's name, for messages.
        settings: what decided each arm's pixels, by the arm's name.
        count: how many pairs there are.
        files: checkpoints; those whose content was used are found among them and the shipped ones.

    Raises:
        SettingsError: nothing says how the pairs were made, or a network is not among the files.
        CheckpointError: a file is missing.
    """
    first = next(iter(settings.values()), {})
    if "diffusion_sha256" not in first:
        raise SettingsError(f"{name!r} was imported: nothing is known of the way to its images.")
    preset = preset_from_dict(dict(first["preset"]))
    known = _by_digest(preset, files)
    classes = [(index,) if isinstance(index, int) else tuple(index) for index in first["classes"]]
    plan = SamplingPlan(
        preset=preset,
        count=count,
        seed=first["seed"],
        classes=number_targets(preset.image, classes),
        diffusion=_found(name, known, "diffusion", first["diffusion_sha256"]),
        arms=tuple(
            ArmPlan(
                arm,
                _found(name, known, arm, its["classifier_sha256"]) if its["classifier_sha256"] else None,
                its["scale"],
            )
            for arm, its in sorted(settings.items())
        ),
        respacing=first["respacing"],
        sampler=first["sampler"],
        eta=first.get("eta", 0.0),
        precision=getattr(torch, first["precision"]),
        batch_size=first["batch_size"],
        class_order=first.get("class_order"),
    )
    made = {
        arm: {key: value for key, value in its.items() if key in settings[arm]} for arm, its in plan.settings.items()
    }
    recorded = {arm: dict(its) for arm, its in settings.items()}
    if made != recorded:
        raise SettingsError(
            f"{name!r} cannot be made again: what this version would make differs in its "
            f"{first_difference(recorded, made)}."
        )
    return plan


def _by_digest(preset: Preset, files: Sequence[Path]) -> dict[str, Path]:
    """Return checkpoints by their content: the shipped ones of a preset, and those that were given."""
    shipped = sorted((PRETRAINED / preset.name).glob("*.safetensors"))
    return {sha256_of(path): path for path in [*shipped, *files]}


def _found(name: str, known: Mapping[str, Path], kind: str, sha256: str) -> Path:
    if sha256 not in known:
        raise SettingsError(
            f"{name!r} was made with a {kind} network of sha256 {sha256[:12]}…, which is none of the shipped: give its "
            f"file with --{kind}."
        )
    return known[sha256]
