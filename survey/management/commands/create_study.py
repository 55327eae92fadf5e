"""Open a study on named pairs and print the raters' link."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from generation.selectors import runs_named
from survey.errors import SurveyError
from survey.management.options import add_definition, definition_of, two_arms
from survey.models import Study
from survey.selectors import study_by_slug, told_arms
from survey.services import create_study, revise_study, update_study


class Command(BaseCommand):
    """create_study SLUG --pairs NAME."""

    help = (
        "Open a study on the pairs of a name, to be rated at /s/SLUG/. Opening freezes its definition, pairs, "
        "exclusion rules and analysis plan under one sha256; --draft leaves it to be changed, and open_study opens it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address: letters, digits, - and _")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--pairs", metavar="NAME", help="the name given to generate_pairs")
        source.add_argument("--like", metavar="SLUG", help="a new version of that study, as a draft")
        parser.add_argument(
            "--compare",
            type=two_arms,
            action="append",
            metavar="ARM:ARM",
            help="two arms to compare; may be given several times (every two)",
        )
        parser.add_argument("--draft", action="store_true", help="do not open it yet")
        add_definition(parser)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Make the study; say what it compares and where raters find it."""
        try:
            study = self.revise(options) if options["like"] else self.create(options)
        except SurveyError as error:
            raise CommandError(str(error)) from error
        arms = list(study.arms.values_list("name", flat=True))
        state = "open" if study.is_open else "a draft"
        self.stdout.write(f"Study '{study.slug}' is {state}: {study.pairs.count()} pairs of {', '.join(arms)}.")
        self.stdout.write(f"Raters' link: {reverse('survey:landing', args=[study.slug])}")
        for arm, place in told_arms(study):
            self.stderr.write(
                f"Raters can read the arm's name '{arm}' in the study's {place}: they are not blind then."
            )

    def create(self, options: dict[str, Any]) -> Study:
        """Make a study of named pairs, and say what is left out."""
        study = create_study(
            slug=options["slug"],
            pairs_name=options["pairs"],
            comparisons=options["compare"],
            opened=not options["draft"],
            **definition_of(options),
        )
        arms = list(study.arms.values_list("name", flat=True))
        for run in runs_named(options["pairs"]).filter(completed_at=None).exclude(arm__in=arms):
            self.stderr.write(f"Left out: arm '{run.arm}' is unfinished.")
        return study

    def revise(self, options: dict[str, Any]) -> Study:
        """Make a draft like another study, changed as asked."""
        if options["compare"]:
            raise CommandError("--like keeps the arms of its study: leave --compare out, or use --pairs")
        version = revise_study(study=study_by_slug(options["like"]), slug=options["slug"])
        return update_study(study=version, **definition_of(options))
