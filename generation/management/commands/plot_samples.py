"""Lay the images of a set of pairs out on one sheet."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from generation.errors import SettingsError
from generation.management.options import GenerationCommand, at_least
from generation.models import GeneratedImage, GenerationRun
from generation.pictures.sheets import Sheet, read_tile, write_sheet
from generation.selectors import classes_of, images_by_class, images_of_pairs, runs_named


class Command(GenerationCommand):
    """`manage.py plot_samples NAME --arm ARM [ARM ...] --output FILE`."""

    help = (
        "Draw an uncurated sheet of a set's images, a PNG for print at 300 dpi: a row for each class, a column for "
        "each seed, in the order of the pairs. Several arms stand under one another, each column of one seed. With "
        "--pairs, a column for each of these pairs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("name", help="the set's name, as generate_pairs --name gave it")
        parser.add_argument("--arm", nargs="+", required=True, help="which arms' images")
        parser.add_argument("--classes", nargs="+", default=[], help="names of classes; every class, unless given")
        parser.add_argument(
            "--pairs", type=at_least(0), nargs="+", help="only these pairs, by index, a column for each"
        )
        parser.add_argument("--columns", type=at_least(1), default=8, help="images of each class at most")
        parser.add_argument(
            "--zoom", type=at_least(1), help="enlarge by this whole number; to at least 128 dots, unless given"
        )
        parser.add_argument("--no-labels", action="store_true", help="images only, no names of classes and arms")
        parser.add_argument("--output", type=Path, required=True, help="the PNG to write")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Draw the sheet."""
        if options["pairs"]:
            sheet = self._of_pairs(options)
            told = f"{len(options['pairs'])} pairs"
        else:
            sheet = self._of_classes(options)
            told = f"{len(sheet.rows) // len(options['arm'])} classes"
        if options["no_labels"]:
            sheet = replace(sheet, labels=(), headings=())
        write_sheet(sheet, options["output"])
        self.stdout.write(f"{told}: {options['output']}")

    def _of_classes(self, options: dict[str, Any]) -> Sheet:
        """Return a row for each class and arm."""
        arms: list[str] = options["arm"]
        images = {arm: self._images(options["name"], arm, options["classes"], options["columns"]) for arm in arms}
        rows, labels = [], []
        for index, class_name in images[arms[0]]:
            for place, arm in enumerate(arms):
                rows.append([read_tile(image.path) for image in images[arm].get((index, class_name), [])])
                labels.append(_label(class_name, arm if len(arms) > 1 else "", first=place == 0))
        return Sheet(rows, labels, group=len(arms), zoom=options["zoom"])

    def _of_pairs(self, options: dict[str, Any]) -> Sheet:
        """Return a row for each arm and a column for each pair."""
        if options["classes"]:
            raise SettingsError("--pairs and --classes exclude each other: a pair has its class.")
        runs = [self._run(options["name"], arm) for arm in options["arm"]]
        found = images_of_pairs(runs, options["pairs"])
        if absent := [pair for pair in options["pairs"] if not found[pair]]:
            raise SettingsError(f"No pair {absent[0]} is named {options['name']!r}.")
        columns = [found[pair] for pair in options["pairs"]]
        rows = [[read_tile(images[place].path) for images in columns] for place in range(len(runs))]
        headings = [images[0].class_name for images in columns]
        return Sheet(rows, options["arm"], headings, zoom=options["zoom"])

    def _run(self, name: str, arm: str) -> GenerationRun:
        run = runs_named(name).filter(arm=arm).first()
        if run is None:
            known = ", ".join(runs_named(name).values_list("arm", flat=True)) or "none"
            raise SettingsError(f"No images of arm {arm!r} are named {name!r} (its arms: {known}): see generate_pairs.")
        return run

    def _images(
        self, name: str, arm: str, classes: Sequence[str], columns: int
    ) -> dict[tuple[int, str], list[GeneratedImage]]:
        """Return the first images of each class of an arm, by the class's index and name."""
        run = self._run(name, arm)
        found = classes_of(run)
        wanted = {text.strip().casefold() for text in classes}
        if absent := wanted - {class_name.casefold() for _, class_name, _ in found}:
            raise SettingsError(f"No images of class {min(absent)!r} are named {name!r}.")
        chosen = [(index, text) for index, text, _ in found if not wanted or text.casefold() in wanted]
        return {(index, text): list(images_by_class(run, index)[:columns]) for index, text in chosen}


def _label(class_name: str, arm: str, *, first: bool) -> str:
    """Return a row's label: the class's name, above its first arm's."""
    return "\n".join(text for text in (class_name if first else "", arm) if text)
