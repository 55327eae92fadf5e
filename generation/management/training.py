"""What the two training commands share."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from django.core.management.base import CommandParser
from torch import nn
from tqdm import tqdm

from generation.datasets import LabelledImages, Split, load_dataset
from generation.datasets.augmentation import Augmentation
from generation.errors import NoHeldOutError, PresetError
from generation.management.options import Interruption, add_computing, at_least, positive
from generation.presets import ClassifierTraining, DiffusionTraining, Preset
from generation.training.loop import Metrics, Objective, Recipe
from generation.training.session import HeldOut, Session, train
from generation.training.validation import Validation, buckets_of, table

SMOOTHING = 0.98
# Beside the progress bar; the record has more.
SHOWN = {"loss", "mse", "accuracy", "fooled"}


def add_training(parser: CommandParser) -> None:
    """Add the options that both training commands have."""
    parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with Fashion-MNIST's or CIFAR-10's files, or with a folder of images for each class",
    )
    parser.add_argument("--validation", type=Path, help="folder with held-out images; those of --data, unless given")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint and the resume state")
    parser.add_argument("--iterations", type=at_least(0), help="the preset's, unless given; 0 validates and no more")
    parser.add_argument(
        "--batch-size", type=at_least(1), help="images an iteration, over all processes; the preset's, unless given"
    )
    parser.add_argument(
        "--accumulation-steps",
        type=at_least(1),
        default=1,
        help="parts that each process takes its images in, where its memory is too small for all at once",
    )
    parser.add_argument("--learning-rate", type=positive, help="at the start; the preset's, unless given")
    parser.add_argument("--seed", type=at_least(0), default=0, help="decides weights, order, timesteps and noise")
    parser.add_argument("--save-every", type=at_least(1), default=500, help="iterations between checkpoints")
    parser.add_argument("--log-every", type=at_least(1), default=10, help="iterations between entries of metrics.jsonl")
    parser.add_argument(
        "--validate-every", type=at_least(0), default=1000, help="iterations between validations; 0 for none"
    )
    parser.add_argument(
        "--validation-images", type=at_least(1), default=1000, help="held-out images in each bucket of timesteps"
    )
    parser.add_argument("--initial", type=Path, help="begin from this checkpoint's weights, with a new optimiser")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training in --output")
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="name images that cannot be read and go on with others"
    )
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
    iterations = settings.iterations if options["iterations"] is None else options["iterations"]
    anneal = settings.anneal_iterations
    return Recipe(
        iterations=iterations,
        batch_size=options["batch_size"] or settings.batch_size,
        learning_rate=settings.learning_rate if options["learning_rate"] is None else options["learning_rate"],
        anneal_iterations=None if anneal is None else max(1, round(anneal * iterations / settings.iterations)),
        weight_decay=settings.weight_decay,
        ema_rate=settings.ema_rate if isinstance(settings, DiffusionTraining) else None,
        seed=options["seed"],
        accumulation_steps=options["accumulation_steps"],
        augmentation=Augmentation(
            random_crop=isinstance(settings, ClassifierTraining) and settings.random_crop,
            random_flip=settings.random_flip,
        ),
    )


def as_trained(preset: Preset, recipe: Recipe, section: Literal["classifier", "diffusion"]) -> Preset:
    """Return the preset with what the command line changed of its recipe: what the checkpoint will say of itself."""
    settings = getattr(preset.training, section)
    changed = {key: getattr(recipe, key) for key in ("iterations", "batch_size", "learning_rate", "anneal_iterations")}
    training = dataclasses.replace(preset.training, **{section: dataclasses.replace(settings, **changed)})
    return dataclasses.replace(preset, training=training)


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training command asks for.

    Attributes:
        kind: `diffusion`, `robust` or `vanilla`.
        preset: the experiment.
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


def train_with_progress(
    training: Training, accelerator: Accelerator, options: dict[str, Any], write: Callable[[str], object]
) -> None:
    """Train under a progress bar; Ctrl-C saves and stops.

    Args:
        training: what.
        accelerator: where; the first process alone shows and writes anything.
        options: the command's.
        write: takes lines for the user.
    """
    recipe, session = (
        training.recipe,
        Session(options["output"], training.kind, training.preset, options["save_every"], options["log_every"]),
    )
    shows = accelerator.is_main_process
    tell = write if shows else _tell_nobody
    data = _load(training, "train", options)
    held_out = _held_out(training, options, tell)
    tell(f"{len(data)} training images, {len(held_out.data) if held_out else 0} to validate on.")
    torch.manual_seed(recipe.seed)
    network = training.build(training.preset)
    with (
        Interruption() as interruption,
        tqdm(total=recipe.iterations, desc=training.kind, unit="it", disable=not shows or not recipe.iterations) as bar,
    ):
        smooth = _Smooth()

        def on_step(step: int, metrics: Metrics) -> bool:
            if not bar.n:
                # A resumed training's speed counts from where it resumed.
                bar.initial = bar.n = step - 1
            bar.set_postfix({name: f"{value:.3f}" for name, value in smooth(metrics).items()}, refresh=False)
            bar.update(step - bar.n)
            return not interruption.asked

        def on_validation(step: int, metrics: Metrics) -> None:
            with bar.external_write_mode():
                tell(f"After iteration {step}:\n{table(metrics, buckets_of(training.objective.timesteps))}")

        trainer = train(
            session,
            network,
            recipe,
            data,
            training.objective,
            accelerator=accelerator,
            resume=options["resume"],
            initial=options["initial"],
            held_out=held_out,
            on_step=on_step,
            on_validation=on_validation,
        )
    if interruption.asked and trainer.step < recipe.iterations:
        tell(f"Stopped at iteration {trainer.step}; {session.state} is saved: the same command with --resume goes on.")
    elif recipe.iterations:
        tell(f"Trained {trainer.step} iterations: {session.checkpoint}")


def _tell_nobody(_line: str) -> None:
    """Keep the other processes quiet."""


def _load(training: Training, split: Split, options: dict[str, Any]) -> LabelledImages:
    return load_dataset(
        options["data"],
        training.preset.image,
        split,
        validation=options["validation"],
        on_corrupt=_report_corrupt if options["skip_corrupt"] else None,
    )


def _held_out(training: Training, options: dict[str, Any], tell: Callable[[str], object]) -> HeldOut | None:
    """Return what to validate on; None where nothing is to be or can be.

    Raises:
        DatasetError: the command is to validate only and has no held-out images, or they are broken.
    """
    only_validates = training.recipe.iterations == 0
    if not options["validate_every"] and not only_validates:
        return None
    try:
        data = _load(training, "test", options).subset(options["validation_images"])
    except NoHeldOutError as error:
        if only_validates:
            raise
        tell(f"No validation: {error}")
        return None
    return HeldOut(
        data,
        training.validation,
        tuple(buckets_of(training.objective.timesteps)),
        options["validate_every"] or 1,
        training.recipe.batch_size,
    )


def _report_corrupt(path: Path, reason: str) -> None:
    tqdm.write(f"{path} is skipped, for it cannot be read: {reason}", file=sys.stderr)


@dataclasses.dataclass
class _Smooth:
    """Exponentially smoothed metrics, for eyes."""

    values: Metrics = dataclasses.field(default_factory=dict)

    def __call__(self, metrics: Metrics) -> Metrics:
        for name in SHOWN & metrics.keys():
            value = metrics[name]
            self.values[name] = SMOOTHING * self.values.get(name, value) + (1 - SMOOTHING) * value
        return {name: self.values[name] for name in metrics if name in SHOWN}
