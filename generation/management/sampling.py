"""What the commands that sample share: options, the plan that they make, a progress bar."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from generation.checkpoints import settle_classes
from generation.crew import PeerFailedError, joined_processes
from generation.devices import choose_precision
from generation.management.options import GenerationCommand, add_class_order, add_computing, at_least
from generation.plans import ArmPlan, SamplingPlan, choose_eta, knowing_classes, pretrained_checkpoint
from generation.presets import SAMPLERS, Preset
from generation.processes import Processes
from generation.runs import OnProgress
from generation.targets import resolve_targets

CLASSIFIERS = ("robust", "vanilla")
UNGUIDED = "unguided"
ONE_PROCESS = (
    "accelerate launch has started one process, as it does with --cpu and where it finds no GPUs: for several on "
    "processors, accelerate launch --multi_gpu --num_processes N manage.py ... --device cpu."
)
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} {unit} [{elapsed}<{remaining}]"


class SharedCommand(GenerationCommand, ABC):
    """A command whose `run_shared` may share its work with other processes, all launched with the same arguments."""

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Join the other processes, if there are any."""
        try:
            with joined_processes(options["device"]) as (processes, device):
                if processes.size == 1 and asked_for_several():
                    tell(ONE_PROCESS)
                self.run_shared(processes, device, options)
        except PeerFailedError:
            # The one that failed has told why.
            raise SystemExit(1) from None

    @abstractmethod
    def run_shared(self, processes: Processes, device: torch.device, options: dict[str, Any]) -> None:
        """Do what the command is for, on a device and together with other processes."""


def asked_for_several() -> bool:
    """Say whether accelerate launch was asked for several processes and started one: it leaves these traces."""
    traces = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"}
    return traces <= os.environ.keys() and "WORLD_SIZE" not in os.environ


def add_sampling(parser: CommandParser, unit: str) -> None:
    """Add the options that decide what is sampled, except for the arms."""
    parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
    parser.add_argument("--count", type=at_least(1), required=True, help=f"how many {unit}s")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        help="class names or indices, or several at once as sneaker+bag; every class, unless given",
    )
    parser.add_argument("--diffusion", type=Path, help="U-Net checkpoint; the shipped one, unless given")
    for kind in CLASSIFIERS:
        parser.add_argument(f"--{kind}", type=Path, help=f"{kind} classifier; the shipped one, unless given")
    add_class_order(parser)
    parser.add_argument("--steps", help="respacing: 250, ddim25 or 10,15,20; the preset's, unless given")
    parser.add_argument("--sampler", choices=SAMPLERS, help="the preset's, unless given")
    parser.add_argument("--eta", type=float, help="ddim's ancestral noise, 0 to 1; the preset's, unless given")
    parser.add_argument("--batch-size", type=at_least(1), default=8, help=f"{unit}s made at once")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan, and the memory and the time that it will take, measured over a few steps; write nothing",
    )
    add_computing(parser)


def plan_from(preset: Preset, arms: Iterable[ArmPlan], device: torch.device, options: dict[str, Any]) -> SamplingPlan:
    """Return the plan that the options describe."""
    diffusion, order = checkpoint_path(preset, "diffusion", options["diffusion"]), options["class_order"]
    arms = tuple(arms)
    sampler = options["sampler"] or preset.sampling.sampler
    preset = settle_classes(preset, knowing_classes(preset, diffusion, arms), order)
    return SamplingPlan(
        preset=preset,
        count=options["count"],
        seed=options["seed"],
        classes=resolve_targets(preset, options["classes"]),
        diffusion=diffusion,
        arms=arms,
        respacing=preset.sampling.respacing if options["steps"] is None else str(options["steps"]),
        sampler=sampler,
        eta=choose_eta(preset, sampler, options["eta"]),
        precision=choose_precision(options["precision"], device),
        batch_size=options["batch_size"],
        class_order=order,
    )


def arm_plan(preset: Preset, arm: str, classifier: Path | None, scale: float | None) -> ArmPlan:
    """Return an arm; the shipped classifier and the preset's scale stand in for what is None."""
    if arm == UNGUIDED:
        return ArmPlan(name=arm, classifier=None, scale=0.0)
    return ArmPlan(
        name=arm,
        classifier=checkpoint_path(preset, arm, classifier),
        scale=getattr(preset.sampling, f"{arm}_scale") if scale is None else scale,
    )


def checkpoint_path(preset: Preset, kind: str, path: Path | None) -> Path:
    """Return the checkpoint that was given, or else the shipped one."""
    return Path(path) if path else pretrained_checkpoint(preset, kind)


def tell(note: str) -> None:
    """Print a sentence above the progress bar."""
    tqdm.write(note, file=sys.stderr)


@contextmanager
def progress_bar(unit: str, total: int, *, shown: bool) -> Iterator[OnProgress]:
    """Show a bar; Ctrl-C ends the command with one line.

    Args:
        unit: what is counted.
        total: how many there are to be.
        shown: whether this process is the one to show it.

    Yields:
        What to tell (made, in all).
    """
    with tqdm(desc="sampling", total=total, unit=unit, bar_format=BAR, disable=not shown) as bar:

        def on_progress(done: float, _total: int) -> None:
            bar.update(done - bar.n)

        try:
            yield on_progress
        except KeyboardInterrupt as stop:
            why = str(stop) or "Interrupted"
            raise CommandError(f"{why}: the same command goes on where this one stopped.") from None
