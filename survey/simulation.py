"""Raters who do not exist, with a preference that is known: to try a study before people come. Pure."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

SPREAD = 0.5
"""Of a rater's times: the standard deviation of their logarithm."""

SLIP = 0.03
"""How often an attentive rater fails a trial that has a right answer."""

LAZY_MS = 250


@dataclass(frozen=True)
class Behaviour:
    """What simulated raters are like.

    Attributes:
        strengths: Arm to strength; a rater who chooses a side chooses the first of two arms with probability
            1 / (1 + exp(other - first)), as in Bradley and Terry's model. Arms not named have 0.
        same: Share of trials, 0 to 1, in which an attentive rater sees no difference.
        side_bias: Share of trials, -1 to 1, in which a side is chosen unseen: the left one if positive, else the right.
        laziness: Share of raters, 0 to 1, who press one button throughout, and fast.
        dropout: Share of raters, 0 to 1, who leave at some trial before the end.
        speed_ms: Median time of an attentive rater's answer, in milliseconds.
    """

    strengths: Mapping[str, float] = field(default_factory=dict)
    same: float = 0.2
    side_bias: float = 0.0
    laziness: float = 0.0
    dropout: float = 0.0
    speed_ms: float = 3000.0


@dataclass(frozen=True)
class Person:
    """One simulated rater.

    Attributes:
        habit: The button that a lazy rater presses; None of an attentive one.
        leaves_after: After how many answers the rater leaves; None: at the end.
    """

    habit: str | None
    leaves_after: int | None


@dataclass(frozen=True)
class Seen:
    """What a simulated rater is shown: the arm on each side, None where there is noise, and the right answer if any."""

    left_arm: str | None
    right_arm: str | None
    right_answer: str | None = None


def draw_person(behaviour: Behaviour, *, trials: int, rng: random.Random) -> Person:
    """Draw a rater for a plan of so many trials."""
    habit = rng.choice(["left", "same", "right"]) if rng.random() < behaviour.laziness else None
    leaves = rng.random() < behaviour.dropout
    return Person(habit=habit, leaves_after=rng.randrange(max(1, trials)) if leaves else None)


def answer(person: Person, seen: Seen, behaviour: Behaviour, *, rng: random.Random) -> tuple[str, int]:
    """Return a rater's choice and how long it took, in milliseconds."""
    if person.habit is not None:
        return person.habit, _draw_time(LAZY_MS, rng)
    return _choose(seen, behaviour, rng), _draw_time(behaviour.speed_ms, rng)


def _choose(seen: Seen, behaviour: Behaviour, rng: random.Random) -> str:
    if rng.random() < abs(behaviour.side_bias):
        return "left" if behaviour.side_bias > 0 else "right"
    if seen.right_answer is not None:
        return rng.choice(["left", "same", "right"]) if rng.random() < SLIP else seen.right_answer
    if rng.random() < behaviour.same:
        return "same"
    lead = behaviour.strengths.get(seen.left_arm or "", 0.0) - behaviour.strengths.get(seen.right_arm or "", 0.0)
    return "left" if rng.random() < 1 / (1 + math.exp(-lead)) else "right"


def _draw_time(median_ms: float, rng: random.Random) -> int:
    return max(1, round(median_ms * math.exp(rng.gauss(0, SPREAD))))
