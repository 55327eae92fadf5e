"""Enter pairs that another generator made."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.imports import import_pairs
from generation.management.options import GenerationCommand


class Command(GenerationCommand):
    """`manage.py import_pairs MANIFEST --name NAME`."""

    help = (
        "Enter pairs from any generator. MANIFEST is a CSV with a line for each image and the header "
        "pair,class_index,class_name,seed,arm,file,sha256. The images are copied, encoded anew, so that nothing but "
        "pixels differs between arms."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("manifest", type=Path, help="the CSV; its files are relative to its folder")
        parser.add_argument("--name", required=True, help="the set's name for create_study")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Import the pairs."""
        folder = settings.DATA_DIR / "pairs" / options["name"]
        with tqdm(desc="images", unit="image") as bar:

            def on_image(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            runs = import_pairs(manifest=options["manifest"], name=options["name"], folder=folder, on_image=on_image)
        self.stdout.write(f"Pairs of {', '.join(run.arm for run in runs)}, named {options['name']!r}: {folder}")
