"""Let simulated raters answer a study."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from survey.dry_run import Outcome, simulate, simulate_over_http
from survey.errors import SurveyError
from survey.management.options import at_least_one, share
from survey.selectors import require_open, study_by_slug
from survey.simulation import Behaviour


def strength(text: str) -> tuple[str, float]:
    """Return an arm and its strength from ARM=NUMBER."""
    arm, equals, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not arm or not equals or not abs(value) <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not an arm and a strength from -100 to 100, such as robust=0.8")
    return arm, value


def bias(text: str) -> float:
    """Return a share from -1 to 1."""
    return -share(text[1:]) if text.startswith("-") else share(text)


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of milliseconds above 0")
    return value


class Command(BaseCommand):
    """simulate_raters SLUG --raters N."""

    help = (
        "Let simulated raters answer a study. They are marked for good, balanced apart from real ones, and in no "
        "result unless it is asked for them alone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address")
        parser.add_argument("--raters", type=at_least_one, required=True, metavar="N", help="how many come")
        parser.add_argument(
            "--strength",
            type=strength,
            action="append",
            default=[],
            metavar="ARM=NUMBER",
            help="an arm's strength: of two arms the stronger is chosen 1 / (1 + exp(-difference)) of the time (0)",
        )
        parser.add_argument(
            "--same", type=share, default=0.2, help="share of Same where nothing is right (%(default)s)"
        )
        parser.add_argument(
            "--side-bias", type=bias, default=0.0, help="share of answers given to the left (or -right) unseen (0)"
        )
        parser.add_argument("--laziness", type=share, default=0.0, help="share of raters who press one button (0)")
        parser.add_argument("--dropout", type=share, default=0.0, help="share of raters who leave before the end (0)")
        parser.add_argument("--speed-ms", type=positive, default=3000.0, help="median time of an answer (%(default)s)")
        parser.add_argument("--at-once", type=at_least_one, default=20, help="raters answering at a time (%(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="decides everything (%(default)s)")
        parser.add_argument("--http", metavar="URL", help="drive the server there, which uses this database")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Run it, and say what happened."""
        behaviour = Behaviour(
            strengths=dict(options["strength"]),
            same=options["same"],
            side_bias=options["side_bias"],
            laziness=options["laziness"],
            dropout=options["dropout"],
            speed_ms=options["speed_ms"],
        )
        common = {"raters": options["raters"], "behaviour": behaviour}
        common |= {"at_once": options["at_once"], "seed": options["seed"]}
        site = options["http"]
        if site is not None and not site.startswith(("http://", "https://")):
            raise CommandError(f"--http takes an address such as http://127.0.0.1:8000, not '{site}'")
        total = Outcome()
        try:
            study = study_by_slug(options["slug"])
            require_open(study)
            arms = set(study.arms.values_list("name", flat=True))
            if unknown := sorted(behaviour.strengths.keys() - arms):
                raise CommandError(f"study '{study.slug}' has no arm '{unknown[0]}': it has {', '.join(sorted(arms))}")
            steps = simulate_over_http(study=study, site=site, **common) if site else simulate(study=study, **common)
            with tqdm(total=options["raters"], unit=" raters", disable=None) as bar:
                for step in steps:
                    total.add(step)
                    bar.update(step.finished + step.left + step.turned_away)
        except SurveyError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{total.raters} simulated raters gave {total.answers} answers: {total.finished} to the end, "
            f"{total.left} left before, {total.turned_away} turned away (nothing left to answer)."
        )
