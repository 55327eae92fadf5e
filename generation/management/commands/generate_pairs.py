"""Make same-seed pairs of two arms."""

from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandParser
from django.utils.text import slugify

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
from generation.plans import SamplingPlan
from generation.presets import load_preset
from generation.processes import Processes
from generation.services import check_name_is_free, generate_pairs


class Command(SharedCommand):
    """`manage.py generate_pairs PRESET --count N --seed S --output DIR`."""

    help = (
        "Make same-seed pairs: all arms start from the same noise and get the same noise at every step. Writes PNGs "
        "and manifest.csv, and enters them for create_study. A killed run goes on with the same command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        add_sampling(parser, "pair")
        parser.add_argument("--seed", type=at_least(0), required=True, help="decides the noise, with the pair's index")
        parser.add_argument("--output", type=Path, required=True, help="folder for the images and the manifest")
        parser.add_argument("--name", help="the set's name for create_study; the output folder's, unless given")
        parser.add_argument(
            "--arms",
            nargs="+",
            choices=[*CLASSIFIERS, UNGUIDED],
            default=list(CLASSIFIERS),
            help="two or three methods to compare; robust and vanilla, unless given",
        )
        for arm in CLASSIFIERS:
            parser.add_argument(f"--{arm}-scale", type=float, help="guidance scale; the preset's, unless given")

    def run_shared(self, processes: Processes, device: torch.device, options: dict[str, Any]) -> None:
        """Make the pairs."""
        preset = load_preset(options["preset"])
        arms = (arm_plan(preset, arm, options.get(arm), options.get(f"{arm}_scale")) for arm in sorted(options["arms"]))
        plan = plan_from(preset, arms, device, options)
        folder = Path(options["output"])
        name = options["name"] or slugify(folder.resolve().name)
        first = processes.rank == 0
        if options["dry_run"]:
            if first:
                self.stdout.write(self.dry_run(plan, folder, name, device, processes.size))
            return
        with progress_bar("pairs", plan.count, shown=first) as on_progress:
            generate_pairs(
                plan=plan,
                folder=folder,
                name=name,
                device=device,
                on_progress=on_progress,
                on_note=tell,
                processes=processes,
            )
        if first:
            self.stdout.write(f"{plan.count} pairs named {name!r}: {folder / MANIFEST}")

    def dry_run(self, plan: SamplingPlan, folder: Path, name: str, device: torch.device, processes: int) -> str:
        """Return what would be made, and what it would take."""
        check_name_is_free(plan, folder.resolve(), name)
        images = plan.count * len(plan.arms)
        where = [
            f"{images} PNGs and {MANIFEST} in {folder.resolve()}, {size(plan.pixel_bytes)} before they are compressed",
            f"{images} rows of {len(plan.arms)} runs named {name!r}",
        ]
        return describe(plan, where, estimate(plan, ImageFolder(plan, folder), device), device, processes)
