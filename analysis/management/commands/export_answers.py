"""Write a study's answers, trials or exposures to a file."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError

from analysis.management.lookup import find_study
from survey.exports import FORMATS, TABLES, rows, write


class Command(BaseCommand):
    """Write a study's answers, trials or exposures to a file."""

    help = (
        "Write a study's answers, one row each, to a .csv, .json or .parquet file: rater, pair, left_arm, right_arm, "
        "choice, answered_at (UTC), response_ms, position, class_name, and more. `export_report --answers` and "
        "`import_answers` read it. What each column means stands at /api/v1/exports/. Simulated raters are left out, "
        "or written alone with --simulated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.add_argument("slug", metavar="SLUG", help="the study")
        parser.add_argument(
            "--output", required=True, type=Path, metavar="FILE", help="ends in .csv, .json or .parquet"
        )
        parser.add_argument("--table", choices=list(TABLES), default="answers", help="(default: %(default)s)")
        parser.add_argument("--every-kind", action="store_true", help="practice, catch trials and repeats too")
        parser.add_argument("--simulated", action="store_true", help="the simulated raters', and only theirs")

    def handle(self, *_args: Any, slug: str, output: Path, table: str, **options: Any) -> None:  # noqa: ANN401
        """Write the file beside its place and move it there; say how many rows it has."""
        file_format = output.suffix.lower().removeprefix(".")
        if file_format not in FORMATS:
            message = f"cannot tell the format of {output}: let the file end in .csv, .json or .parquet"
            raise CommandError(message)
        study = find_study(slug)
        data = rows(study, table, simulated=options["simulated"], every_kind=options["every_kind"])
        temporary = output.parent / f".{output.name}.{uuid4().hex}.tmp"
        try:
            if output.is_dir():
                message = f"{output} is a directory; move it away or choose another place"
                raise IsADirectoryError(message)
            output.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                count = write(file, table, data, file_format=file_format)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(output)
        except OSError as error:
            message = f"cannot write {output}: {error}"
            raise CommandError(message) from error
        finally:
            temporary.unlink(missing_ok=True)
        self.stdout.write(f"{output}: {count:,} {table}")
