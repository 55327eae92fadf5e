"""What the commands that draw pictures of two classifiers share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandParser

from generation.checkpoints import load_classifier, settle_classes, sha256_of
from generation.datasets import LabelledImages
from generation.devices import choose_device, choose_precision
from generation.errors import SettingsError
from generation.gallery import classifiers_folder
from generation.management.data import add_data, load_from
from generation.management.options import add_class_order, add_computing, at_least
from generation.management.sampling import checkpoint_path
from generation.pictures.heldout import Named, check_rows, choose_examples, choose_rows, in_precision
from generation.presets import Preset, load_preset
from generation.selectors import pictures_root

KINDS = ("vanilla", "robust")
EXAMPLES = 5
IMAGES = 1000


@dataclass(frozen=True)
class Subjects:
    """Two classifiers and what they are looked at with.

    Attributes:
        preset: the experiment.
        classifiers: vanilla and robust.
        data: held-out images.
        examples: which of them to show.
        rows: which of them to measure on.
        names: the classes'.
        device: where to compute.
        folder: where the pictures go.
    """

    preset: Preset
    classifiers: tuple[Named, ...]
    data: LabelledImages
    examples: list[int]
    rows: list[int]
    names: list[str]
    device: torch.device
    folder: Path


def add_subjects(parser: CommandParser) -> None:
    """Add the options that `subjects_from` reads."""
    parser.add_argument("preset", help="a shipped preset's name, or a TOML file's path")
    add_data(parser)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, help=f"{kind} classifier; the shipped one, unless given")
    add_class_order(parser)
    parser.add_argument(
        "--examples", type=at_least(1), default=EXAMPLES, help=f"how many images to show; {EXAMPLES}, unless given"
    )
    parser.add_argument(
        "--rows", type=at_least(0), nargs="+", help="which held-out images to show, counted from 0; drawn, unless given"
    )
    parser.add_argument(
        "--images", type=at_least(0), default=IMAGES, help=f"how many to measure on; {IMAGES}, unless given; 0 for none"
    )
    parser.add_argument("--batch-size", type=at_least(1), default=100, help="images at once")
    parser.add_argument("--seed", type=at_least(0), default=0, help="decides the images and the noise")
    parser.add_argument("--zoom", type=at_least(1), help="enlarge by this whole number; to 128 dots, unless given")
    parser.add_argument("--output", type=Path, help="folder to write into; the site's pictures, unless given")
    add_computing(parser)


def subjects_from(options: dict[str, Any]) -> Subjects:
    """Load what the options name.

    Raises:
        GenerationError: a preset, checkpoint or data set that cannot be.
    """
    preset = load_preset(options["preset"])
    paths = {kind: checkpoint_path(preset, kind, options[kind]) for kind in KINDS}
    digests = {kind: sha256_of(path) for kind, path in paths.items()}
    if len(set(digests.values())) < len(digests):
        raise SettingsError(f"{paths['vanilla']} and {paths['robust']} are the same network: give two.")
    order = options["class_order"]
    preset = settle_classes(preset, list(paths.values()), order)
    device = choose_device(options["device"])
    precision = choose_precision(options["precision"], device)
    networks = {kind: load_classifier(path, preset, class_order=order) for kind, path in paths.items()}
    data = load_from(options, preset.image, "test")
    classifiers = (
        Named(kind, in_precision(network, device, precision), digests[kind]) for kind, network in networks.items()
    )
    return Subjects(
        preset=preset,
        classifiers=tuple(classifiers),
        data=data,
        examples=check_rows(options["rows"], data)
        if options["rows"]
        else choose_examples(data, options["examples"], options["seed"]),
        rows=choose_rows(len(data), options["images"], options["seed"]) if options["images"] else [],
        names=[
            preset.image.name_of(index) if not data.class_names else data.class_names[index]
            for index in range(preset.image.classes)
        ],
        device=device,
        folder=options["output"] or classifiers_folder(pictures_root(), digests["vanilla"], digests["robust"]),
    )
