"""Intervals and tests by drawing the pairs anew, and p-values for several tests."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.absent import Absent
from analysis.multiplicity import benjamini_hochberg, bonferroni, holm
from analysis.preference import THRESHOLDS, ThresholdRow, check_table, threshold_table
from analysis.resampling import patterns, threshold_intervals, threshold_tests
from analysis.significance import sign_test
from tests.analysis.paper import paper_counts

BENJAMINI_HOCHBERG = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip
COUNTS = np.array(paper_counts())
FIRST, SECOND = COUNTS[:, 0], COUNTS[:, 1]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_benjamini_and_hochbergs_15_p_values() -> None:
    """Benjamini and Hochberg (1995), section 3.2: at 0.05 Bonferroni rejects three, theirs four."""
    assert np.count_nonzero(bonferroni(BENJAMINI_HOCHBERG) <= 0.05) == 3
    assert np.count_nonzero(benjamini_hochberg(BENJAMINI_HOCHBERG) <= 0.05) == 4
    assert benjamini_hochberg(BENJAMINI_HOCHBERG)[3] == pytest.approx(0.0095 * 15 / 4)


def test_holm_steps_down() -> None:
    """0.01·3, then 0.02·2, then 0.03·1, which must not fall below the step before."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_adjusting_never_lowers_a_p_value_and_bonferroni_raises_it_most(values: list[float]) -> None:
    for adjusted in (benjamini_hochberg(values), holm(values)):
        assert (adjusted >= np.array(values) - 1e-12).all()
        assert (adjusted <= bonferroni(values) + 1e-12).all()


def test_patterns_make_the_table() -> None:
    kinds, counts = patterns(FIRST, SECOND, THRESHOLDS)
    assert counts.sum() == 200
    for place, row in enumerate(threshold_table(FIRST, SECOND, THRESHOLDS)):
        assert [counts[kinds[:, place] == mark].sum() for mark in (1, -1, 0)] == [row.first, row.second, row.none]


def test_intervals_are_near_the_binomials() -> None:
    """A share of pairs that are drawn anew is binomial: at 60 %, 102 of 200, sd 0.0353."""
    intervals = threshold_intervals(FIRST, SECOND, THRESHOLDS, rng())
    assert not isinstance(intervals, Absent)
    assert intervals[1].first == pytest.approx(stats.binom.ppf([0.025, 0.975], 200, 0.51) / 200, abs=0.006)


def test_a_share_of_all_pairs_or_none_has_no_interval() -> None:
    intervals = threshold_intervals(np.array([3, 4, 5]), np.zeros(3, dtype=int), [Fraction(50)], rng())
    assert not isinstance(intervals, Absent)
    assert (intervals[0].first, intervals[0].second, intervals[0].none) == (None, None, None)


@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_pairs_have_neither_interval_nor_test(size: int) -> None:
    first, second = np.full(size, 3), np.full(size, 1)
    assert isinstance(threshold_intervals(first, second, THRESHOLDS, rng()), Absent)
    assert isinstance(threshold_tests(first, second, THRESHOLDS, rng()), Absent)


def test_the_papers_preference_is_clear_at_every_threshold_together() -> None:
    tests = threshold_tests(FIRST, SECOND, THRESHOLDS, rng())
    assert not isinstance(tests, Absent)
    assert [test.difference for test in tests] == pytest.approx([0.3, 0.305, 0.215, 0.13])
    assert tests[0].p_value == sign_test(FIRST, SECOND).p_value
    assert all(test.max_t < 0.01 and test.holm < 0.01 for test in tests)


def test_max_t_keeps_the_family_wise_error() -> None:
    """Without a preference any of the four is rejected in 5 % of studies: of 400, 20 ± 4.4."""
    source, rejected = np.random.default_rng(11), 0
    for _ in range(400):
        first = source.binomial(15, np.clip(source.normal(0.5, 0.2, 100), 0, 1))
        tests = threshold_tests(first, 15 - first, THRESHOLDS, source, draws=300)
        assert not isinstance(tests, Absent)
        rejected += min(test.max_t for test in tests) <= 0.05
    assert 7 <= rejected <= 36


def test_thresholds_at_which_no_pair_prefers_anyone_cannot_be_rejected() -> None:
    tests = threshold_tests(np.array([1, 2, 3]), np.array([1, 2, 3]), THRESHOLDS, rng(), draws=50)
    assert not isinstance(tests, Absent)
    assert all((test.p_value, test.max_t, test.holm) == (1, 1, 1) for test in tests)


def test_the_sign_test_counts_pairs() -> None:
    """Three pairs for the first, none for the second: 2/2³."""
    result = sign_test(np.array([5, 2, 9, 1, 0]), np.array([0, 1, 8, 1, 0]))
    assert (result.first, result.second, result.even, result.p_value) == (3, 0, 2, 0.25)
    assert sign_test(np.array([1]), np.array([1])).p_value is None


def test_a_consistency_line_passes_what_is_computed_and_fails_the_papers_misprint() -> None:
    assert check_table(threshold_table(FIRST, SECOND, THRESHOLDS), "robust", "vanilla").wrong == ()
    misprint = [ThresholdRow(Fraction(60), 102, 57, 57)]
    assert check_table(misprint, "robust", "vanilla").rows == 1
