"""The laws of who sees what on which side."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey.assignment import REPEAT_GAP, PairLoad, choose_pair, choose_repeated, place_specials

seeds = st.integers(0, 2**32)
surpluses = st.integers(-4, 4)


@st.composite
def pair_loads(draw: st.DrawFn) -> list[PairLoad]:
    """Draw up to 20 pairs with any counts."""
    ids = draw(st.lists(st.integers(1, 1000), max_size=20, unique=True))
    return [PairLoad(pair, draw(st.integers(0, 5)), draw(surpluses)) for pair in ids]


@given(pair_loads(), surpluses, seeds)
def test_a_least_served_pair_is_chosen_unless_only_another_keeps_sides_even(
    loads: list[PairLoad], surplus: int, seed: int
) -> None:
    chosen = choose_pair(loads, left_surplus=surplus, rng=random.Random(seed))
    if chosen is None:
        assert not loads
        return
    least = min(load.served for load in loads)
    even = {
        load.served
        for load in loads
        for step in (1, -1)
        if max(abs(load.left_surplus + step), abs(surplus + step)) <= 2
    }
    expected = least + 1 if least not in even and least + 1 in even else least
    assert next(load.served for load in loads if load.pair == chosen.pair) == expected


def test_a_rater_who_has_only_seen_left_gets_a_pair_that_can_be_shown_right() -> None:
    """Pair 1 leans left too: shown either way, it or the rater would lean by three."""
    loads = [PairLoad(1, 3, -2), PairLoad(2, 4, 0), PairLoad(3, 4, -2)]
    for seed in range(5):
        chosen = choose_pair(loads, left_surplus=2, rng=random.Random(seed))
        assert chosen is not None
        assert (chosen.pair, chosen.first_is_left) == (2, False)


@given(pair_loads(), surpluses, seeds)
def test_the_same_generator_gives_the_same_choice(loads: list[PairLoad], surplus: int, seed: int) -> None:
    chosen = [choose_pair(loads, left_surplus=surplus, rng=random.Random(seed)) for _ in range(2)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("pair", "rater", "first_is_left"),
    [
        (1, 0, False),  # to 0 and -1: left would make it 2 and 1
        (-1, 0, True),
        (0, 1, False),
        (0, -2, True),
        (1, -2, True),  # the rater leans more: 2 and -1 beat 0 and -3
        (-2, 1, True),
    ],
)
def test_the_side_evens_out_whoever_leans_more(pair: int, rater: int, first_is_left: bool) -> None:  # noqa: FBT001
    for seed in range(5):
        chosen = choose_pair([PairLoad(7, 3, pair)], left_surplus=rater, rng=random.Random(seed))
        assert chosen is not None
        assert chosen.first_is_left is first_is_left


def test_of_equally_served_pairs_one_that_suits_the_rater_is_chosen() -> None:
    loads = [PairLoad(1, 4, 2), PairLoad(2, 4, -2), PairLoad(3, 3, 0), PairLoad(4, 3, -1)]
    chosen = choose_pair(loads, left_surplus=-1, rng=random.Random(1))
    assert chosen is not None
    assert (chosen.pair, chosen.first_is_left) == (4, True)


def test_ties_fall_either_way() -> None:
    """1,000 choices of one pair: 500 expected on the left, standard deviation 15.8; five of them are allowed."""
    rng = random.Random(5)
    chosen = [choose_pair([PairLoad(1)], left_surplus=0, rng=rng) for _ in range(1000)]
    assert abs(sum(one is not None and one.first_is_left for one in chosen) - 500) < 80


class Survey:
    """A survey in memory: raters come and go, and each trial is answered or left."""

    def __init__(self, pairs: int, wanted: int | None, seed: int) -> None:
        self.rng = random.Random(seed)
        self.wanted = wanted
        self.served = dict.fromkeys(range(pairs), 0)
        self.surplus = dict.fromkeys(range(pairs), 0)

    def give(self, seen: set[int], rater_surplus: int) -> tuple[int, int] | None:
        """Return a pair and +1 for the first image on the left, or None."""
        loads = [
            PairLoad(pair, served, self.surplus[pair])
            for pair, served in self.served.items()
            if pair not in seen and (self.wanted is None or served < self.wanted)
        ]
        chosen = choose_pair(loads, left_surplus=rater_surplus, rng=self.rng)
        if chosen is None:
            return None
        side = 1 if chosen.first_is_left else -1
        self.count(chosen.pair, 1, side)
        return chosen.pair, side

    def count(self, pair: int, served: int, side: int) -> None:
        """Count a trial in (1) or out (-1)."""
        self.served[pair] += served
        self.surplus[pair] += served * side


@given(pairs=st.integers(2, 25), k=st.integers(1, 25), raters=st.integers(1, 40), dropout=st.floats(0, 0.6), seed=seeds)
def test_pairs_and_raters_sides_stay_even_while_raters_drop_out(
    pairs: int, k: int, raters: int, dropout: float, seed: int
) -> None:
    """Sides within one of half, so a surplus of two at most, for each pair and each rater, whoever stops where."""
    survey = Survey(pairs, None, seed)
    for _ in range(raters):
        stops = survey.rng.random() < dropout
        length = survey.rng.randint(0, k) if stops else k
        seen: dict[int, int] = {}
        while len(seen) < min(k, pairs) and (given := survey.give(set(seen), sum(seen.values()))):
            pair, side = given
            if len(seen) == length:
                survey.count(pair, -1, side)  # the lease runs out
                break
            seen[pair] = side
        assert abs(sum(seen.values())) <= 2
    assert max(map(abs, survey.surplus.values())) <= 2


@given(pairs=st.integers(2, 20), wanted=st.integers(1, 12), k=st.integers(1, 20), seed=seeds)
def test_a_study_that_is_full_has_what_it_wanted_of_each_pair(pairs: int, wanted: int, k: int, seed: int) -> None:
    survey = Survey(pairs, wanted, seed)
    while min(survey.served.values()) < wanted:
        seen: set[int] = set()
        while len(seen) < k and (given := survey.give(seen, 0)):
            seen.add(given[0])
        assert max(survey.served.values()) - min(survey.served.values()) <= 1
    assert set(survey.served.values()) == {wanted}


counts = st.integers(0, 8)


@given(ordinary=st.integers(1, 60), practice=counts, same=counts, noise=counts, repeats=counts, seed=seeds)
def test_specials_have_places_of_their_own(
    ordinary: int, practice: int, same: int, noise: int, repeats: int, seed: int
) -> None:
    places = place_specials(
        ordinary=ordinary, practice=practice, same=same, noise=noise, repeats=repeats, rng=random.Random(seed)
    )
    expected = Counter(practice=practice, same=same, noise=noise, repeat=min(repeats, ordinary))
    assert Counter(places.values()) == +expected
    total = ordinary + expected.total()
    assert all(1 <= position <= total for position in places)
    assert [places.get(position) for position in range(1, practice + 1)] == ["practice"] * practice
    shown, repeated = 0, 0
    for position in range(practice + 1, total + 1):
        if position not in places:
            shown += 1
        elif places[position] == "repeat":
            repeated += 1
            assert repeated <= shown, "there is something to repeat"
    assert shown == ordinary


def test_a_repeat_keeps_its_distance_where_it_can() -> None:
    positions = list(range(1, 12))
    chosen = {choose_repeated(positions, position=12, rng=random.Random(seed)) for seed in range(200)}
    assert chosen == set(range(1, 12 - REPEAT_GAP))
    assert choose_repeated([3, 4], position=5, rng=random.Random(1)) == 3
    assert choose_repeated([], position=5, rng=random.Random(1)) is None
