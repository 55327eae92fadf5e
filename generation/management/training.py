"""What the two training commands share."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from torch import nn
from tqdm import tqdm

from generation.datasets import load_dataset
from generation.datasets.augmentation import Augmentation
from generation.devices import choose_device
from generation.errors import PresetError
from generation.management.options import Interruption, add_computing, at_least, positive
from generation.presets import ClassifierTraining, DiffusionTraining, Preset
from generation.training.loop import Metrics, Objective, Recipe
from generation.training.session import Session, train

SMOOTHING = 0.98


def add_training(parser: CommandParser) -> None:
    """Add the options that both training commands have."""
    parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with Fashion-MNIST's or CIFAR-10's files, or with a folder of images for each class",
    )
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="name images that cannot be read and go on with others"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint and the resume state")
    parser.add_argument("--iterations", type=at_least(1), help="the preset's, unless given")
    parser.add_argument("--batch-size", type=at_least(1), help="the preset's, unless given")
    parser.add_argument("--learning-rate", type=positive, help="at the start; the preset's, unless given")
    parser.add_argument("--seed", type=at_least(0), default=0, help="decides weights, order, timesteps and noise")
    parser.add_argument("--save-every", type=at_least(1), default=500, help="iterations between checkpoints")
    parser.add_argument("--initial", type=Path, help="begin from this checkpoint's weights, with a new optimiser")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training in --output")
    add_computing(parser)


def recipe_from(
    settings: ClassifierTraining | DiffusionTraining | None, preset: Preset, section: str, options: dict[str, Any]
) -> Recipe:
    """Return the preset's recipe with the command line's changes; annealing keeps its share of the iterations.

    Raises:
        PresetError: the preset has no such section.
    """
    if settings is None:
        raise PresetError(f"Preset {preset.name} has no [{section}]: add the section to train with it.")
    iterations = options["iterations"] or settings.iterations
    anneal = settings.anneal_iterations
    return Recipe(
        iterations=iterations,
        batch_size=options["batch_size"] or settings.batch_size,
        learning_rate=settings.learning_rate if options["learning_rate"] is None else options["learning_rate"],
        anneal_iterations=None if anneal is None else max(1, round(anneal * iterations / settings.iterations)),
        weight_decay=settings.weight_decay,
        ema_rate=settings.ema_rate if isinstance(settings, DiffusionTraining) else None,
        seed=options["seed"],
        augmentation=Augmentation(
            random_crop=isinstance(settings, ClassifierTraining) and settings.random_crop,
            random_flip=settings.random_flip,
        ),
    )


def train_with_progress(
    kind: str, preset: Preset, network: nn.Module, recipe: Recipe, objective: Objective, options: dict[str, Any]
) -> str:
    """Train under a progress bar; Ctrl-C saves and stops. Returns a closing line."""
    on_corrupt = _report_corrupt if options["skip_corrupt"] else None
    data = load_dataset(options["data"], preset.image, "train", on_corrupt=on_corrupt)
    session = Session(options["output"], kind, preset, options["save_every"])
    with Interruption() as interruption, tqdm(total=recipe.iterations, desc=kind, unit="it") as bar:
        smooth = _Smooth()

        def on_step(step: int, metrics: Metrics) -> bool:
            if not bar.n:
                # A resumed training's speed counts from where it resumed.
                bar.initial = bar.n = step - 1
            bar.set_postfix({name: f"{value:.3f}" for name, value in smooth(metrics).items()}, refresh=False)
            bar.update(step - bar.n)
            return not interruption.asked

        trainer = train(
            session,
            network,
            recipe,
            data,
            objective,
            device=choose_device(options["device"]),
            resume=options["resume"],
            initial=options["initial"],
            on_step=on_step,
        )
    if trainer.step < recipe.iterations:
        return f"Stopped at iteration {trainer.step}; {session.state} is saved: the same command with --resume goes on."
    return f"Trained {trainer.step} iterations: {session.checkpoint}"


def _report_corrupt(path: Path, reason: str) -> None:
    tqdm.write(f"{path} is skipped, for it cannot be read: {reason}", file=sys.stderr)


@dataclasses.dataclass
class _Smooth:
    """Exponentially smoothed metrics, for eyes."""

    values: Metrics = dataclasses.field(default_factory=dict)

    def __call__(self, metrics: Metrics) -> Metrics:
        for name, value in metrics.items():
            self.values[name] = SMOOTHING * self.values.get(name, value) + (1 - SMOOTHING) * value
        return self.values
