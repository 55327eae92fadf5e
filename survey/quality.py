"""Which raters' answers look careless. Pure: a rater's answers in, flags out. A flag marks and never deletes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

TOO_FAST = "too_fast"
STRAIGHT_LINING = "straight_lining"
FAILED_CATCHES = "failed_catches"
CONTRADICTED_REPEATS = "contradicted_repeats"
FLAGS = (TOO_FAST, STRAIGHT_LINING, FAILED_CATCHES, CONTRADICTED_REPEATS)


@dataclass(frozen=True)
class Rules:
    """When a rater is flagged, and which flags leave a rater's answers out of the analysis.

    Attributes:
        fast_ms: A rater whose median time is below this, in milliseconds, is too fast; 0 never.
        straight_run: So many equal choices in a row are straight-lining; 0 never.
        failed_catches: So many failed catch trials are too many; 0 never.
        contradicted_share: A larger share of contradicted repeats, 0 to 1, is too much; 1 never. A repeat contradicts
            its original when both chose a side, and not the same image.
        exclude: Which flags exclude.
    """

    fast_ms: int = 400
    straight_run: int = 15
    failed_catches: int = 2
    contradicted_share: float = 0.5
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One answer of a rater, in the order given.

    Attributes:
        choice: `left`, `same` or `right`.
        response_ms: How long it took; None if unknown.
        right: What the trial asks for; None where there is no right answer.
        contradicts: Of a repeat, whether it contradicts its original; None of other trials.
    """

    choice: str
    response_ms: int | None = None
    right: str | None = None
    contradicts: bool | None = None


def parse_rules(given: Mapping[str, Any]) -> Rules:
    """Return the usual rules with what is given changed.

    Raises:
        ValueError: A rule that does not exist, or a value that it cannot have; the message names both.
    """
    known = {field.name for field in dataclasses.fields(Rules)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"there is no rule '{unknown[0]}': there are {', '.join(sorted(known))}")
    for name in ("fast_ms", "straight_run", "failed_catches"):
        value = given.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a whole number from 0 up, not {value!r}")
    share = given.get("contradicted_share", 0.5)
    if not isinstance(share, int | float) or isinstance(share, bool) or not (math.isfinite(share) and 0 <= share <= 1):
        raise ValueError(f"contradicted_share must be a number from 0 to 1, not {share!r}")
    exclude = given.get("exclude", ())
    if isinstance(exclude, str) or not set(exclude) <= set(FLAGS):
        raise ValueError(f"exclude must list some of {', '.join(FLAGS)}, not {exclude!r}")
    return Rules(**{**given, "exclude": tuple(exclude)})


def flags_of(answers: Sequence[Answer], rules: Rules) -> tuple[str, ...]:
    """Return a rater's flags, in the order of `FLAGS`."""
    times = [answer.response_ms for answer in answers if answer.response_ms is not None]
    failed = sum(answer.right is not None and answer.choice != answer.right for answer in answers)
    repeats = [answer.contradicts for answer in answers if answer.contradicts is not None]
    found = {
        TOO_FAST: bool(times) and median(times) < rules.fast_ms,
        STRAIGHT_LINING: 0 < rules.straight_run <= longest_run([answer.choice for answer in answers]),
        FAILED_CATCHES: 0 < rules.failed_catches <= failed,
        CONTRADICTED_REPEATS: bool(repeats) and sum(repeats) / len(repeats) > rules.contradicted_share,
    }
    return tuple(flag for flag in FLAGS if found[flag])


def longest_run(choices: Sequence[str]) -> int:
    """Return the length of the longest run of equal choices; 0 if there are none."""
    longest = current = 0
    for place, choice in enumerate(choices):
        current = current + 1 if place and choice == choices[place - 1] else 1
        longest = max(longest, current)
    return longest
