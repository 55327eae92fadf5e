"""Write the preference report of a study or of an answers file."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter

from analysis.answers import AnswersError, read_answers
from analysis.files import write_files
from analysis.management.lookup import find_study
from analysis.preference import parse_thresholds
from analysis.rendering import DEFAULT_FORMATS, FORMATS, render_files, render_text
from analysis.report import Report, build_report
from analysis.reports import study_report
from analysis.significance import parse_confidence

HELP = """\
Write the preference report of a study, or of an answers file.

Files: report.html, report.json, thresholds.csv, pairs.csv, totals.csv; with --formats latex also thresholds.tex.

What the numbers assume:
  threshold table   Every pair counts once. A pair prefers an arm if more than the threshold's share of the raters
                    who chose a side chose it: exactly 60 % is not preferred at 60. "Same" answers are not in that
                    share, and pairs without an answer are not in the table.
  test, interval    Two-sided exact binomial test of the answers that chose a side against 1/2, and Wilson's
                    interval. Both take every answer as independent; answers of one rater and on one pair are not
                    quite, so the p-value is likely too small and the interval too narrow.
  simulated raters  Left out; with --simulated they are reported alone.

An answers file is CSV in UTF-8 with the header rater,pair,left_arm,right_arm,choice (left, right or same) and
optionally answered_at (ISO 8601), response_ms, position, class_name.
"""

T = TypeVar("T")


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Keep HELP's own line breaks."""


class Command(BaseCommand):
    """Write the preference report of a study or of an answers file."""

    help = HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.formatter_class = _HelpFormatter
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("slug", nargs="?", metavar="SLUG", help="the study")
        source.add_argument("--answers", type=Path, metavar="FILE", help="an answers file instead of a study")
        parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="made if need be")
        parser.add_argument(
            "--formats", default=",".join(DEFAULT_FORMATS), help=f"of {','.join(FORMATS)} (default: %(default)s)"
        )
        parser.add_argument("--thresholds", default="50,60,70,80", help="in percent (default: %(default)s)")
        parser.add_argument("--confidence", default="0.95", help="of the interval (default: %(default)s)")
        parser.add_argument("--simulated", action="store_true", help="report the simulated raters, and only them")

    def handle(self, *_args: Any, output: Path, formats: str, **options: Any) -> None:  # noqa: ANN401
        """Compute, write, print."""
        wanted = _or_error(_formats, formats)
        thresholds = _or_error(parse_thresholds, [part for part in options["thresholds"].split(",") if part.strip()])
        confidence = _or_error(parse_confidence, options["confidence"])
        if options["answers"] is not None:
            if options["simulated"]:
                message = "--simulated goes with a study; an answers file holds what it holds"
                raise CommandError(message)
            report = _file_report(options["answers"], thresholds=thresholds, confidence=confidence)
        else:
            report = _study_report(
                options["slug"], thresholds=thresholds, confidence=confidence, simulated=options["simulated"]
            )
        try:
            paths = write_files(output, render_files(report, wanted))
        except OSError as error:
            message = f"cannot write the report to {output}: {error.strerror or error}; choose another --output"
            raise CommandError(message) from error
        self.stdout.write(render_text(report) + "\n")
        for path in paths:
            self.stdout.write(str(path))


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        message = f"unknown format {unknown[0] if unknown else text!r}; choose from {','.join(FORMATS)}"
        raise ValueError(message)
    return names


def _or_error(parse: Callable[[Any], T], value: object) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _file_report(path: Path, *, thresholds: tuple[Fraction, ...], confidence: float) -> Report:
    try:
        frame = read_answers(path)
        return build_report(frame, thresholds=thresholds, confidence=confidence, title=path.name)
    except AnswersError as error:
        message = f"{path}: {error}"
        raise CommandError(message) from error
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}; --answers takes a CSV file"
        raise CommandError(message) from error


def _study_report(slug: str, *, thresholds: tuple[Fraction, ...], confidence: float, simulated: bool) -> Report:
    study = find_study(slug)
    try:
        return study_report(study, thresholds=thresholds, confidence=confidence, simulated=simulated)
    except AnswersError as error:
        message = f"study {slug}: {error}"
        raise CommandError(message) from error
