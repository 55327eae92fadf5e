"""Compare generated images with reference images."""

import json
from pathlib import Path
from typing import Any

import torch
from django.core.management.base import CommandParser

from analysis.files import write_files
from analysis.management.lookup import find_study
from analysis.management.measuring import add_features, arm_images, chosen_extractor, progress
from analysis.metrics.curves import check_format, draw
from analysis.metrics.errors import MetricsError
from analysis.metrics.evaluation import METRICS, Settings, evaluate
from analysis.metrics.extraction import assist, extract
from analysis.metrics.features import Extractor
from analysis.metrics.images import ImageSet, check_alike, open_images
from analysis.metrics.references import Reference, load_reference, reference_images
from analysis.metrics.results import Arm, to_dict
from analysis.metrics.tables import latex_table
from analysis.services import store_metrics
from analysis.significance import parse_confidence
from generation.management.options import at_least
from generation.management.sampling import SharedCommand
from generation.processes import Processes

# An arm's name, its value in a sweep, and its images.
Place = tuple[str, float | None, ImageSet]


class Command(SharedCommand):
    """`manage.py compute_metrics --generated [NAME=]PATH ... --reference PATH`."""

    help = (
        "Print FID, sFID, KID, precision, recall, density, coverage, Inception score and FID∞ of generated images, "
        "with standard errors, as JSON. A path is a folder of images or an .npz with arr_0; a reference may also be an "
        ".npz of statistics. Of two arms it also gives the differences; images of the same names count as pairs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--generated",
            nargs="+",
            metavar="[NAME=]PATH",
            help="the arms; with --sweep the name is ARM@VALUE. Without a name the path's own is taken",
        )
        parser.add_argument("--study", metavar="SLUG", help="measure a study's arms, and keep it for the report")
        parser.add_argument("--reference", type=Path, required=True, metavar="PATH", help="what to compare with")
        add_features(parser)
        parser.add_argument("--metrics", default=",".join(METRICS), help="(default: %(default)s)")
        parser.add_argument("--k", type=at_least(1), default=3, help="neighbour of precision and recall (3)")
        parser.add_argument("--density-k", type=at_least(1), default=5, help="neighbour of density and coverage (5)")
        parser.add_argument("--confidence", default="0.95", help="of the intervals (default: %(default)s)")
        parser.add_argument("--seed", type=at_least(0), default=0, help="decides the subsets of FID∞")
        parser.add_argument("--sweep", metavar="AXIS", help="the arms are a sweep over this, such as 'guidance scale'")
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON here as well")
        parser.add_argument("--latex", type=Path, metavar="FILE", help="write a LaTeX table")
        parser.add_argument(
            "--plot", type=Path, metavar="FILE", help="draw the metrics, or a sweep's curves: .svg, .png or .pdf"
        )

    def run_shared(self, processes: Processes, device: torch.device, options: dict[str, Any]) -> None:
        """Measure, print, write."""
        settings = Settings(_chosen_metrics(options["metrics"]), options["k"], options["density_k"], options["seed"])
        confidence = _confidence(options["confidence"])
        axis = options["sweep"]
        if options["plot"]:
            check_format(options["plot"].name)
        places = self._places(options, swept=axis is not None)
        _check_names(places)
        extractor = chosen_extractor(options, device)
        compared_with = reference_images(options["reference"])
        if processes.rank:
            for images in (compared_with, *(images for _, _, images in places)):
                if images is not None:
                    assist(images, extractor, batch_size=options["batch_size"], processes=processes)
            return
        self._check_alike(places, compared_with, extractor)
        how = {"batch_size": options["batch_size"], "processes": processes}
        with progress(options["reference"], len(compared_with) if compared_with else None) as on_batch:
            reference = load_reference(options["reference"], extractor, on_batch=on_batch, **how)
        arms = [self._measure(place, reference, extractor, settings, how) for place in places]
        self._put_out(to_dict(arms, reference, extractor, settings, confidence=confidence), options)

    def _check_alike(self, places: list[Place], compared_with: ImageSet | None, extractor: Extractor) -> None:
        for name, _, images in places:
            extractor.check(images)
            if compared_with and (warning := check_alike(images, compared_with)):
                self.stderr.write(self.style.WARNING(f"{name}: {warning}"))

    def _put_out(self, result: dict[str, Any], options: dict[str, Any]) -> None:
        """Store, write and print the result."""
        if options["study"]:
            store_metrics(study=find_study(options["study"]), result=result)
        text = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        _write(options["output"], text)
        _write(options["latex"], latex_table(result, options["sweep"]))
        if options["plot"]:
            _write(options["plot"], draw(result, options["sweep"], check_format(options["plot"].name)))
        self.stdout.write(text, ending="")

    def _places(self, options: dict[str, Any], *, swept: bool) -> list[Place]:
        if bool(options["study"]) == bool(options["generated"]) or (swept and options["study"]):
            raise MetricsError("Give either --generated PATH ... or --study SLUG, and --sweep with the former only.")
        if not options["study"]:
            return [_parse_arm(text, swept=swept) for text in options["generated"]]
        return [
            (arm.name, None, arm_images(arm))
            for arm in find_study(options["study"]).arms.select_related("run").order_by("name")
        ]

    def _measure(
        self, place: Place, reference: Reference, extractor: Extractor, settings: Settings, how: dict[str, Any]
    ) -> Arm:
        name, value, images = place
        with progress(images.path, len(images)) as on_batch:
            features = extract(images, extractor, on_batch=on_batch, **how)
        metrics = evaluate(features, reference, extractor, settings)
        for warning in metrics.warnings:
            self.stderr.write(self.style.WARNING(f"{name}: {warning}"))
        return Arm(name, images.path, metrics, images.names, value)


def _chosen_metrics(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise MetricsError(f"Unknown metric {unknown[0] if unknown else text!r}: choose from {','.join(METRICS)}.")
    return names


def _confidence(text: str) -> float:
    try:
        return parse_confidence(text)
    except ValueError as error:
        raise MetricsError(str(error)) from error


def _parse_arm(text: str, *, swept: bool) -> Place:
    """Return an arm's name, its value in the sweep, and its images."""
    name, equals, rest = text.partition("=")
    if not equals or "/" in name:
        name, rest = Path(text).resolve().stem if Path(text).suffix == ".npz" else Path(text).resolve().name, text
    if not swept:
        return name, None, open_images(Path(rest))
    arm, at, value = name.rpartition("@")
    try:
        if not at or not arm:
            raise ValueError
        place = float(value)
    except ValueError as error:
        raise MetricsError(
            f"--sweep needs ARM@VALUE=PATH, such as robust@0.5=samples/robust, but {text} names no value."
        ) from error
    return arm, place, open_images(Path(rest))


def _check_names(places: list[Place]) -> None:
    keys = [place[:2] for place in places]
    for key in keys:
        if keys.count(key) > 1:
            raise MetricsError(f"Two arms are called {key[0]}: name them apart, as in first=PATH second=PATH.")


def _write(path: Path | None, text: str | bytes) -> None:
    if path is None:
        return
    try:
        write_files(path.parent, {path.name: text})
    except OSError as error:
        raise MetricsError(f"{path} cannot be written ({error}): choose another place.") from error
