"""Who sees which pair next, on which side, and where the other trials stand. Pure: counts in, choices out.

A pair is given out when it is needed and not before: raters stop at any moment, and what was planned for them would be
missing elsewhere. Balance comes first and chance decides the rest. The pairs served least often come first; among
those, the one and the side are taken that keep both the pair's and the rater's own sides even.

In a study that fills, sides stay within one of half for every rater and, when it is full, for every pair. A trial goes
only to a rater whom its pair suits (`suiting`), and newcomers suit every pair, so that no place stays empty for ever. A
place that comes free may leave its pair leaning by one more than is allowed; whoever fills it brings the pair back.
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


def suiting(left_surplus: int) -> tuple[int | None, int | None]:
    """Return between which surpluses, both included, a pair's sides suit a rater's; None is no bound.

    With any other pair, whichever way it is shown, the pair's sides or the rater's would lean by more than `MOST_LEAN`
    and by more than before. A rater who leans by less suits every pair: so do newcomers.
    """
    lowest = 1 - MOST_LEAN if left_surplus >= MOST_LEAN else None
    highest = MOST_LEAN - 1 if left_surplus <= -MOST_LEAN else None
    return lowest, highest


def choose_pair(loads: Sequence[PairLoad], *, left_surplus: int, rng: random.Random) -> Assignment | None:
    """Choose the pair that a rater sees next, and its sides.

    Args:
        loads: Pairs that the rater has not seen and that want answers.
        left_surplus: The rater's own trials with the first image on the left, less those with it on the right.
        rng: Decides ties. The choice is a function of the arguments and of its state.

    Returns:
        Of the pairs that can be shown so that neither they nor the rater lean too far, a least served one, on the side
        after which both lean least: the smallest largest lean, then the smallest sum of squares. If no pair can, the
        rater's sides come first, for other raters may even out the pair's. None if there is no pair.
    """
    options = [
        (_rank(load, left_surplus, step), rng.random(), load.pair, step > 0) for load in loads for step in (1, -1)
    ]
    if not options:
        return None
    _, _, pair, first_is_left = min(options)
    return Assignment(pair=pair, first_is_left=first_is_left)


def _rank(load: PairLoad, left_surplus: int, step: int) -> tuple[bool, bool, int, int, int]:
    """Return how good a choice is that changes both surpluses by `step`; the smallest is the best."""
    pair, rater = load.left_surplus + step, left_surplus + step
    rater_leans = _leans(left_surplus, rater)
    return (
        rater_leans,
        _leans(load.left_surplus, pair),
        load.served,
        max(abs(pair), abs(rater)),
        pair**2 + rater**2,
    )


def _leans(before: int, after: int) -> bool:
    """Tell whether a surplus is more than `MOST_LEAN`, and more than it was."""
    return abs(after) > max(MOST_LEAN, abs(before))


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
