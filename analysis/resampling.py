"""What drawing the pairs anew says of the threshold table: intervals, and tests of all thresholds together.

A pair's place in the table is a pattern: who is preferred at each threshold. Pairs of one pattern are alike, so that a
bootstrap of any number of pairs draws the patterns' counts from one multinomial distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.absent import Absent
from analysis.crossed import Array
from analysis.multiplicity import holm
from analysis.preference import preferred

DRAWS = 10_000
INTERVALS_ASSUME = (
    "Pairs are drawn anew with replacement, each with the answers that it has.",
    "So the intervals say how the table would vary with other pairs, and not with other raters.",
)
TESTS_ASSUME = (
    "Under no preference a pair like these is as likely to prefer either arm.",
    "Pairs are drawn anew with replacement; raters are not.",
)


@dataclass(frozen=True)
class RowIntervals:
    """Intervals for a row's shares of pairs: (low, high) from 0 to 1 for the first arm, the second and neither.

    None stands where every pair, or no pair, is: then the pairs do not tell how the share varies.
    """

    first: tuple[float, float] | None
    second: tuple[float, float] | None
    none: tuple[float, float] | None


@dataclass(frozen=True)
class ThresholdTest:
    """Whether more pairs prefer one arm than the other at a threshold.

    Attributes:
        threshold: In percent.
        difference: (pairs for the first - pairs for the second) / pairs, from -1 to 1.
        p_value: Exact two-sided binomial, of the pairs that prefer an arm against an even split; 1 without any.
        max_t: p-value for all thresholds together, by the bootstrap of the largest studentised difference.
        holm: Holm's adjustment of `p_value` over the thresholds.
    """

    threshold: Fraction
    difference: float
    p_value: float
    max_t: float
    holm: float


def patterns(
    first: NDArray[np.int64], second: NDArray[np.int64], thresholds: Sequence[Fraction]
) -> tuple[Array, Array]:
    """Return the patterns (K, T), entries 1 (first preferred), -1 (second) and 0, and how many pairs have each (K,)."""
    wins = [preferred(first, second, threshold) for threshold in thresholds]
    rows = np.stack([a.astype(float) - b for a, b in wins], axis=1)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    return kinds, counts.astype(float)


def threshold_intervals(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    thresholds: Sequence[Fraction],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> tuple[RowIntervals, ...] | Absent:
    """Return percentile intervals for each row of the threshold table, from drawing the pairs anew.

    Args:
        first: (N,) per pair, the raters who chose the first arm.
        second: (N,) per pair, the raters who chose the second arm.
        thresholds: T of them, in percent.
        rng: Decides the draws.
        confidence: Of each interval, between 0 and 1.
        draws: How many.
    """
    if len(first) < 2:
        return Absent(f"there is {len(first) or 'no'} pair, which says nothing of how much pairs differ")
    kinds, counts = patterns(first, second, thresholds)
    drawn = rng.multinomial(len(first), counts / len(first), draws) / len(first)
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(mark: int, place: int) -> tuple[float, float] | None:
        has = kinds[:, place] == mark
        if has.all() or not has.any():
            return None
        low, high = np.quantile(drawn[:, has].sum(1), ends)
        return float(low), float(high)

    return tuple(
        RowIntervals(interval(1, place), interval(-1, place), interval(0, place)) for place in range(len(thresholds))
    )


def threshold_tests(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    thresholds: Sequence[Fraction],
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> tuple[ThresholdTest, ...] | Absent:
    """Test at every threshold whether pairs prefer one arm more often, and allow for testing several.

    With d_t the mean over pairs of 1, -1 or 0 and s_t its standard error, the statistic is the largest |d_t / s_t|; its
    distribution under no preference is that of the largest |(d*_t - d_t) / s*_t| over draws of the pairs (Westfall and
    Young, 1993; single step). A row whose pairs are all alike has no standard error: it is left out of the largest, and
    its `max_t` is 1 if its difference is 0, and the least that the draws can show otherwise.

    Args:
        first: (N,) per pair, the raters who chose the first arm.
        second: (N,) per pair, the raters who chose the second arm.
        thresholds: T of them, in percent.
        rng: Decides the draws.
        draws: How many.
    """
    if len(first) < 2:
        return Absent(f"there is {len(first) or 'no'} pair, which says nothing of how much pairs differ")
    size = len(first)
    kinds, counts = patterns(first, second, thresholds)
    mean, error = _mean_and_error(counts[None] / size, kinds, size)
    drawn = rng.multinomial(size, counts / size, draws) / size
    drawn_mean, drawn_error = _mean_and_error(drawn, kinds, size)
    seen = np.abs(_ratio(mean[0], error[0]))
    largest = np.abs(_ratio(drawn_mean - mean, drawn_error)).max(axis=1)
    max_t = (1 + (largest[:, None] >= seen).sum(0)) / (draws + 1)
    max_t = np.where(error[0] > 0, max_t, np.where(mean[0] == 0, 1.0, 1 / (draws + 1)))
    wins = [(int(counts[column == 1].sum()), int(counts[column == -1].sum())) for column in kinds.T]
    exact = [float(stats.binomtest(a, a + b).pvalue) if a + b else 1.0 for a, b in wins]
    return tuple(
        ThresholdTest(threshold, float(mean[0, place]), exact[place], float(max_t[place]), float(adjusted))
        for place, (threshold, adjusted) in enumerate(zip(thresholds, holm(exact), strict=True))
    )


def _mean_and_error(shares: Array, kinds: Array, size: int) -> tuple[Array, Array]:
    """Return (D, T) means and standard errors of the patterns' entries under (D, K) shares of pairs."""
    mean = shares @ kinds
    variance = np.maximum(shares @ kinds**2 - mean**2, 0) / (size - 1)
    # What rounding leaves of a variance of 0 is none.
    return mean, np.sqrt(np.where(variance > 1e-15, variance, 0))


def _ratio(value: Array, error: Array) -> Array:
    return np.divide(value, error, out=np.zeros_like(value), where=error > 0)
