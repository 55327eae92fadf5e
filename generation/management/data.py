"""The options that name a data set, for the commands that read one."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.datasets import LabelledImages, Split, load_dataset
from generation.presets import Image


def add_data(parser: CommandParser) -> None:
    """Add `--data`, `--validation` and `--skip-corrupt`."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with Fashion-MNIST's or CIFAR-10's files, or with a folder of images for each class",
    )
    parser.add_argument("--validation", type=Path, help="folder with held-out images; those of --data, unless given")
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="name images that cannot be read and go on with others"
    )


def load_from(options: dict[str, Any], image: Image, split: Split) -> LabelledImages:
    """Return a split of the data set that a command's options name.

    Raises:
        DatasetError: as `load_dataset` has it.
    """
    return load_dataset(
        options["data"],
        image,
        split,
        validation=options["validation"],
        on_corrupt=_report_corrupt if options["skip_corrupt"] else None,
    )


def _report_corrupt(path: Path, reason: str) -> None:
    tqdm.write(f"{path} is skipped, for it cannot be read: {reason}", file=sys.stderr)
