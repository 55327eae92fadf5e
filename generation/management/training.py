"""What the two training commands share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.errors import NoHeldOutError
from generation.management.data import add_data, load_from
from generation.management.options import Interruption, add_computing, at_least, positive
from generation.presets import ClassifierTraining, DiffusionTraining, Preset
from generation.training.loop import Metrics, Recipe
from generation.training.session import HeldOut, Session, train
from generation.training.tasks import Training, recipe_of
from generation.training.validation import buckets_of, table

SMOOTHING = 0.98
# Beside the progress bar; the record has more.
SHOWN = {"loss", "mse", "accuracy", "fooled"}


def add_training(parser: CommandParser) -> None:
    """Add the options that both training commands have."""
    parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
    add_data(parser)
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
    parser.add_argument(
        "--keep",
        type=at_least(1),
        nargs="+",
        metavar="ITERATION",
        help="keep the weights after these iterations too, in files of their own",
    )
    parser.add_argument("--log-every", type=at_least(1), default=10, help="iterations between entries of metrics.jsonl")
    parser.add_argument(
        "--validate-every", type=at_least(0), default=1000, help="iterations between validations; 0 for none"
    )
    parser.add_argument(
        "--validation-images", type=at_least(1), default=1000, help="held-out images in each bucket of timesteps"
    )
    parser.add_argument("--initial", type=Path, help="begin from this checkpoint's weights, with a new optimiser")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training in --output")
    add_computing(parser)


def recipe_from(
    settings: ClassifierTraining | DiffusionTraining | None, preset: Preset, section: str, options: dict[str, Any]
) -> Recipe:
    """Return the preset's recipe with the command line's changes; see `recipe_of`."""
    keys = ("iterations", "batch_size", "learning_rate", "seed", "accumulation_steps")
    return recipe_of(settings, preset, section, **{key: options[key] for key in keys})


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
        Session(
            options["output"],
            training.kind,
            training.preset,
            options["save_every"],
            options["log_every"],
            tuple(options["keep"] or ()),
        ),
    )
    shows = accelerator.is_main_process
    tell = write if shows else _tell_nobody
    data = load_from(options, training.preset.image, "train")
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


def _held_out(training: Training, options: dict[str, Any], tell: Callable[[str], object]) -> HeldOut | None:
    """Return what to validate on; None where nothing is to be or can be.

    Raises:
        DatasetError: the command is to validate only and has no held-out images, or they are broken.
    """
    only_validates = training.recipe.iterations == 0
    if not options["validate_every"] and not only_validates:
        return None
    try:
        data = load_from(options, training.preset.image, "test").subset(options["validation_images"])
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


@dataclasses.dataclass
class _Smooth:
    """Exponentially smoothed metrics, for eyes."""

    values: Metrics = dataclasses.field(default_factory=dict)

    def __call__(self, metrics: Metrics) -> Metrics:
        for name in SHOWN & metrics.keys():
            value = metrics[name]
            self.values[name] = SMOOTHING * self.values.get(name, value) + (1 - SMOOTHING) * value
        return {name: self.values[name] for name in metrics if name in SHOWN}
