"""Worths from paired comparisons, against published fits."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.absent import Absent
from analysis.ranking import Contest, Worths, bradley_terry, davidson, rank_probabilities, rao_kupper

# Stigler (1994): citations of the journal in the row by the journal in the column.
JOURNALS = ("Biometrika", "Communications in Statistics", "JASA", "JRSS-B")
CITATIONS = np.array([[714, 730, 498, 221], [33, 425, 68, 17], [320, 813, 1072, 142], [284, 276, 325, 188]])
# Davidson (1970): pudding i, pudding j, preferred i, preferred j, no preference.
PUDDINGS = [
    (1, 2, 19, 22, 16), (1, 3, 16, 19, 12), (2, 3, 19, 19, 10), (1, 4, 18, 23, 13), (2, 4, 23, 19, 9),
    (3, 4, 19, 20, 15), (1, 5, 13, 19, 18), (2, 5, 16, 20, 12), (3, 5, 16, 15, 17), (4, 5, 17, 14, 16),
    (1, 6, 18, 21, 12), (2, 6, 22, 20, 12), (3, 6, 13, 18, 10), (4, 6, 14, 19, 18), (5, 6, 11, 21, 12),
]  # fmt: skip
PAPER = [Contest(0, 1, 2027, 1626, 1365)]
ARMS = ("robust", "vanilla")
Model = Callable[[Sequence[str], Sequence[Contest]], Worths | Absent]


def fitted(result: Worths | Absent) -> Worths:
    assert isinstance(result, Worths)
    return result


def test_stiglers_journals() -> None:
    contests = [Contest(i, j, CITATIONS[i, j], CITATIONS[j, i]) for i in range(4) for j in range(i + 1, 4)]
    fit = fitted(bradley_terry(JOURNALS, contests))
    assert fit.log_worths[2] == pytest.approx(-0.47957, abs=5e-6)
    assert fit.standard_errors[2] == pytest.approx(0.06059, abs=5e-6)
    assert fit.deviance == pytest.approx(4.2934, abs=5e-5)
    assert fit.freedom == 3


def test_davidsons_puddings() -> None:
    fit = fitted(davidson("123456", [Contest(i - 1, j - 1, *counts) for i, j, *counts in PUDDINGS]))
    assert fit.worths == pytest.approx([0.1388, 0.1730, 0.1617, 0.1654, 0.1587, 0.2024], abs=5e-5)
    assert fit.ties == pytest.approx(0.7468, abs=5e-5)


def test_the_papers_totals() -> None:
    """Davidson's: 2027/1626 and 1365/sqrt(2027·1626). Its log ratio has the variance 1/2027 + 1/1626."""
    fit = fitted(davidson(ARMS, PAPER, reference=1))
    assert np.exp(fit.log_worths[0]) == pytest.approx(1.2466, abs=5e-5)
    assert fit.ties == pytest.approx(0.7519, abs=5e-5)
    assert fit.standard_errors[0] == pytest.approx((1 / 2027 + 1 / 1626) ** 0.5)
    other = fitted(rao_kupper(ARMS, PAPER, reference=1))
    assert np.exp(other.log_worths[0]) == pytest.approx(1.189, abs=5e-4)
    assert other.ties == pytest.approx(1.7545, abs=5e-5)
    assert (fit.freedom, other.freedom) == (0, 0)
    assert [fit.deviance, other.deviance] == pytest.approx([0, 0], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 500)] * 3))
def test_two_arms_have_davidsons_closed_form_and_fit_perfectly(counts: tuple[int, int, int]) -> None:
    w, v, s = counts
    fit = fitted(davidson(ARMS, [Contest(0, 1, w, v, s)], reference=1))
    assert np.exp(fit.log_worths[0]) == pytest.approx(w / v, rel=1e-6)
    assert fit.ties == pytest.approx(s / (w * v) ** 0.5, rel=1e-6)
    assert fitted(rao_kupper(ARMS, [Contest(0, 1, w, v, s)])).deviance == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("model", [davidson, rao_kupper])
def test_standard_errors_are_the_curvatures(model: Model) -> None:
    """The covariance is the inverse of the information, here by differences of the fitted likelihood's profile."""
    contests = [Contest(0, 1, 30, 20, 12), Contest(1, 2, 25, 22, 9), Contest(0, 2, 28, 15, 8)]
    fit = fitted(model("abc", contests))
    assert (np.linalg.eigvalsh(fit.covariance) >= -1e-12).all()
    double = [Contest(c.first, c.second, 4 * c.first_wins, 4 * c.second_wins, 4 * c.ties) for c in contests]
    assert fitted(model("abc", double)).standard_errors == pytest.approx(fit.standard_errors / 2)


@pytest.mark.parametrize("model", [davidson, rao_kupper])
def test_without_ties_both_are_bradley_and_terrys(model: Model) -> None:
    contests = [Contest(0, 1, 30, 20), Contest(1, 2, 25, 22), Contest(0, 2, 28, 15)]
    fit = fitted(model("abc", contests))
    assert fit.log_worths == pytest.approx(fitted(bradley_terry("abc", contests)).log_worths, abs=1e-8)
    assert fit.ties is None


@pytest.mark.parametrize("contests", [[Contest(0, 1, 5, 0, 2)], [Contest(0, 1, 5, 3), Contest(1, 2, 4, 0)]])
def test_an_arm_that_was_never_chosen_has_no_finite_worth(contests: list[Contest]) -> None:
    arms = ("a", "b", "c")[: len(contests) + 1]
    result = davidson(arms, contests)
    assert isinstance(result, Absent)
    assert "no finite ratio" in result.reason


def test_without_a_side_chosen_there_is_no_worth() -> None:
    assert davidson(ARMS, [Contest(0, 1, 0, 0, 9)]) == Absent("no answer chose a side")


def test_the_reference_changes_no_worth() -> None:
    contests = [Contest(0, 1, 30, 20, 12), Contest(1, 2, 25, 22, 9), Contest(0, 2, 28, 15, 8)]
    one, other = (fitted(davidson("abc", contests, reference=place)) for place in (0, 2))
    assert one.worths == pytest.approx(other.worths)


def test_rank_probabilities_add_up_and_favour_the_worthier() -> None:
    contests = [Contest(0, 1, 60, 20, 12), Contest(1, 2, 45, 22, 9), Contest(0, 2, 58, 15, 8)]
    ranks = rank_probabilities(fitted(davidson("abc", contests)), np.random.default_rng(0))
    assert ranks.sum(axis=0) == pytest.approx(1)
    assert ranks.sum(axis=1) == pytest.approx(1)
    assert ranks[0, 0] > 0.95
