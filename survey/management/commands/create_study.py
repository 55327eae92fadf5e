"""Open a study on named pairs and print the raters' link."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from generation.selectors import runs_named
from survey.errors import SurveyError
from survey.models import QUESTION
from survey.services import create_study


def _at_least_one(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 up")
    return int(text)


class Command(BaseCommand):
    """create_study SLUG --pairs NAME."""

    help = "Open a study on the pairs of a name: every pair of arms, to be rated at /s/SLUG/."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address: letters, digits, - and _")
        parser.add_argument("--pairs", required=True, metavar="NAME", help="the name given to generate_pairs")
        parser.add_argument("--question", default=QUESTION, help="what each page asks (default: %(default)s)")
        parser.add_argument("--title", default="", help="the study's name as raters see it (default: none)")
        parser.add_argument("--pairs-per-rater", type=_at_least_one, metavar="K", help="pairs for each rater (all)")
        parser.add_argument(
            "--raters-per-pair", type=_at_least_one, metavar="N", help="raters for each pair (no limit)"
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Make the study; say what it compares and where raters find it."""
        try:
            study = create_study(
                slug=options["slug"],
                pairs_name=options["pairs"],
                question=options["question"],
                title=options["title"],
                pairs_per_rater=options["pairs_per_rater"],
                raters_per_pair=options["raters_per_pair"],
            )
        except SurveyError as error:
            raise CommandError(str(error)) from error
        arms = list(study.arms.values_list("name", flat=True))
        for run in runs_named(options["pairs"]).exclude(arm__in=arms):
            self.stderr.write(f"Left out: arm '{run.arm}' is unfinished.")
        self.stdout.write(f"Study '{study.slug}' is open: {study.pairs.count()} pairs of {', '.join(arms)}.")
        self.stdout.write(f"Raters' link: {reverse('survey:landing', args=[study.slug])}")
