"""Who sees which pair next, on which side, and where the other trials stand. Pure: counts in, choices out.

A pair is given out when it is needed and not before: raters stop at any moment, and what was planned for them would be
missing elsewhere. Balance comes first and chance decides the rest. The pairs served least often come first; among
those, the one and the side are taken that keep both the pair's and the rater's own sides even.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_SPECIAL = 3
"""Catch trials and repeats come from this ordinary trial on; the first ones are for settling in."""

REPEAT_GAP = 5
"""How many trials at least, if there are so many, lie between a trial and its repeat."""

MOST_LEAN = 2
"""Left less right: sides within one of half, for a pair and for a rater."""


@dataclass(frozen=True)
class PairLoad:
    """How often a pair is served.

    Attributes:
        pair: The pair's id.
        served: Its answers and live leases.
        left_surplus: Of these, those with its first image on the left, less those with it on the right.
    """

    pair: int
    served: int = 0
    left_surplus: int = 0


@dataclass(frozen=True)
class Assignment:
    """A pair for one rater, and whether its first image is on the left."""

    pair: int
    first_is_left: bool


def choose_pair(loads: Sequence[PairLoad], *, left_surplus: int, rng: random.Random) -> Assignment | None:
    """Choose the pair that a rater sees next, and its sides.

    Args:
        loads: Pairs that the rater has not seen and that want answers.
        left_surplus: The rater's own trials with the first image on the left, less those with it on the right.
        rng: Decides ties. The choice is a function of the arguments and of its state.

    Returns:
        Of the least served pairs and both sides, the one after which neither the pair nor the rater leans to a side
        more than need be: the smallest largest lean, then the smallest sum of squares. Where each of them would leave
        a lean of more than `MOST_LEAN`, as after many raters left at once, a pair served once more is taken, if one of
        those does not. None if there is no pair.
    """
    if not loads:
        return None
    least = min(load.served for load in loads)
    best = _evenest([load for load in loads if load.served == least], left_surplus, rng)
    if best.lean[0] > MOST_LEAN and (others := [load for load in loads if load.served == least + 1]):
        other = _evenest(others, left_surplus, rng)
        best = other if other.lean[0] <= MOST_LEAN else best
    return best.assignment


@dataclass(frozen=True)
class _Option:
    """A choice, and how far it leaves the pair and the rater from even."""

    lean: tuple[int, int]
    assignment: Assignment


def _evenest(loads: Sequence[PairLoad], left_surplus: int, rng: random.Random) -> _Option:
    """Return the choice of a pair and a side that leaves the smallest lean; chance decides between equal ones."""
    options = [
        (_lean(load.left_surplus + step, left_surplus + step), rng.random(), load.pair, step > 0)
        for load in loads
        for step in (1, -1)
    ]
    lean, _, pair, first_is_left = min(options)
    return _Option(lean, Assignment(pair=pair, first_is_left=first_is_left))


def _lean(pair_surplus: int, rater_surplus: int) -> tuple[int, int]:
    """Return how far two surpluses are from even: their largest size, and the sum of their squares."""
    return max(abs(pair_surplus), abs(rater_surplus)), pair_surplus**2 + rater_surplus**2


def place_specials(
    *, ordinary: int, practice: int, same: int, noise: int, repeats: int, rng: random.Random
) -> dict[int, str]:
    """Draw where a rater's trials that are not ordinary stand.

    Args:
        ordinary: How many ordinary trials there will be.
        practice: Practice trials; they come first.
        same: Catch trials with the same image twice.
        noise: Catch trials with an image against noise.
        repeats: Repeats of earlier ordinary trials, at most `ordinary`; they come late, so that there is a gap.
        rng: Decides the places.

    Returns:
        Position, from 1, to kind; all other positions are ordinary. There are
        practice + ordinary + same + noise + repeats positions in all, and a trial that could be repeated stands before
        every repeat.
    """
    repeats = min(repeats, ordinary)
    early = min(FIRST_SPECIAL, ordinary)
    late = min(ordinary, max(early, repeats + REPEAT_GAP, ordinary // 2))
    # After how many ordinary trials each special comes.
    drawn = [(rng.randint(early, ordinary), rng.random(), kind) for kind in ["same"] * same + ["noise"] * noise]
    drawn += [(rng.randint(late, ordinary), rng.random(), "repeat") for _ in range(repeats)]
    places = dict.fromkeys(range(1, practice + 1), "practice")
    for before, (after, _, kind) in enumerate(sorted(drawn)):
        places[practice + after + before + 1] = kind
    return places


def choose_repeated(candidates: Sequence[int], *, position: int, rng: random.Random) -> int | None:
    """Choose which trial a repeat at `position` repeats.

    Args:
        candidates: The positions of the rater's ordinary trials that were shown and not repeated yet.
        position: Of the repeat.
        rng: Decides among those that are `REPEAT_GAP` away; with none so far away, the farthest is taken.

    Returns:
        A candidate; None if there is none.
    """
    if not candidates:
        return None
    far = sorted(candidate for candidate in candidates if position - candidate > REPEAT_GAP)
    return rng.choice(far) if far else min(candidates)
