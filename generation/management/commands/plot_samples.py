"""Lay the images of a set of pairs out on one sheet."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from generation.errors import SettingsError
from generation.grids import image_grid
from generation.management.options import GenerationCommand, at_least
from generation.models import GeneratedImage


class Command(GenerationCommand):
    """`manage.py plot_samples NAME --arm ARM --output FILE`."""

    help = "Draw an uncurated sheet of a set's images: a row for each class, in the order of the pairs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("name", help="the set's name, as generate_pairs --name gave it")
        parser.add_argument("--arm", required=True, help="which arm's images")
        parser.add_argument("--columns", type=at_least(1), default=8, help="images of each class at most")
        parser.add_argument("--zoom", type=at_least(1), default=2, help="enlarge by this whole number")
        parser.add_argument("--output", type=Path, required=True, help="the PNG to write")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Draw the sheet."""
        images = GeneratedImage.objects.filter(run__name=options["name"], run__arm=options["arm"])
        rows: dict[int, list[Path]] = {}
        for image in images.select_related("run").order_by("class_index", "pair_index"):
            rows.setdefault(image.class_index, []).append(image.path)
        if not rows:
            raise SettingsError(
                f"No images of arm {options['arm']!r} are named {options['name']!r}: see generate_pairs."
            )
        sheet = image_grid([paths[: options["columns"]] for paths in rows.values()], zoom=options["zoom"])
        try:
            sheet.save(options["output"], "PNG")
        except OSError as error:
            raise SettingsError(f"{options['output']} cannot be written ({error}): check the folder.") from error
        self.stdout.write(f"{len(rows)} classes: {options['output']}")
