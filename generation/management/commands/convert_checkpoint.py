"""Write a checkpoint as safetensors that say what they are."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.conversion import Told, convert_checkpoint, names_from
from generation.devices import PRECISIONS
from generation.management.options import GenerationCommand, at_least
from generation.presets import load_preset


class Command(GenerationCommand):
    """`manage.py convert_checkpoint FILE OUTPUT --preset PRESET`."""

    help = (
        "Write any checkpoint as safetensors that carry their preset, kind and class names. Tensors and their order of "
        "classes stay as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("checkpoint", type=Path, help="a .safetensors or .pt file")
        parser.add_argument("output", type=Path, help="the .safetensors file to write; it must not exist")
        parser.add_argument(
            "--preset", help="whose network it is: a name, or a TOML file's path; its own, unless given"
        )
        parser.add_argument(
            "--kind", choices=["diffusion", "robust", "vanilla"], help="what a classifier was trained as"
        )
        names = parser.add_mutually_exclusive_group()
        names.add_argument(
            "--class-names", nargs="+", default=[], help="in the network's order, or a file with a name a line"
        )
        names.add_argument("--class-order", metavar="NAME", help="which of the preset's class orders the network is in")
        parser.add_argument("--step", type=at_least(0), help="training iterations done, where the file does not say")
        parser.add_argument("--part", help="which part of a .pt file that has several")
        parser.add_argument("--precision", choices=sorted(PRECISIONS), help="of the tensors; as they are, unless given")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Convert."""
        told = Told(
            preset=load_preset(options["preset"]) if options["preset"] else None,
            kind=options["kind"],
            class_names=names_from(options["class_names"]),
            class_order=options["class_order"],
            step=options["step"],
            part=options["part"],
        )
        precision = PRECISIONS[options["precision"]] if options["precision"] else None
        # The bar is for files that take their time.
        with tqdm(desc="converting", unit="tensor", delay=2, leave=False) as bar:

            def on_tensor(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            metadata = convert_checkpoint(
                options["checkpoint"], options["output"], told, precision=precision, on_tensor=on_tensor
            )
        self.stdout.write(f"{options['output']}: {metadata.kind}, preset {metadata.preset['name']}")
