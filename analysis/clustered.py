"""The honest interval and test: answers of one rater, and answers on one pair, are not independent.

`clustered_share` is the report's headline. `two_way_ols` is the same sandwich for regressions, as used in the audit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from analysis.absent import Absent
from analysis.crossed import Array, Components, estimate, sums_of_answers
from analysis.sides import Codes

ASSUMES = (
    "Raters and pairs are both taken as samples: the result is about raters and pairs like these, not only these.",
    "Answers of one rater may agree, and so may answers on one pair; apart from that they are independent.",
    "Whether a rater answered a pair does not depend on what they would have answered.",
    "“Same” answers are left out, and every other answer has the same weight.",
)
PAIRS_ASSUME = (*ASSUMES[:3], "“Same” answers are left out, and every pair has the same weight, however many answered.")
BOOTSTRAP_ASSUMES = (
    "Raters and pairs are drawn anew, independently of each other, and an answer is kept as often as both of its are.",
    "This is known to err on the side of too wide an interval, the more so the fewer answers a rater and a pair have.",
)


@dataclass(frozen=True)
class ClusteredShare:
    """A share with what two-way clustering says of it.

    Attributes:
        share: From 0 to 1.
        standard_error: Of the share.
        freedom: Degrees of freedom of the t distribution.
        t: (share - 1/2) / standard_error.
        p_value: Two-sided, against a share of 1/2.
        low: The lower end of the interval; 0 at least.
        high: Its upper end; 1 at most.
        confidence: Of the interval, between 0 and 1.
        design_effect: The variance over that of as many independent answers.
        components: Variance components of single answers, on the scale of shares.
        answers: Answers that chose a side.
        raters: Raters with one.
        pairs: Pairs with one.
        assumes: What the numbers take for granted, in sentences.
    """

    share: float
    standard_error: float
    freedom: float
    t: float
    p_value: float
    low: float
    high: float
    confidence: float
    design_effect: float
    components: tuple[float, float, float]
    answers: int
    raters: int
    pairs: int
    assumes: tuple[str, ...] = ASSUMES


def clustered_share(
    ones: NDArray[np.bool_], rater: Codes, pair: Codes, *, confidence: float = 0.95, by_pair: bool = False
) -> ClusteredShare | Absent:
    """Return the share of ones with a test and an interval that allow for raters and pairs.

    The variance is the two-way clustered sandwich with the small-sample corrections of `analysis.crossed`. The
    interval is share ± t·standard error, t having Satterthwaite's degrees of freedom, and the test is its dual.
    docs/calibration.md shows that they keep what they promise.

    Args:
        ones: (N,) whether each answer is a one, such as whether it chose the first arm.
        rater: (N,) codes from 0.
        pair: (N,) codes from 0; no rater answers a pair twice.
        confidence: Of the interval, between 0 and 1.
        by_pair: Let every pair weigh alike instead of every answer.

    Returns:
        The share, or why there is none.

    Raises:
        ValueError: If the three do not have one length.
    """
    if not len(ones) == len(rater) == len(pair):
        message = f"{len(ones)} answers with {len(rater)} raters and {len(pair)} pairs; each answer needs one of each"
        raise ValueError(message)
    if reason := _reason(ones, rater, pair):
        return Absent(reason)
    weight = 1 / np.bincount(pair)[pair] if by_pair else np.ones(len(ones))
    sums = sums_of_answers(ones.astype(float), rater, pair, weight)
    found = estimate(sums)
    share, variance, freedom = float(found.share), float(found.variance), float(found.freedom)
    if not variance > 0:
        return Absent("the answers leave no variance to judge the share by")
    error = math.sqrt(variance)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    t = (share - 0.5) / error
    return ClusteredShare(
        share=share,
        standard_error=error,
        freedom=freedom,
        t=t,
        p_value=float(2 * stats.t.sf(abs(t), freedom)),
        low=max(0.0, share - half),
        high=min(1.0, share + half),
        confidence=confidence,
        design_effect=variance / (share * (1 - share) / len(ones)),
        components=_plain(found.components),
        answers=len(ones),
        raters=_count(rater),
        pairs=_count(pair),
        assumes=PAIRS_ASSUME if by_pair else ASSUMES,
    )


def _plain(components: Components) -> tuple[float, float, float]:
    return float(components.rater), float(components.pair), float(components.rest)


def _count(codes: Codes) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _reason(ones: NDArray[np.bool_], rater: Codes, pair: Codes) -> str:
    """Return why no interval can be had, or nothing."""
    if not len(ones):
        return "no answer chose a side"
    for codes, name in ((rater, "rater"), (pair, "pair")):
        if _count(codes) < 2:
            return f"all answers that chose a side are of one {name}, which says nothing of how much {name}s differ"
    if ones.all() or not ones.any():
        return "all answers that chose a side chose the same, which says nothing of how much raters and pairs differ"
    return ""


@dataclass(frozen=True)
class BootstrapShare:
    """The two-way bootstrap of a share.

    Attributes:
        standard_error: Standard deviation over the draws.
        low: The lower end of the percentile interval.
        high: Its upper end.
        confidence: Of the interval.
        draws: How often raters and pairs were drawn.
        assumes: What the numbers take for granted, in sentences.
    """

    standard_error: float
    low: float
    high: float
    confidence: float
    draws: int
    assumes: tuple[str, ...] = BOOTSTRAP_ASSUMES


def bootstrap_share(
    ones: NDArray[np.bool_],
    rater: Codes,
    pair: Codes,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    draws: int = 1000,
) -> BootstrapShare | Absent:
    """Bootstrap a share by drawing raters and pairs independently (the pigeonhole bootstrap).

    Each draw takes as many raters and as many pairs as there are, with replacement; an answer's weight is how often
    its rater was drawn times how often its pair was (Owen, 2007, Annals of Applied Statistics 1: 386-411). Draws that
    leave no answer are not counted.

    Args:
        ones: (N,) whether each answer is a one.
        rater: (N,) codes from 0.
        pair: (N,) codes from 0.
        rng: Decides the draws.
        confidence: Of the interval, between 0 and 1.
        draws: How many.
    """
    if reason := _reason(ones, rater, pair):
        return Absent(reason)
    shape = int(rater.max()) + 1, int(pair.max()) + 1
    answered, chosen = (
        sparse.csr_array((weight, (rater, pair)), shape=shape).T.tocsr()
        for weight in (np.ones(len(ones)), ones.astype(float))
    )
    shares = np.empty(draws)
    for start in range(0, draws, chunk := max(1, min(draws, 2_000_000 // max(shape)))):
        size = min(chunk, draws - start)
        of_raters, of_pairs = (draw_counts(rng, count, size) for count in shape)
        with np.errstate(invalid="ignore"):
            shares[start : start + size] = ((chosen @ of_raters.T) * of_pairs.T).sum(0) / (
                (answered @ of_raters.T) * of_pairs.T
            ).sum(0)
    shares = shares[np.isfinite(shares)]
    low, high = np.quantile(shares, [(1 - confidence) / 2, (1 + confidence) / 2])
    return BootstrapShare(float(shares.std(ddof=1)), float(low), float(high), confidence, len(shares))


def draw_counts(rng: np.random.Generator, count: int, draws: int) -> Array:
    """Return (draws, count) how often each of `count` things is drawn, drawing `count` with replacement."""
    places = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(places.ravel(), minlength=draws * count).reshape(draws, count).astype(float)


@dataclass(frozen=True)
class Regression:
    """Ordinary least squares with a two-way clustered covariance.

    Attributes:
        coefficients: (K,).
        covariance: (K, K).
        freedom: Degrees of freedom for t: the smaller number of clusters, less one.
    """

    coefficients: Array
    covariance: Array
    freedom: int

    @property
    def standard_errors(self) -> Array:
        """(K,), NaN where the sandwich gives no positive variance."""
        diagonal = np.diag(self.covariance)
        return np.sqrt(np.where(diagonal > 0, diagonal, np.nan))


def two_way_ols(design: Array, response: Array, groups: Sequence[Codes]) -> Regression:
    """Regress by least squares, with a covariance clustered by each of `groups` and by both.

    covariance = V_first + V_second - V_both, each V = G/(G-1)·(N-1)/(N-K)·(X'X)⁻¹ Σ_g (X_g'e_g)(X_g'e_g)' (X'X)⁻¹
    (Cameron, Gelbach and Miller, 2011; Petersen, 2009, Review of Financial Studies 22: 435-480).

    Args:
        design: (N, K), with a column of ones where an intercept is wanted.
        response: (N,).
        groups: Two arrays of (N,) codes.

    Raises:
        ValueError: If the lengths differ, there are not two groupings, a grouping has one group, or the design's
            columns depend on each other.
    """
    size, width = design.shape
    if len(groups) != 2 or any(len(codes) != size for codes in (response, *groups)):
        message = f"a design of {size} rows needs {size} responses and two groupings of {size} codes each"
        raise ValueError(message)
    if np.linalg.matrix_rank(design) < width:
        message = "the design's columns depend on each other; leave one out"
        raise ValueError(message)
    bread = np.linalg.inv(design.T @ design)
    coefficients = bread @ (design.T @ response)
    scores = design * (response - design @ coefficients)[:, None]
    codes = [np.unique(group, return_inverse=True)[1] for group in groups]
    codes.append(np.unique(codes[0] * (codes[1].max() + 1) + codes[1], return_inverse=True)[1])
    meat = np.zeros((width, width))
    clusters = [int(code.max()) + 1 for code in codes]
    if min(clusters) < 2:
        message = "clustering needs two clusters of each kind; there is only one"
        raise ValueError(message)
    for sign, code, count in zip((1, 1, -1), codes, clusters, strict=True):
        sums = np.stack([np.bincount(code, column, count) for column in scores.T], axis=1)
        meat += sign * count / (count - 1) * sums.T @ sums
    meat *= (size - 1) / (size - width)
    return Regression(coefficients, bread @ meat @ bread, min(clusters[:2]) - 1)
