"""Write the preference report of a study or of an answers file."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from tqdm import tqdm

from analysis.answers import AnswersError, read_answers
from analysis.bundle import Origin, anonymise, make_bundle
from analysis.files import write_files
from analysis.frames import responses
from analysis.management.lookup import find_study
from analysis.preference import parse_thresholds
from analysis.rendering import DEFAULT_FORMATS, FORMATS, render_files, render_text
from analysis.report import Report, build_report
from analysis.reports import file_thumbnails, image_seeds, plan_sha256, study_report
from analysis.significance import parse_confidence
from survey.models import Study

HELP = """\
Write the preference report of a study, or of an answers file.

Files: report.html, report.json and CSV tables (thresholds, pairs, totals, estimates, effects, raters, monitoring); with
--formats latex also thresholds.tex and report.tex, with svg the plots. --bundle adds bundle.zip, which a reader can
rerun: anonymised answers, their report, the plan's hash, seeds, versions, methods and references, and the command.

What the numbers assume:
  headline          The share of the answers that chose a side, two-way clustered: raters and pairs are both taken as
                    samples. docs/calibration.md shows that its 95 % interval covers 95 %.
  threshold table   Every pair counts once. A pair prefers an arm if more than the threshold's share of the raters
                    who chose a side chose it: exactly 60 % is not preferred at 60. "Same" answers are not in that
                    share, and pairs without an answer are not in the table. Intervals draw the pairs anew.
  independent       The binomial test and Wilson's interval stand beside it for comparison: they take every answer
                    as independent, so their p-value is too small and their interval too narrow.
  simulated raters  Left out; with --simulated they are reported alone.

An answers file is CSV in UTF-8 with the header rater,pair,left_arm,right_arm,choice (left, right or same) and
optionally answered_at (ISO 8601), response_ms, position, class_name, kind, expected, flags.
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
        parser.add_argument("--bundle", action="store_true", help="write bundle.zip too, for readers to rerun")

    def handle(self, *_args: Any, output: Path, formats: str, **options: Any) -> None:  # noqa: ANN401
        """Compute, write, print."""
        wanted = _or_error(_formats, formats)
        thresholds = _or_error(parse_thresholds, [part for part in options["thresholds"].split(",") if part.strip()])
        confidence = _or_error(parse_confidence, options["confidence"])
        study = None if options["answers"] is not None else find_study(options["slug"])
        if study is None and options["simulated"]:
            message = "--simulated goes with a study; an answers file holds what it holds"
            raise CommandError(message)
        settings: dict[str, Any] = {"thresholds": thresholds, "confidence": confidence}
        with tqdm(total=100, desc="reporting", unit="%", leave=False, disable=None) as bar:

            def progress(share: float, what: str) -> None:
                bar.set_postfix_str(what, refresh=False)
                bar.update(round(100 * share) - bar.n)

            if study is None:
                report = _file_report(options["answers"], **settings, progress=progress)
            else:
                report = _study_report(study, **settings, simulated=options["simulated"], progress=progress)
        thumbnails = {} if study is None else file_thumbnails(study, report)
        files: dict[str, str | bytes] = {**render_files(report, wanted, thumbnails)}
        if options["bundle"]:
            origin = Origin(
                title=report.title,
                plan=None if study is None else plan_sha256(study),
                seeds={} if study is None else image_seeds(study),
                thresholds=options["thresholds"],
                confidence=confidence,
            )
            files["bundle.zip"] = _bundle(options["answers"], study, origin, settings, simulated=options["simulated"])
        try:
            paths = write_files(output, files)
        except OSError as error:
            message = f"cannot write the report to {output}: {error.strerror or error}; choose another --output"
            raise CommandError(message) from error
        self.stdout.write(render_text(report) + "\n")
        for path in paths:
            self.stdout.write(str(path))


def _bundle(
    answers: Path | None, study: Study | None, origin: Origin, settings: dict[str, Any], *, simulated: bool
) -> bytes:
    """Return the bundle, with the report of the anonymised answers as anyone will get it from them."""
    if study is not None:
        frame = responses(study, simulated=simulated, every_kind=True)
    else:
        frame = read_answers(answers or Path())
    frame = anonymise(frame)
    report = build_report(frame, **settings, title="answers.csv")
    return make_bundle(frame, report, render_files(report, ("html", "json", "csv", "latex")), origin)


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


def _file_report(path: Path, **settings: Any) -> Report:  # noqa: ANN401
    try:
        return build_report(read_answers(path), **settings, title=path.name)
    except AnswersError as error:
        message = f"{path}: {error}"
        raise CommandError(message) from error
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}; --answers takes a CSV file"
        raise CommandError(message) from error


def _study_report(study: Study, **settings: Any) -> Report:  # noqa: ANN401
    try:
        return study_report(study, **settings)
    except AnswersError as error:
        message = f"study {study.slug}: {error}"
        raise CommandError(message) from error
