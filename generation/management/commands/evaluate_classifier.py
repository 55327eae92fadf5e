"""Measure classifiers on noisy test images, attacked and not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.checkpoints import load_classifier, read_metadata, settle_classes
from generation.datasets import LabelledImages
from generation.devices import choose_device, choose_precision
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import CheckpointError, SettingsError
from generation.guidance.classifier import TimeClassifier
from generation.management.data import add_data, load_from
from generation.management.options import GenerationCommand, add_class_order, add_computing, at_least, positive
from generation.presets import Preset, load_preset, preset_from_dict
from generation.training.accuracy_plot import check_plot_path, write_plot
from generation.training.accuracy_report import AccuracyReport, Examined
from generation.training.ensemble import EnsembleSettings, require_ensemble
from generation.training.evaluation import Examination, evaluate, timestep_buckets

BUCKETS = [0, 50, 300, 600]


@dataclass(frozen=True)
class Subject:
    """A classifier to examine."""

    path: Path
    name: str
    preset: Preset
    classifier: TimeClassifier


class Command(GenerationCommand):
    """`manage.py evaluate_classifier CHECKPOINT [CHECKPOINT ...] --data DIR`."""

    help = (
        "Print classifiers' accuracy on noisy test images, clean and attacked (PGD), by bucket of timesteps and by the "
        "attack's radius, side by side on the same images."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("checkpoints", nargs="+", type=Path, help="classifiers to compare")
        add_data(parser)
        parser.add_argument("--preset", help="for checkpoints that do not carry their own")
        parser.add_argument(
            "--threat-model", choices=["l2", "linf"], help="the attack's norm; the first preset's, or l2, unless given"
        )
        parser.add_argument(
            "--epsilon",
            type=positive,
            nargs="+",
            help="attack radii in [-1, 1] pixel units, 0.5 1 2 say; the first preset's, unless given",
        )
        parser.add_argument("--attack-steps", type=at_least(1), default=20, help="of PGD; 20, unless given")
        parser.add_argument(
            "--restarts", type=at_least(0), default=1, help="PGD's further runs from random places; 1, unless given"
        )
        parser.add_argument(
            "--ensemble",
            type=at_least(1),
            metavar="N",
            help="put the first N images through AutoAttack too, where it is installed; thousands of passes for each",
        )
        parser.add_argument("--buckets", type=at_least(0), nargs="+", help="first timesteps; 0 50 300 600 unless given")
        parser.add_argument(
            "--limit", "--images", type=at_least(1), help="only so many test images, chosen at random; all unless given"
        )
        parser.add_argument("--batch-size", type=at_least(1), default=250, help="images at once")
        parser.add_argument("--seed", type=at_least(0), default=0, help="decides the images, timesteps and noise")
        parser.add_argument("--format", choices=["text", "markdown", "json"], default="text", help="of the output")
        parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
        parser.add_argument("--output", type=Path, help="plot accuracy against the radius into this .png, .svg or .pdf")
        add_class_order(parser)
        add_computing(parser)

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Evaluate, print and plot."""
        if options["output"]:
            check_plot_path(options["output"])
        if options["ensemble"]:
            require_ensemble()
        paths = options["checkpoints"]
        order = options["class_order"]
        presets = [settle_classes(preset_of(path, options["preset"]), [path], order) for path in paths]
        examination = examination_from(presets, options)
        # What cannot be loaded is better known before the first one's hours than after them.
        classifiers = [
            load_classifier(path, preset, class_order=order) for path, preset in zip(paths, presets, strict=True)
        ]
        data = load_from(options, presets[0].image, "test")
        report = AccuracyReport(
            examination,
            data.name,
            tuple(
                self._examine(Subject(*subject), data, examination, options)
                for subject in zip(paths, short_names(paths), presets, classifiers, strict=True)
            ),
        )
        if options["format"] == "json":
            self.stdout.write(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
        else:
            self.stdout.write(report.as_markdown() if options["format"] == "markdown" else report.as_text())
        if options["output"]:
            write_plot(report, options["output"])
            self.stderr.write(f"Plotted into {options['output']}")

    def _examine(
        self, subject: Subject, data: LabelledImages, examination: Examination, options: dict[str, Any]
    ) -> Examined:
        device, preset = choose_device(options["device"]), subject.preset
        images = len(examination.choose(len(data)))
        with tqdm(total=images * len(examination.buckets), desc=subject.name, unit="image") as bar:
            buckets = evaluate(
                subject.classifier.to(device),
                data,
                Process(build_schedule(preset.schedule), learn_sigma=False, device=device),
                examination,
                batch_size=options["batch_size"],
                device=device,
                precision=choose_precision(options["precision"], device),
                on_batch=bar.update,
            )
        metadata = read_metadata(subject.path)
        kind = metadata.kind if metadata else ""
        return Examined(
            name=subject.name,
            path=str(subject.path),
            kind=kind,
            preset=preset.name,
            step=metadata.step if metadata else None,
            trained_against=preset.attack if kind == "robust" else None,
            buckets=tuple(buckets),
        )


def examination_from(presets: list[Preset], options: dict[str, Any]) -> Examination:
    """Return what the options ask for; what they leave open is the first preset's.

    Raises:
        SettingsError: presets whose results cannot stand side by side, or values that cannot be.
    """
    first = presets[0]
    for preset in presets[1:]:
        if _compared(preset) != _compared(first):
            raise SettingsError(
                f"Presets {first.name} and {preset.name} differ in their images or noise: evaluate them one by one."
            )
    timesteps = first.schedule.timesteps
    norm = options["threat_model"] or (first.attack.threat_model if first.attack else "l2")
    radii = options["epsilon"]
    if radii is None:
        if first.attack is None or first.attack.threat_model != norm:
            raise SettingsError(f"Preset {first.name} has no radius for an attack in {norm}: give --epsilon.")
        radii = [first.attack.epsilon]
    edges = options["buckets"] or [edge for edge in BUCKETS if edge < timesteps]
    return Examination(
        norm=norm,
        radii=tuple(sorted(set(radii))),
        steps=options["attack_steps"],
        restarts=options["restarts"],
        buckets=tuple(timestep_buckets(edges, timesteps)),
        seed=options["seed"],
        limit=options["limit"],
        ensemble=EnsembleSettings(options["ensemble"], first.image.classes) if options["ensemble"] else None,
    )


def _compared(preset: Preset) -> tuple[object, ...]:
    image = preset.image
    return preset.schedule, image.size, image.channels, image.classes, image.class_names


def short_names(paths: list[Path]) -> list[str]:
    """Return names that tell checkpoints apart: the files' own, with as many folders as it takes.

    Raises:
        SettingsError: the same file twice.
    """
    parts = [path.resolve().with_suffix("").parts for path in paths]
    if len(set(parts)) < len(parts):
        raise SettingsError("The same checkpoint is given twice: name each once.")
    for count in range(1, max(len(part) for part in parts) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def preset_of(path: Path, named: str | None) -> Preset:
    """Return the preset that is named, or that the checkpoint carries.

    Raises:
        CheckpointError: neither is there.
    """
    if named:
        return load_preset(named)
    metadata = read_metadata(path)
    if metadata is None:
        raise CheckpointError(f"{path} carries no preset: say which with --preset.")
    return preset_from_dict(metadata.preset)
