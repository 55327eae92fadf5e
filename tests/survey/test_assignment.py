"""The laws of who sees what on which side."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey.assignment import PairLoad, PlannedTrial, plan_trials


@st.composite
def pair_loads(draw: st.DrawFn) -> list[PairLoad]:
    """Draw up to 30 pairs with possible counts."""
    ids = draw(st.lists(st.integers(1, 1000), max_size=30, unique=True))
    planned = [draw(st.integers(0, 9)) for _ in ids]
    return [
        PairLoad(pair=pair, planned=count, first_on_left=draw(st.integers(0, count)))
        for pair, count in zip(ids, planned, strict=True)
    ]


limits = st.none() | st.integers(1, 12)
seeds = st.integers(0, 2**32)


def plan(loads: list[PairLoad], *, k: int | None = None, n: int | None = None, seed: int = 1) -> list[PlannedTrial]:
    return plan_trials(loads, pairs_per_rater=k, raters_per_pair=n, rng=random.Random(seed))


def after(loads: list[PairLoad], trials: list[PlannedTrial]) -> list[PairLoad]:
    """Return the counts once a plan has been made."""
    side = {trial.pair: trial.first_is_left for trial in trials}
    return [
        PairLoad(load.pair, load.planned + 1, load.first_on_left + side[load.pair]) if load.pair in side else load
        for load in loads
    ]


@given(pair_loads(), limits, limits, seeds)
def test_no_pair_is_planned_twice_for_a_rater(loads: list[PairLoad], k: int | None, n: int | None, seed: int) -> None:
    pairs = [trial.pair for trial in plan(loads, k=k, n=n, seed=seed)]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) <= {load.pair for load in loads}


@given(pair_loads(), seeds)
def test_all_pairs_are_planned_by_default(loads: list[PairLoad], seed: int) -> None:
    assert {trial.pair for trial in plan(loads, seed=seed)} == {load.pair for load in loads}


@given(pair_loads(), limits, limits, seeds)
def test_a_raters_sides_differ_by_one_at_most(loads: list[PairLoad], k: int | None, n: int | None, seed: int) -> None:
    trials = plan(loads, k=k, n=n, seed=seed)
    lefts = sum(trial.first_is_left for trial in trials)
    assert abs(2 * lefts - len(trials)) <= 1


@given(pair_loads(), st.integers(1, 12), seeds)
def test_the_least_planned_pairs_are_taken_first(loads: list[PairLoad], k: int, seed: int) -> None:
    chosen = {trial.pair for trial in plan(loads, k=k, seed=seed)}
    assert len(chosen) == min(k, len(loads))
    taken = [load.planned for load in loads if load.pair in chosen]
    left = [load.planned for load in loads if load.pair not in chosen]
    assert not left or max(taken) <= min(left)


@given(pair_loads(), limits, st.integers(1, 12), seeds)
def test_a_pair_with_its_raters_is_not_planned_again(loads: list[PairLoad], k: int | None, n: int, seed: int) -> None:
    done = {load.pair for load in loads if load.planned >= n}
    assert not done & {trial.pair for trial in plan(loads, k=k, n=n, seed=seed)}


def test_nothing_is_planned_once_every_pair_has_its_raters() -> None:
    assert plan([PairLoad(pair=1, planned=3), PairLoad(pair=2, planned=4)], n=3) == []


@given(pair_loads(), seeds)
def test_the_same_generator_gives_the_same_plan(loads: list[PairLoad], seed: int) -> None:
    assert plan(loads, seed=seed) == plan(loads, seed=seed)


@given(pair_loads(), seeds)
def test_first_images_go_left_where_they_have_been_left_least(loads: list[PairLoad], seed: int) -> None:
    left = {trial.pair: trial.first_is_left for trial in plan(loads, seed=seed)}
    went_left = [load.left_surplus for load in loads if left[load.pair]]
    went_right = [load.left_surplus for load in loads if not left[load.pair]]
    assert not went_left or not went_right or max(went_left) <= min(went_right)


@given(st.integers(1, 25), st.integers(1, 12), seeds)
def test_sides_of_each_pair_stay_within_one_when_all_raters_see_all_pairs(pairs: int, raters: int, seed: int) -> None:
    loads = [PairLoad(pair) for pair in range(pairs)]
    rng = random.Random(seed)
    for _ in range(raters):
        loads = after(loads, plan_trials(loads, pairs_per_rater=None, raters_per_pair=None, rng=rng))
        assert max(abs(load.left_surplus) for load in loads) <= 1


@given(st.integers(1, 25), st.integers(1, 30), st.integers(1, 25), seeds)
def test_counts_of_pairs_differ_by_one_at_most(pairs: int, raters: int, k: int, seed: int) -> None:
    loads = [PairLoad(pair) for pair in range(pairs)]
    rng = random.Random(seed)
    for _ in range(raters):
        loads = after(loads, plan_trials(loads, pairs_per_rater=k, raters_per_pair=None, rng=rng))
    counts = [load.planned for load in loads]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("position", [0, 1, 2])
def test_each_pair_comes_at_each_place_about_equally_often(position: int) -> None:
    """3,000 plans of 3 pairs: 1,000 expected each, standard deviation 25.8; five of them are allowed."""
    loads = [PairLoad(pair) for pair in range(3)]
    rng = random.Random(5)
    seen = Counter(
        plan_trials(loads, pairs_per_rater=None, raters_per_pair=None, rng=rng)[position].pair for _ in range(3000)
    )
    assert all(abs(seen[pair] - 1000) < 130 for pair in range(3))


def test_the_odd_side_falls_either_way() -> None:
    """1,000 plans of 1 pair: 500 expected on the left, standard deviation 15.8; five of them are allowed."""
    rng = random.Random(5)
    lefts = sum(
        plan_trials([PairLoad(1)], pairs_per_rater=None, raters_per_pair=None, rng=rng)[0].first_is_left
        for _ in range(1000)
    )
    assert abs(lefts - 500) < 80
