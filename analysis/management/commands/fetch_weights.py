"""Download a feature network's published weights and verify them."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from analysis.metrics.weights import WEIGHTS
from generation.datasets.downloads import fetch_dataset
from generation.management.options import GenerationCommand


class Command(GenerationCommand):
    """`manage.py fetch_weights inception --output DIR`."""

    help = "Download a feature network's published weights, resumed where it broke off, and verify their SHA-256."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("name", choices=sorted(WEIGHTS), help="inception: FID's Inception V3, 91 MiB")
        parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the file")
        parser.add_argument("--mirror", help="another address with the same file; its sum is compared all the same")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Fetch."""
        published, folder = WEIGHTS[options["name"]], options["output"]
        with tqdm(unit="B", unit_scale=True) as bar:

            def on_progress(_name: str, here: int, total: int) -> None:
                bar.total = total
                bar.update(here - bar.n)

            fetch_dataset(published, folder, mirror=options["mirror"], on_progress=on_progress)
        self.stdout.write(f"{folder / published.files[0].name}: give it to compute_metrics as --weights.")
