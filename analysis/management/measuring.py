"""What compute_metrics and make_reference share: their options, a progress bar, the feature network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandParser
from tqdm import tqdm

from analysis.metrics.extraction import BATCH_SIZE
from analysis.metrics.features import Extractor, load_extractor
from analysis.metrics.images import ImageFolder, image_files
from analysis.metrics.protocols import NATIVE, PROTOCOLS
from generation.devices import choose_precision
from generation.management.options import add_computing, at_least
from survey.models import Arm


def add_features(parser: CommandParser) -> None:
    """Add `--features`, `--weights`, `--protocol`, `--batch-size`, `--device` and `--precision`."""
    parser.add_argument(
        "--features",
        default="fashion",
        metavar="NAME",
        help="inception, fashion (for one-channel clothes, shipped) or a TorchScript file, called on (N, C, H, W) "
        "images in [0, 1] (default: %(default)s)",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="inception's, from `fetch_weights inception`")
    parser.add_argument(
        "--protocol",
        choices=[*PROTOCOLS, NATIVE.name],
        help="how images reach inception: adm (guided-diffusion's evaluator, the default), pytorch-fid, clean",
    )
    parser.add_argument("--batch-size", type=at_least(1), default=BATCH_SIZE, help="images at once (%(default)s)")
    add_computing(parser)


def chosen_extractor(options: dict[str, Any], device: torch.device) -> Extractor:
    """Return the network that the options name."""
    return load_extractor(
        options["features"],
        weights=options["weights"],
        protocol=options["protocol"],
        device=device,
        precision=choose_precision(options["precision"], device),
    )


def arm_images(arm: Arm) -> ImageFolder:
    """Return the images of an arm's whole run, named by their pairs.

    Raises:
        MetricsError: One is missing or unreadable, or they differ in form.
    """
    images = list(arm.run.images.select_related("run").order_by("pair_index"))
    names = tuple(str(image.pair_index) for image in images)
    return image_files(Path(arm.run.directory) / arm.name, tuple(image.path for image in images), names)


@contextmanager
def progress(path: Path, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """Show a bar while a set's images are done; of several processes' work, what the first has or was handed."""
    with tqdm(desc=path.name, total=total, unit="image") as bar:
        yield bar.update
