"""Make same-seed pairs of two arms."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.text import slugify
from tqdm import tqdm

from generation.checkpoints import settle_classes
from generation.devices import choose_device, choose_precision
from generation.management.options import GenerationCommand, add_class_order, add_computing, at_least
from generation.pairs import MANIFEST, ArmPlan, PairPlan, knowing_classes, pretrained_checkpoint
from generation.presets import Preset, load_preset
from generation.services import generate_pairs
from generation.targets import resolve_targets

CLASSIFIERS = ("robust", "vanilla")
UNGUIDED = "unguided"


class Command(GenerationCommand):
    """`manage.py generate_pairs PRESET --count N --seed S --output DIR`."""

    help = (
        "Make same-seed pairs: all arms start from the same noise and get the same noise at every step. Writes PNGs "
        "and manifest.csv, and enters them for create_study. A killed run goes on with the same command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
        parser.add_argument("--count", type=at_least(1), required=True, help="how many pairs")
        parser.add_argument("--seed", type=at_least(0), required=True, help="decides the noise, with the pair's index")
        parser.add_argument("--output", type=Path, required=True, help="folder for the images and the manifest")
        parser.add_argument("--name", help="the set's name for create_study; the output folder's, unless given")
        parser.add_argument(
            "--classes",
            nargs="+",
            default=[],
            help="class names or indices, or several at once as sneaker+bag; every class, unless given",
        )
        parser.add_argument("--diffusion", type=Path, help="U-Net checkpoint; the shipped one, unless given")
        parser.add_argument(
            "--arms",
            nargs="+",
            choices=[*CLASSIFIERS, UNGUIDED],
            default=list(CLASSIFIERS),
            help="two or three methods to compare; robust and vanilla, unless given",
        )
        for arm in CLASSIFIERS:
            parser.add_argument(f"--{arm}", type=Path, help=f"{arm} classifier; the shipped one, unless given")
            parser.add_argument(f"--{arm}-scale", type=float, help="guidance scale; the preset's, unless given")
        add_class_order(parser)
        parser.add_argument("--steps", help="respacing: 250, ddim25 or 10,15,20; the preset's, unless given")
        parser.add_argument("--sampler", choices=["ddpm", "ddim"], help="the preset's, unless given")
        parser.add_argument("--batch-size", type=at_least(1), default=8, help="pairs made at once")
        add_computing(parser)

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Make the pairs."""
        preset = load_preset(options["preset"])
        device = choose_device(options["device"])
        diffusion = checkpoint_path(preset, "diffusion", options)
        arms = tuple(arm_plan(preset, arm, options) for arm in sorted(options["arms"]))
        preset = settle_classes(preset, knowing_classes(preset, diffusion, arms), options["class_order"])
        plan = PairPlan(
            preset=preset,
            count=options["count"],
            seed=options["seed"],
            classes=resolve_targets(preset, options["classes"]),
            diffusion=diffusion,
            arms=arms,
            respacing=preset.sampling.respacing if options["steps"] is None else str(options["steps"]),
            sampler=options["sampler"] or preset.sampling.sampler,
            precision=choose_precision(options["precision"], device),
            batch_size=options["batch_size"],
            class_order=options["class_order"],
        )
        folder = options["output"]
        name = options["name"] or slugify(folder.resolve().name)
        with tqdm(desc="sampling", unit="step") as bar:

            def on_step(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            try:
                generate_pairs(plan=plan, folder=folder, name=name, device=device, on_step=on_step)
            except KeyboardInterrupt:
                raise CommandError("Interrupted: the same command goes on where this one stopped.") from None
        self.stdout.write(f"{plan.count} pairs named {name!r}: {folder / MANIFEST}")


def checkpoint_path(preset: Preset, kind: str, options: dict[str, Any]) -> Path:
    """Return the checkpoint that the options give, or else the shipped one."""
    return Path(options[kind]) if options[kind] else pretrained_checkpoint(preset, kind)


def arm_plan(preset: Preset, arm: str, options: dict[str, Any]) -> ArmPlan:
    """Return an arm as the options and the preset describe it."""
    if arm == UNGUIDED:
        return ArmPlan(name=arm, classifier=None, scale=0.0)
    scale = options[f"{arm}_scale"]
    return ArmPlan(
        name=arm,
        classifier=checkpoint_path(preset, arm, options),
        scale=getattr(preset.sampling, f"{arm}_scale") if scale is None else scale,
    )
