"""Copy images to where the settings keep them."""

from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from generation.management.options import GenerationCommand
from generation.uploads import upload_images


class Command(GenerationCommand):
    """`manage.py upload_images NAME`."""

    help = (
        "Copy a set's images into the bucket that SAMESEED_IMAGES names, from which raters get them then. What is "
        "there already stays."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("name", help="the set's name, as for create_study")

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Upload the images."""
        done = 0
        with tqdm(desc="images", unit="image", disable=None) as bar:
            for done, total in upload_images(name=options["name"]):
                bar.total = total
                bar.update(done - bar.n)
        self.stdout.write(f"{done} images named {options['name']!r} are in the store.")
