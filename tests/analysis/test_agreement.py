"""Agreement, against published tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.absent import Absent
from analysis.agreement import Agreement, agreement, fleiss, krippendorff

# Krippendorff's "C" data: four observers, twelve units; 0 is a missing value.
C_DATA = np.array([
    (1, 1, 0, 1), (2, 2, 3, 2), (3, 3, 3, 3), (3, 3, 3, 3), (2, 2, 2, 2), (1, 2, 3, 4), (4, 4, 4, 4), (1, 1, 2, 1),
    (2, 2, 2, 2), (0, 5, 5, 5), (0, 0, 1, 1), (0, 0, 3, 0),
])  # fmt: skip
# Fleiss' kappa's table in Wikipedia: ten subjects, fourteen raters, five categories.
FLEISS = np.array([
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1), (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
])  # fmt: skip


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_krippendorffs_c_data_with_missing_answers() -> None:
    counts = (C_DATA[:, :, None] == np.arange(1, 6)).sum(axis=1)
    assert krippendorff(counts) == pytest.approx(0.7434, abs=5e-5)


def test_wikipedias_table() -> None:
    assert fleiss(FLEISS) == pytest.approx(0.20993, abs=5e-6)


def test_raw_agreement_is_the_share_of_pairs_of_raters_that_agree() -> None:
    """(3, 1): 3 of 6 agree; (2, 0): 1 of 1; the mean is 3/4. The pair of one answer cannot agree."""
    result = agreement(np.array([[3, 1], [2, 0], [1, 0]]), rng())
    assert isinstance(result, Agreement)
    assert (result.raw, result.pairs) == (0.75, 2)


def test_kappa_is_not_claimed_where_counts_differ() -> None:
    result = agreement(np.array([[3, 1, 0], [2, 0, 1]]), rng())
    assert isinstance(result, Agreement)
    assert isinstance(result.kappa, Absent)
    assert "equally many" in result.kappa.reason


@pytest.mark.parametrize("counts", [[[5, 0, 0], [3, 0, 0]], [[1, 0, 0], [0, 1, 0]], np.zeros((0, 3))])
def test_where_agreement_cannot_be_judged_it_says_why(counts: list[list[int]]) -> None:
    assert isinstance(agreement(np.array(counts), rng()), Absent)


def test_perfect_agreement_is_one_and_none_at_all_is_below_zero() -> None:
    assert krippendorff(np.array([[4, 0], [0, 4], [4, 0]])) == pytest.approx(1)
    below = krippendorff(np.array([[2, 2], [2, 2]]))
    assert isinstance(below, float)
    assert below < 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=2, max_size=8), st.permutations([0, 1, 2]))
def test_the_names_of_the_answers_do_not_matter(rows: list[tuple[int, ...]], order: list[int]) -> None:
    counts = np.array(rows)
    one, other = krippendorff(counts), krippendorff(counts[:, order])
    assert (one == other) if isinstance(one, Absent) else other == pytest.approx(one)


def test_the_interval_holds_alpha_and_narrows_with_more_pairs() -> None:
    few, many = (agreement(np.tile(FLEISS, (times, 1)), rng()) for times in (1, 20))
    assert isinstance(few, Agreement)
    assert isinstance(many, Agreement)
    for result in (few, many):
        assert result.low is not None
        assert result.high is not None
        assert result.low < result.alpha < result.high
    assert (many.high or 0) - (many.low or 0) < ((few.high or 0) - (few.low or 0)) / 3
