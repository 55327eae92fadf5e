"""Make one arm's samples, for metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandParser

from generation.archives import ArchiveParts
from generation.errors import SettingsError
from generation.estimates import estimate
from generation.folders import MANIFEST, ImageFolder
from generation.management.dry_run import describe, size
from generation.management.options import at_least
from generation.management.sampling import (
    CLASSIFIERS,
    UNGUIDED,
    SharedCommand,
    add_sampling,
    arm_plan,
    plan_from,
    progress_bar,
    tell,
)
from generation.plans import ArmPlan, SamplingPlan
from generation.presets import Preset, load_preset
from generation.processes import Processes
from generation.samples import is_finished, make_samples, provenance_path, store_of


class Command(SharedCommand):
    """`manage.py generate_samples PRESET --guidance robust --count N --output samples.npz`."""

    help = (
        "Make samples of one guidance, as many as metrics need: PNGs in a folder, or an .npz with arr_0 (N,H,W,C) "
        "uint8 and arr_1 the classes, every class equally often. Sample i is what generate_pairs makes of pair i with "
        "the same seed. A killed run goes on with the same command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        add_sampling(parser, "sample")
        parser.add_argument(
            "--guidance", choices=[*CLASSIFIERS, UNGUIDED], required=True, help="which classifier guides, if any"
        )
        parser.add_argument("--scale", type=float, help="guidance scale; the preset's, unless given")
        parser.add_argument("--classifier", type=Path, help="the same as --robust or --vanilla, whichever guides")
        parser.add_argument("--seed", type=at_least(0), default=0, help="decides the noise, with the sample's index")
        parser.add_argument("--output", type=Path, required=True, help="a folder, or a file that ends in .npz")

    def run_shared(self, processes: Processes, device: torch.device, options: dict[str, Any]) -> None:
        """Make the samples."""
        preset, output = load_preset(options["preset"]), Path(options["output"]).resolve()
        plan = plan_from(preset, (_arm(preset, options),), device, options)
        first = processes.rank == 0
        if options["dry_run"]:
            if first:
                self.stdout.write(self.dry_run(plan, output, device, processes.size))
            return
        with progress_bar("samples", plan.count, shown=first) as on_progress:
            make_samples(plan, output, device=device, on_progress=on_progress, on_note=tell, processes=processes)
        if first:
            self.stdout.write(f"{plan.count} {options['guidance']} samples: {options['output']}")

    def dry_run(self, plan: SamplingPlan, output: Path, device: torch.device, processes: int) -> str:
        """Return what would be made, and what it would take."""
        images = store_of(plan, output)
        if is_finished(images, output):
            return f"{output} is finished, with {plan.count} samples: nothing to make."
        return describe(plan, list(_where(plan, output, images)), estimate(plan, images, device), device, processes)


def _where(plan: SamplingPlan, output: Path, images: ImageFolder | ArchiveParts) -> Iterator[str]:
    """Yield what is to be written, a line each."""
    pixels = size(plan.pixel_bytes)
    if isinstance(images, ImageFolder):
        yield f"{plan.count} PNGs and {MANIFEST} in {output}, {pixels} before they are compressed"
    else:
        yield f"{output}, {pixels}, and as much beside it until it is finished"
    yield f"{provenance_path(output).name} beside that"


def _arm(preset: Preset, options: dict[str, Any]) -> ArmPlan:
    guidance, classifier, scale = options["guidance"], options["classifier"], options["scale"]
    if guidance == UNGUIDED:
        if classifier or scale:
            raise SettingsError("--guidance unguided takes no --classifier and no --scale: leave them out.")
        return arm_plan(preset, guidance, None, None)
    if classifier and options[guidance]:
        raise SettingsError(f"--classifier and --{guidance} both name the classifier: give one of them.")
    return arm_plan(preset, guidance, classifier or options[guidance], scale)
