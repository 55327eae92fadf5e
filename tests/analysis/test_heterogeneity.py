"""Where the arms differ: shrinkage by hand, and which pairs stand as examples."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from analysis.absent import Absent
from analysis.clustered import ClusteredShare, clustered_share
from analysis.heterogeneity import Shrunken, _random_effects, examples, shrunken_classes, shrunken_pairs
from analysis.mixed import MixedFit
from analysis.sides import Sides
from analysis.simulation import Scenario, simulate

Z = float(stats.norm.ppf(0.975))


def some_sides(scenario: Scenario, seed: int) -> Sides:
    ones, answered = next(simulate(scenario, np.random.default_rng(seed), 1))
    rater, pair = np.nonzero(answered[0])
    first = ones[0][rater, pair] > 0
    names = [np.array([f"{kind}{code}" for code in range(size)], dtype=object)
             for kind, size in (("r", scenario.raters), ("p", scenario.pairs))]  # fmt: skip
    return Sides(first, first, rater, pair, names[0], names[1], np.arange(len(first)))


def found(result: tuple[Shrunken, ...] | Absent) -> tuple[Shrunken, ...]:
    assert isinstance(result, tuple)
    return result


def test_the_variance_between_classes_is_dersimonian_and_lairds() -> None:
    # Weights 100 and 100: mean 0.5, Q = 100·0.01 + 100·0.01 = 2, scale 200 - 20000/200 = 100, τ² = (2 - 1)/100.
    assert _random_effects(np.array([0.4, 0.6]), np.array([0.01, 0.01])) == pytest.approx((0.5, 0.01))
    # Weights 100 and 25: mean 0.44, Q = 100·0.0016 + 25·0.0256 = 0.8 < 1: nothing between, the mean is the fixed one.
    assert _random_effects(np.array([0.4, 0.6]), np.array([0.01, 0.04])) == pytest.approx((0.44, 0.0))


def test_a_class_lies_between_its_own_share_and_the_mean_of_the_classes() -> None:
    """Each interval is that of the weighted mean of both, and narrower than the class's own."""
    chosen = some_sides(Scenario(60, 30, 0.4, 1.2, 0.3), 1)
    classes = {f"p{place}": f"class {place % 5}" for place in range(60)}
    rows = found(shrunken_classes(chosen, classes))
    assert {row.name for row in rows} == {f"class {place}" for place in range(5)}
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)
    own, variance = {}, {}
    for row in rows:
        place = int(row.name.split()[1])
        some = chosen.only(chosen.pair % 5 == place)
        alone = clustered_share(some.first, some.rater, some.pair)
        assert isinstance(alone, ClusteredShare)
        own[row.name], variance[row.name] = alone.share, alone.standard_error**2
        assert (row.first, row.second) == (some.first.sum(), (~some.first).sum())
        assert row.high - row.low < alone.high - alone.low
    centre, between = _random_effects(np.array(list(own.values())), np.array(list(variance.values())))
    for row in rows:
        weight = between / (between + variance[row.name])
        assert row.share == pytest.approx(weight * own[row.name] + (1 - weight) * centre)
        assert row.high - row.share == pytest.approx(1.959964 * np.sqrt(weight * variance[row.name]))


def test_classes_that_cannot_be_compared_say_why() -> None:
    chosen = some_sides(Scenario(6, 9, 0.4, 1.0), 2)
    for classes in ({}, {f"p{place}": "dress" for place in range(6)}):
        result = shrunken_classes(chosen, classes)
        assert isinstance(result, Absent)
        assert result.reason == "fewer than two classes are named"
    # A class of one pair has no interval of its own, for one pair says nothing of others.
    result = shrunken_classes(chosen, {f"p{place}": "bag" if place else "dress" for place in range(6)})
    assert isinstance(result, Absent)
    assert result.reason == "fewer than two classes have answers enough to judge how much they vary"


