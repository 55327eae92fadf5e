"""Command-line options that several of the survey's commands share."""

import argparse
import json
from typing import Any

from survey.models import Study
from survey.services.studies import Definition


def at_least_one(text: str) -> int:
    """Return a whole number from 1 up; argparse tells what is wrong with another text."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 up")
    return int(text)


def from_zero(text: str) -> int:
    """Return a whole number from 0 up."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 up")
    return int(text)


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def text_or_file(text: str) -> str:
    """Return a text, or that of a file given as @FILE."""
    if not text.startswith("@"):
        return text
    try:
        with open(text[1:], encoding="utf-8") as file:  # noqa: PTH123 (argparse's own kind of value)
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{text[1:]} cannot be read: {error}") from error


def rules(text: str) -> dict[str, Any]:
    """Return quality rules from JSON."""
    try:
        value = json.loads(text_or_file(text))
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('not a JSON object such as {"fast_ms": 300}')
    return value


def two_arms(text: str) -> tuple[str, str]:
    """Return two arms' names from ARM:ARM."""
    one, colon, other = text.partition(":")
    if not colon or not one or not other:
        raise argparse.ArgumentTypeError(f"'{text}' is not two arms such as robust:vanilla")
    return one, other


def add_definition(parser: argparse.ArgumentParser) -> None:
    """Declare an option for each part of a study's definition; what is not given keeps its default."""
    model = {field.name: field for field in Study._meta.fields}  # noqa: SLF001 (Django's documented API)
    kinds: dict[str, Any] = {
        "pairs_per_rater": ("K", at_least_one),
        "raters_per_pair": ("N", at_least_one),
        "practice_trials": ("N", from_zero),
        "same_catches": ("N", from_zero),
        "noise_catches": ("N", from_zero),
        "repeats": ("N", from_zero),
        "trial_limit_s": ("SECONDS", at_least_one),
        "session_limit_s": ("SECONDS", at_least_one),
        "lease_s": ("SECONDS", at_least_one),
        "consent_text": ("TEXT|@FILE", text_or_file),
        "instructions": ("TEXT|@FILE", text_or_file),
        "thanks_text": ("TEXT|@FILE", text_or_file),
        "completion_code": ("CODE", str),
        "completion_url": ("URL", str),
        "screen_out_code": ("CODE", str),
        "screen_out_url": ("URL", str),
        "screen_out_after": ("N", at_least_one),
        "rules": ("JSON|@FILE", rules),
        "analysis_plan": ("TEXT|@FILE", text_or_file),
    }
    helps = {
        "pairs_per_rater": "pairs for each rater (all)",
        "raters_per_pair": "answers wanted for each pair (no limit)",
        "consent_text": "what is kept and why, before consent (the usual text)",
        "instructions": "what raters do (the usual text)",
        "thanks_text": "on the last page (none)",
        "completion_code": "shown when all is answered (none)",
        "completion_url": "where the panel wants raters who are done (nowhere)",
        "screen_out_code": "shown to raters who failed too many catch trials (none)",
        "screen_out_url": "where the panel wants those (nowhere)",
    }
    parser.add_argument("--title", help="the study's name as raters see it (none)", default=argparse.SUPPRESS)
    parser.add_argument("--question", help="what each page asks (the paper's)", default=argparse.SUPPRESS)
    for name, (metavar, kind) in kinds.items():
        told = helps.get(name) or str(model[name].help_text)
        flag = f"--{name.removesuffix('_trials').replace('_', '-').removesuffix('-s')}"
        parser.add_argument(
            flag, dest=name, type=kind, metavar=metavar, help=told.replace("%", "%%"), default=argparse.SUPPRESS
        )
    for name in ("language", "access", "panel", "panel_ids"):
        values = [value for value, _ in model[name].flatchoices if value]
        usual = {"language": "as the rater's browser asks", "access": "open", "panel": "none", "panel_ids": "hashed"}
        parser.add_argument(
            f"--{name.replace('_', '-')}", choices=values, help=f"({usual[name]})", default=argparse.SUPPRESS
        )
    parser.add_argument(
        "--no-interim-results",
        dest="interim_results",
        action="store_false",
        default=argparse.SUPPRESS,
        help="nobody looks at preferences before the study closes",
    )


def definition_of(options: dict[str, Any]) -> Definition:
    """Return what the options say of a study."""
    names = Definition.__annotations__
    return {name: value for name, value in options.items() if name in names}  # type: ignore[return-value]
