"""Bring answers from a file into a study."""

import io
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pandas as pd
from django.core.management.base import BaseCommand, CommandError

from analysis.answers import AnswersError, ordinary, parse_answers
from analysis.management.lookup import find_study
from survey.errors import SurveyError
from survey.services import ImportedAnswer, import_answers


class Command(BaseCommand):
    """Bring answers from a file into a study."""

    help = (
        "Bring answers from a .csv, .json or .parquet file, such as export_answers writes, into a study that has their "
        "pairs and arms: each rater in the file becomes a rater of the study, under the name in the file. Practice, "
        "catch trials and repeats are left out. All of the file comes in, or nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.add_argument("slug", metavar="SLUG", help="the study")
        parser.add_argument("file", type=Path, metavar="FILE", help="ends in .csv, .json or .parquet")
        parser.add_argument("--simulated", action="store_true", help="mark the raters as simulated, for good")

    def handle(self, *_args: Any, slug: str, file: Path, simulated: bool, **_options: Any) -> None:  # noqa: ANN401
        """Read, check and store; say how much."""
        study = find_study(slug)
        try:
            frame = _read(file)
            answers = [_answer(row) for row in ordinary(frame).to_dict("records")]
            raters = import_answers(study=study, answers=answers, simulated=simulated)
        except OSError as error:
            message = f"cannot read {file}: {error.strerror or error}; give a file that export_answers wrote"
            raise CommandError(message) from error
        except (AnswersError, SurveyError) as error:
            message = f"{file}: {error}"
            raise CommandError(message) from error
        self.stdout.write(f"{len(answers):,} answers of {raters:,} raters are in study '{slug}' now.")
        if left_out := len(frame) - len(answers):
            self.stdout.write(f"Left out: {left_out:,} answers to practice, catch trials and repeats.")


def _read(path: Path) -> pd.DataFrame:
    """Return a file's answers, checked; JSON and Parquet go through the same checks as CSV."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return parse_answers(path.read_bytes())
    if suffix not in {".json", ".parquet"}:
        raise AnswersError("cannot tell the format: let the file end in .csv, .json or .parquet")
    data = path.read_bytes()
    try:
        table = pd.DataFrame(json.loads(data)) if suffix == ".json" else pd.read_parquet(io.BytesIO(data))
    except (ValueError, TypeError, AttributeError) as error:
        raise AnswersError(f"not a {suffix[1:]} file of answers ({error})") from error
    if not len(table.columns):
        raise AnswersError("the file has no answers")
    for name in table.columns:
        if isinstance(table[name].dtype, pd.DatetimeTZDtype):
            table[name] = table[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif pd.api.types.is_float_dtype(table[name]):
            table[name] = table[name].astype("Int64")
    return parse_answers(table.to_csv(index=False).encode())


def _answer(row: dict[Any, Any]) -> ImportedAnswer:
    """Return one row of a checked frame."""

    def known(name: str) -> Any:  # noqa: ANN401 (a cell)
        return None if pd.isna(row[name]) else row[name]

    answered_at, response_ms, position = known("answered_at"), known("response_ms"), known("position")
    return ImportedAnswer(
        rater=row["rater"],
        pair=row["pair"],
        left_arm=row["left_arm"],
        right_arm=row["right_arm"],
        choice=row["choice"],
        answered_at=None if answered_at is None else answered_at.to_pydatetime(),
        response_ms=None if response_ms is None else int(response_ms),
        position=None if position is None else int(position),
    )
