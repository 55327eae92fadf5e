"""What is to be trained: a preset's network, its recipe and its objective, for the commands and for sweeps."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from generation.datasets.augmentation import Augmentation
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.diffusion.unet import build_unet
from generation.errors import PresetError
from generation.guidance.classifier import build_classifier
from generation.presets import Attack, ClassifierTraining, DiffusionTraining, Preset
from generation.training.classifier import ClassifierObjective
from generation.training.diffusion import DiffusionObjective
from generation.training.loop import Objective, Recipe
from generation.training.validation import Validation, classifier_validation, diffusion_validation

# Appendix E: a step of the attack is 2.5 times the radius, divided by the number of steps.
STEP_SHARE = 2.5


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        kind: `diffusion`, `robust` or `vanilla`.
        preset: the experiment, as the checkpoint will tell it.
        recipe: how to train.
        build: returns the network with fresh weights, which torch's global generator draws.
        objective: what to minimise.
        validation: what to measure on held-out images.
    """

    kind: str
    preset: Preset
    recipe: Recipe
    build: Callable[[Preset], nn.Module]
    objective: Objective
    validation: Validation


def recipe_of(
    settings: ClassifierTraining | DiffusionTraining | None,
    preset: Preset,
    section: str,
    *,
    iterations: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    accumulation_steps: int = 1,
) -> Recipe:
    """Return the preset's recipe with what is given instead; annealing keeps its share of the iterations.

    Raises:
        PresetError: the preset has no such section.
    """
    if settings is None:
        raise PresetError(f"Preset {preset.name} has no [{section}]: add the section to train with it.")
    wanted = settings.iterations if iterations is None else iterations
    anneal = settings.anneal_iterations
    return Recipe(
        iterations=wanted,
        batch_size=batch_size or settings.batch_size,
        learning_rate=settings.learning_rate if learning_rate is None else learning_rate,
        anneal_iterations=None if anneal is None else max(1, round(anneal * wanted / settings.iterations)),
        weight_decay=settings.weight_decay,
        ema_rate=settings.ema_rate if isinstance(settings, DiffusionTraining) else None,
        seed=seed,
        accumulation_steps=accumulation_steps,
        augmentation=Augmentation(
            random_crop=isinstance(settings, ClassifierTraining) and settings.random_crop,
            random_flip=settings.random_flip,
        ),
    )


def as_trained(preset: Preset, recipe: Recipe, section: Literal["classifier", "diffusion"]) -> Preset:
    """Return the preset with what the recipe changed of it: what the checkpoint will say of itself."""
    settings = getattr(preset.training, section)
    changed = {key: getattr(recipe, key) for key in ("iterations", "batch_size", "learning_rate", "anneal_iterations")}
    training = dataclasses.replace(preset.training, **{section: dataclasses.replace(settings, **changed)})
    return dataclasses.replace(preset, training=training)


def classifier_training(
    preset: Preset, kind: Literal["robust", "vanilla"], recipe: Recipe, attack: Attack | None, device: torch.device
) -> Training:
    """Return the training of a preset's classifier.

    Args:
        preset: the experiment.
        kind: what the checkpoint is called.
        recipe: how to train.
        attack: what a robust one is trained against; None trains a vanilla one, which is validated against the
            preset's attack, where it has one.
        device: where.
    """
    if attack is not None:
        preset = dataclasses.replace(preset, attack=attack)
    process = Process(build_schedule(preset.schedule), learn_sigma=False, device=device)
    return Training(
        kind=kind,
        preset=as_trained(preset, recipe, "classifier"),
        recipe=recipe,
        build=build_classifier,
        objective=ClassifierObjective(process, attack),
        validation=classifier_validation(process, attack or preset.attack),
    )


def diffusion_training(preset: Preset, recipe: Recipe, device: torch.device) -> Training:
    """Return the training of a preset's U-Net."""
    process = Process(build_schedule(preset.schedule), learn_sigma=preset.diffusion.learn_sigma, device=device)
    objective = DiffusionObjective(process, conditional=preset.diffusion.class_conditional)
    return Training(
        kind="diffusion",
        preset=as_trained(preset, recipe, "diffusion"),
        recipe=recipe,
        build=build_unet,
        objective=objective,
        validation=diffusion_validation(objective),
    )
