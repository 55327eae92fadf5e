"""Write a reference batch."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.core.management.base import CommandParser

from analysis.management.measuring import add_features, chosen_extractor, progress
from analysis.metrics.errors import MetricsError
from analysis.metrics.extraction import assist, extract
from analysis.metrics.images import open_images
from analysis.metrics.references import write_reference
from generation.management.sampling import SharedCommand
from generation.processes import Processes


class Command(SharedCommand):
    """`manage.py make_reference PATH --output FILE.npz`."""

    help = (
        "Write images and the statistics of their features as guided-diffusion's evaluator reads them: arr_0, mu, "
        "sigma, and of spatial features mu_s, sigma_s."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("path", type=Path, help="a folder of images, or an .npz with arr_0")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .npz to write")
        add_features(parser)

    def run_shared(self, processes: Processes, device: torch.device, options: dict[str, Any]) -> None:
        """Extract and write."""
        output: Path = options["output"]
        if output.suffix != ".npz":
            raise MetricsError(f"--output {output} must end in .npz.")
        images = open_images(options["path"])
        extractor, batch_size = chosen_extractor(options, device), options["batch_size"]
        if processes.rank:
            assist(images, extractor, batch_size=batch_size, processes=processes)
            return
        with progress(options["path"], len(images)) as on_batch:
            features = extract(images, extractor, batch_size=batch_size, on_batch=on_batch, processes=processes)
        write_reference(output, images, features, extractor)
        with np.load(output) as arrays:
            held = ", ".join(arrays.files)
        self.stdout.write(f"{output}: {len(images)} images, protocol {extractor.protocol.name}; it holds {held}.")
