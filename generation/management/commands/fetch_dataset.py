"""Download a data set and verify it."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.datasets.downloads import DATASETS, fetch_dataset
from generation.management.options import GenerationCommand


class Command(GenerationCommand):
    """`manage.py fetch_dataset NAME --output DIR`."""

    help = "Download a data set's published files, verify them by their SHA-256, and unpack them where they need it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "name", choices=sorted(DATASETS), help="fashion: Fashion-MNIST; cifar10: its binary version"
        )
        parser.add_argument(
            "--output", type=Path, required=True, help="folder for the files: then --data of a training"
        )
        parser.add_argument("--mirror", help="another address with the same files; sums are compared all the same")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Fetch."""
        folder = options["output"]
        bars: dict[str, tqdm[Any]] = {}

        def on_progress(name: str, here: int, total: int) -> None:
            if name not in bars:
                bars[name] = tqdm(total=total, initial=here, desc=name, unit="B", unit_scale=True)
            bars[name].update(here - bars[name].n)

        try:
            fetch_dataset(DATASETS[options["name"]], folder, mirror=options["mirror"], on_progress=on_progress)
        finally:
            for bar in bars.values():
                bar.close()
        self.stdout.write(f"{options['name']} is in {folder}.")
