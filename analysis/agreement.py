"""Do raters agree with each other on a pair? Chance-corrected and raw.

Everything starts from (N, C) counts: how many raters gave each of C answers on each of N pairs.
"""

from dataclasses import dataclass

import numpy as np

from analysis.absent import Absent
from analysis.clustered import draw_counts
from analysis.crossed import Array

ASSUMES = (
    "The three answers (first arm, second arm, same) are names without an order.",
    "Chance agreement is that of answers dealt out at random in the proportions seen.",
    "The interval comes from drawing the pairs anew with replacement.",
)


@dataclass(frozen=True)
class Agreement:
    """Agreement on one comparison.

    Attributes:
        raw: The share of agreeing pairs of raters, averaged over pairs of images with two answers or more.
        alpha: Krippendorff's, nominal; 1 is perfect, 0 is chance.
        low: The lower end of its bootstrap interval; None if it cannot be had.
        high: Its upper end.
        confidence: Of the interval.
        kappa: Fleiss', or why it cannot be had.
        pairs: Pairs with two answers or more.
        assumes: What the numbers take for granted, in sentences.
    """

    raw: float
    alpha: float
    low: float | None
    high: float | None
    confidence: float
    kappa: float | Absent
    pairs: int
    assumes: tuple[str, ...] = ASSUMES


def agreement(
    counts: Array, rng: np.random.Generator, *, confidence: float = 0.95, draws: int = 2000
) -> Agreement | Absent:
    """Return all measures of agreement.

    Args:
        counts: (N, C) answers per pair and kind.
        rng: Decides the bootstrap's draws.
        confidence: Of the interval, between 0 and 1.
        draws: How many.
    """
    counts = counts[counts.sum(axis=1) >= 2].astype(float)
    if not len(counts):
        return Absent("no pair has two answers, so that nobody can agree")
    alpha = krippendorff(counts)
    if isinstance(alpha, Absent):
        return alpha
    drawn = _alphas(counts, rng, draws) if len(counts) > 1 else np.empty(0)
    drawn = drawn[np.isfinite(drawn)]
    ends = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]) if len(drawn) else (None, None)
    return Agreement(
        raw=float(_pairwise(counts).mean()),
        alpha=alpha,
        low=None if ends[0] is None else float(ends[0]),
        high=None if ends[1] is None else float(ends[1]),
        confidence=confidence,
        kappa=fleiss(counts),
        pairs=len(counts),
    )


def krippendorff(counts: Array) -> float | Absent:
    """Return Krippendorff's alpha for nominal answers, 1 - observed / expected disagreement.

    Units of fewer than two answers are left out; a unit of n answers weighs n; missing answers are none (Krippendorff,
    2011, Computing Krippendorff's alpha-reliability).

    Args:
        counts: (N, C) answers per unit and kind.
    """
    counts = counts[counts.sum(axis=1) >= 2].astype(float)
    (alpha,) = _from_sums(*_sums(counts, np.ones((1, len(counts)))))
    if not np.isfinite(alpha):
        return Absent("all answers are the same, so that agreement cannot be told from chance")
    return float(alpha)


def fleiss(counts: Array) -> float | Absent:
    """Return Fleiss' kappa (1971, Psychological Bulletin 76: 378-382), defined for equally many answers per unit.

    Args:
        counts: (N, C) answers per unit and kind.
    """
    totals = counts.sum(axis=1)
    if not len(counts) or totals.min() != totals.max():
        return Absent("Fleiss' kappa is defined only where every pair has equally many answers")
    if totals[0] < 2:
        return Absent("no pair has two answers, so that nobody can agree")
    shares = counts.sum(axis=0) / counts.sum()
    chance = float((shares**2).sum())
    if chance == 1:
        return Absent("all answers are the same, so that agreement cannot be told from chance")
    return (float(_pairwise(counts).mean()) - chance) / (1 - chance)


def _pairwise(counts: Array) -> Array:
    """Return per unit the share of its pairs of answers that agree."""
    total = counts.sum(axis=1)
    shares: Array = (counts * (counts - 1)).sum(axis=1) / (total * (total - 1))
    return shares


def _sums(counts: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return per row of (D, N) weights: all answers, the disagreement observed in them, and (D, C) answers by kind."""
    total = counts.sum(axis=1)
    disagreeing = total * (1 - _pairwise(counts))
    return weights @ total, weights @ disagreeing, weights @ counts


def _from_sums(total: Array, disagreeing: Array, kinds: Array) -> Array:
    expected = (total**2 - (kinds**2).sum(axis=1)) / (total - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha: Array = np.where(expected > 0, 1 - disagreeing / expected, np.nan)
    return alpha


def _alphas(counts: Array, rng: np.random.Generator, draws: int) -> Array:
    return _from_sums(*_sums(counts, draw_counts(rng, len(counts), draws)))
