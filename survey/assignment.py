"""Who sees which pairs, in which order and on which side. Pure: ids and counts in, a plan out.

Balance comes first and chance decides the rest: the pairs planned least often are taken first, and a pair's first image
goes to the side where it has been less often, as far as that leaves each rater's own sides even.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PairLoad:
    """How often a pair stands in the plans made so far.

    Attributes:
        pair: The pair's id.
        planned: The number of raters whose plan holds it.
        first_on_left: In how many of these plans its first image is on the left, 0 to `planned`.
    """

    pair: int
    planned: int = 0
    first_on_left: int = 0

    @property
    def left_surplus(self) -> int:
        """Plans with the first image on the left, less those with it on the right."""
        return 2 * self.first_on_left - self.planned


@dataclass(frozen=True)
class PlannedTrial:
    """A pair for one rater, and whether its first image is on the left."""

    pair: int
    first_is_left: bool


def plan_trials(
    loads: Sequence[PairLoad],
    *,
    pairs_per_rater: int | None,
    raters_per_pair: int | None,
    rng: random.Random,
) -> list[PlannedTrial]:
    """Plan one rater's trials, in the order in which they will be shown.

    Args:
        loads: Every pair of the study with its counts so far.
        pairs_per_rater: How many pairs to give; None gives all.
        raters_per_pair: How many plans a pair may stand in; pairs that have reached it are left out. None: no limit.
        rng: Decides ties, sides and order. The plan is a function of the arguments and of its state.

    Returns:
        At most `pairs_per_rater` trials, each of another pair; empty when every pair has its raters. First images
        stand on the left in half of them, give or take one half.
    """
    wanted = [load for load in loads if raters_per_pair is None or load.planned < raters_per_pair]
    chosen = _least_planned(wanted, count=len(wanted) if pairs_per_rater is None else pairs_per_rater, rng=rng)
    trials = _choose_sides(chosen, rng=rng)
    rng.shuffle(trials)
    return trials


def _least_planned(loads: Sequence[PairLoad], *, count: int, rng: random.Random) -> list[PairLoad]:
    """Return the `count` pairs that stand in the fewest plans; ties fall by chance."""
    shuffled = rng.sample(loads, len(loads))
    return sorted(shuffled, key=lambda load: load.planned)[:count]


def _choose_sides(loads: Sequence[PairLoad], *, rng: random.Random) -> list[PlannedTrial]:
    """Put half of the first images on the left: those that have been there least, compared with the right."""
    shuffled = sorted(rng.sample(loads, len(loads)), key=lambda load: load.left_surplus)
    on_left = _count_on_left(shuffled, rng=rng)
    return [PlannedTrial(load.pair, first_is_left=rank < on_left) for rank, load in enumerate(shuffled)]


def _count_on_left(loads: Sequence[PairLoad], *, rng: random.Random) -> int:
    """Return half the number of pairs; an odd one goes to the side with less so far, or falls by chance."""
    half, odd = divmod(len(loads), 2)
    if not odd:
        return half
    surplus = sum(load.left_surplus for load in loads)
    return half + (surplus < 0 if surplus else rng.getrandbits(1))
