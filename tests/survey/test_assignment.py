"""The laws of who sees what on which side."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey.assignment import REPEAT_GAP, PairLoad, choose_pair, choose_repeated, place_specials, suiting

seeds = st.integers(0, 2**32)
surpluses = st.integers(-4, 4)


@st.composite
def pair_loads(draw: st.DrawFn) -> list[PairLoad]:
    """Draw up to 20 pairs with any counts."""
    ids = draw(st.lists(st.integers(1, 1000), max_size=20, unique=True))
    return [PairLoad(pair, draw(st.integers(0, 5)), draw(surpluses)) for pair in ids]


def leans(before: int, after: int) -> bool:
    """Tell whether sides are further than one from half, and further than before."""
    return abs(after) > 2 and abs(after) > abs(before)


@given(pair_loads(), surpluses, seeds)
def test_of_the_pairs_that_keep_sides_even_a_least_served_one_is_chosen(
    loads: list[PairLoad], surplus: int, seed: int
) -> None:
    chosen = choose_pair(loads, left_surplus=surplus, rng=random.Random(seed))
    if chosen is None:
        assert not loads
        return
    even = [
        load
        for load in loads
        if any(not leans(load.left_surplus, load.left_surplus + s) and not leans(surplus, surplus + s) for s in (1, -1))
    ]
    picked = next(load for load in loads if load.pair == chosen.pair)
    step = 1 if chosen.first_is_left else -1
    assert not leans(surplus, surplus + step)
    if even:
        assert picked.served == min(load.served for load in even)
        assert not leans(picked.left_surplus, picked.left_surplus + step)


@given(pair=st.integers(-6, 6), rater=st.integers(-6, 6))
def test_a_pair_suits_a_rater_if_it_can_be_shown_some_way_without_a_lean(pair: int, rater: int) -> None:
    can_be_shown = any(not leans(pair, pair + step) and not leans(rater, rater + step) for step in (1, -1))
    lowest, highest = suiting(rater)
    assert can_be_shown == ((lowest is None or pair >= lowest) and (highest is None or pair <= highest))


def test_every_pair_suits_a_newcomer() -> None:
    assert suiting(0) == suiting(1) == suiting(-1) == (None, None)


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
        if self.wanted is not None:
            lowest, highest = suiting(rater_surplus)
            loads = [one for one in loads if lowest is None or one.left_surplus >= lowest]
            loads = [one for one in loads if highest is None or one.left_surplus <= highest]
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


@given(
    pairs=st.integers(1, 12),
    wanted=st.integers(1, 9),
    k=st.integers(1, 12),
    at_once=st.integers(1, 30),
    dropout=st.floats(0, 0.6),
    seed=seeds,
)
def test_a_full_study_has_what_it_wanted_of_each_pair_and_even_sides_of_pairs_and_raters(
    pairs: int, wanted: int, k: int, at_once: int, dropout: float, seed: int
) -> None:
    """Raters answer in any order among each other; what one holds who left comes free at any later moment."""
    survey = Survey(pairs, wanted, seed)
    answered: list[tuple[int, int, int]] = []
    gone: list[tuple[int, int]] = []
    present: list[tuple[int, int, list[tuple[int, int]], dict[int, int]]] = []
    came = 0
    while len(answered) < pairs * wanted:
        if len(present) < at_once:
            stays = came > 50 or survey.rng.random() >= dropout
            present.append((came, k if stays else survey.rng.randrange(k), [], {}))
            came += 1
        if gone and survey.rng.random() < 0.5:
            survey.count(*take(gone, survey.rng))
        rater, stops, held, seen = present.pop(survey.rng.randrange(len(present)))
        while len(held) < 3 and len(seen) < k and (given := survey.give(set(seen), sum(seen.values()))):
            held.append(given)
            seen[given[0]] = given[1]
        if stops == len(seen) - len(held):
            gone += held
        elif held:
            answered.append((rater, *held.pop(0)))
            present.append((rater, stops, held, seen))
    assert Counter(pair for _, pair, _ in answered) == dict.fromkeys(range(pairs), wanted)
    for place in (0, 1):
        sides: Counter[int] = Counter()
        for one in answered:
            sides[one[place]] += one[2]
        assert max(map(abs, sides.values())) <= 2


def take(places: list[tuple[int, int]], rng: random.Random) -> tuple[int, int, int]:
    """Take one of the places out of the list; return it as what is to be counted out."""
    pair, side = places.pop(rng.randrange(len(places)))
    return pair, -1, side


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
