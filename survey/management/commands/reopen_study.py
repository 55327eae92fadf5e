"""Open a draft, or a closed study again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from survey.errors import SurveyError
from survey.selectors import answers_total, study_by_slug
from survey.services import open_study


class Command(BaseCommand):
    """reopen_study SLUG."""

    help = "Open a closed study again: raters go on where they left. A draft is frozen and opened."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Open it and say how many answers it holds."""
        try:
            study = open_study(study=study_by_slug(options["slug"]))
        except SurveyError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Study '{study.slug}' is open with {answers_total(study)} answers.")