def test_a_pairs_preference_is_an_average_raters_under_the_model() -> None:
    """p0: 2 of 3 for the first; p1: none of 1; p2: 1 of 2. Effect 0.5 ± 0.5, and the pairs' 1.0, -1.5 and 0.2.

    With the effect p0's part moves by -0.2 of it, p1's not at all and p2's by -1, which undoes it.
    """
    chosen = Sides(
        first=np.array([True, True, False, False, True, False]),
        left=np.zeros(6, dtype=bool),
        rater=np.arange(6) % 3,
        pair=np.array([0, 0, 0, 1, 2, 2]),
        raters=np.array(["a", "b", "c"], dtype=object),
        pairs=np.array(["p0", "p1", "p2"], dtype=object),
        rows=np.arange(6),
    )
    effects, errors = (np.zeros(3), np.array([1.0, -1.5, 0.2])), (np.ones(3), np.array([0.3, 0.4, 0.5]))
    follows = (np.zeros((3, 1)), np.array([[-0.2], [0.0], [-1.0]]))
    fit = MixedFit(np.array([0.5]), 0.25 * np.eye(1), np.ones(2), effects, errors, follows, 0.0)
    rows = shrunken_pairs(chosen, fit, 1, {"p0": "bag", "p2": "shoe"})
    assert [(row.name, row.class_name, row.first, row.second) for row in rows] == [
        ("p0", "bag", 2, 1),
        ("p2", "shoe", 1, 1),
        ("p1", "", 0, 1),
    ]
    # √(0.3² + (0.8·0.5)²) = 0.5 and √(0.4² + 0.5²) = √0.41.
    for row, logit, error in zip(rows, (1.5, 0.7, -1.0), (0.5, 0.5, 0.41**0.5), strict=True):
        assert row.share == pytest.approx(expit(logit))
        assert [row.low, row.high] == pytest.approx([expit(logit - 1.959964 * error), expit(logit + 1.959964 * error)])


def test_where_pairs_do_not_differ_each_has_the_effects_own_interval_and_the_answers_order_them() -> None:
    chosen = some_sides(Scenario(12, 30, 0.6), 5)
    errors = (np.zeros(30), np.zeros(12))
    follows = (np.zeros((30, 1)), np.zeros((12, 1)))
    fit = MixedFit(np.array([0.6]), np.array([[0.01]]), np.zeros(2), errors, errors, follows, 0.0)
    rows = shrunken_pairs(chosen, fit, 1, {})
    assert {(row.low, row.high) for row in rows} == {(expit(0.6 - 0.1 * Z), expit(0.6 + 0.1 * Z))}
    margins = [row.first - row.second for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_examples_are_the_ends_of_the_order_and_the_closest_splits() -> None:
    """Margins 5, 0, -3, 1, 0 and 4; smaller sides 0, 4, 1, 3, 0 and 3, of which e has no answer at all."""
    first, second = np.array([5, 4, 1, 4, 0, 7]), np.array([0, 4, 4, 3, 0, 3])
    for_first, for_second, disputed = examples("abcdef", first, second, count=3)
    assert for_first == ("a", "f", "d")
    assert for_second == ("c",)
    assert disputed == ("b", "d", "f")


def test_an_order_by_the_model_goes_before_that_of_the_margins_and_keeps_only_who_leads() -> None:
    first, second = np.array([5, 0, 2, 3]), np.array([1, 4, 2, 1])
    for_first, for_second, disputed = examples("abcd", first, second, order="dacb", count=9)
    assert for_first == ("d", "a")
    assert for_second == ("b",)
    assert disputed == ("c", "d", "a")


def test_swapping_the_arms_swaps_the_examples() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, 20), rng.integers(0, 9, 20)
    names = [f"p{place}" for place in range(20)]
    one, other = examples(names, first, second), examples(names, second, first)
    assert (one[2], set(one[0]), set(one[1])) == (other[2], set(other[1]), set(other[0]))
