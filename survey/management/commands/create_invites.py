"""Print links that let one rater in each."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from survey.arrivals import INVITE
from survey.errors import SurveyError
from survey.management.options import at_least_one
from survey.selectors import study_by_slug
from survey.services import create_invites


class Command(BaseCommand):
    """create_invites SLUG --count N."""

    help = "Make invitations to a study, each for one rater, and print their links, one a line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the study's name in its address")
        parser.add_argument("--count", type=at_least_one, required=True, metavar="N", help="how many")
        parser.add_argument(
            "--site", default="", help="what stands before the path, such as https://survey.example.org"
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 (Django's signature)
        """Make and print them."""
        try:
            study = study_by_slug(options["slug"])
        except SurveyError as error:
            raise CommandError(str(error)) from error
        address = options["site"].rstrip("/") + reverse("survey:landing", args=[study.slug])
        for invite in create_invites(study=study, number=options["count"]):
            self.stdout.write(f"{address}?{INVITE}={invite.token}")
