"""Close a study."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from survey.errors import SurveyError
from survey.selectors import answers_total, study_by_slug
from survey.services import close_study


class Command(BaseCommand):
    """close_study SLUG."""

    help = "Close a study: it takes no more raters and no more answers, and keeps what it has."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Close it and say how many answers it holds."""
        try:
            study = close_study(study=study_by_slug(options["slug"]))
        except SurveyError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Study '{study.slug}' is closed with {answers_total(study)} answers.")
