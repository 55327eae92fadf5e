"""Write a study's answers to a file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analysis.answers import write_csv, write_json
from analysis.files import write_files
from analysis.frames import responses
from analysis.management.lookup import find_study

WRITERS = {".csv": write_csv, ".json": write_json}


class Command(BaseCommand):
    """Write a study's answers to a file."""

    help = (
        "Write a study's answers, one row each, to a .csv or .json file: rater, pair, left_arm, right_arm, choice, "
        "answered_at (UTC), response_ms, position, class_name. `export_report --answers` reads the CSV. Simulated "
        "raters are left out, or written alone with --simulated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.add_argument("slug", metavar="SLUG", help="the study")
        parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="ends in .csv or .json")
        parser.add_argument("--simulated", action="store_true", help="the simulated raters' answers, and only theirs")

    def handle(self, *_args: Any, slug: str, output: Path, simulated: bool, **_options: Any) -> None:  # noqa: ANN401
        """Write the file and say how many answers it has."""
        writer = WRITERS.get(output.suffix.lower())
        if writer is None:
            message = f"cannot tell the format of {output}: let the file end in {' or '.join(WRITERS)}"
            raise CommandError(message)
        frame = responses(find_study(slug), simulated=simulated)
        try:
            write_files(output.parent, {output.name: writer(frame)})
        except OSError as error:
            message = f"cannot write {output}: {error}"
            raise CommandError(message) from error
        self.stdout.write(f"{output}: {len(frame):,} answers")
