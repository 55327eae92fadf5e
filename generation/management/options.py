"""What the commands of this room share: options, errors in one line, a good moment to stop."""

import math
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from generation.devices import PRECISIONS
from generation.errors import GenerationError


class GenerationCommand(BaseCommand):
    """A command whose `run` may raise GenerationError, which ends it with one clear line."""

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 -- Django's signature
        """Run the command."""
        try:
            self.run(**options)
        except GenerationError as error:
            raise CommandError(str(error)) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(
                f"The database cannot be used ({error}): python manage.py migrate prepares it."
            ) from error

    def run(self, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Do what the command is for; `handle` turns its errors into one line."""
        raise TypeError(f"{type(self).__name__} must define run(), to do something with {sorted(options)}.")


def add_computing(parser: CommandParser) -> None:
    """Add `--device` and `--precision`."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    parser.add_argument(
        "--precision", choices=sorted(PRECISIONS), default="fp32", help="of the networks; the diffusion stays fp32"
    )


def add_class_order(parser: CommandParser) -> None:
    """Add `--class-order`."""
    parser.add_argument(
        "--class-order",
        metavar="NAME",
        help="which of the preset's class orders checkpoints are in that do not carry their class names, as published "
        "ones don't; cifar10's are folders and torchvision",
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number of at least `least`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError
        return value

    number.__name__ = f"whole number of at least {least}"
    return number


def positive(text: str) -> float:
    """Argparse's type of a positive, finite number: `0.5`, `1e-3`, or a fraction as `8/255`."""
    above, _, below = text.partition("/")
    divisor = float(below or 1)
    if not divisor or not 0 < float(above) / divisor < math.inf:
        raise ValueError
    return float(above) / divisor


positive.__name__ = "positive number"


class Interruption:
    """Asks to stop at the next good moment: set by the first Ctrl-C or SIGTERM; a second Ctrl-C kills as usual.

    Launchers of several processes pass on the Ctrl-C that the processes have had from the terminal already, and ask
    them to end besides. Under one, all that follows the first is left unheeded; the launcher kills those that linger.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if "LOCAL_RANK" not in os.environ:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
