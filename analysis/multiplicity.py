"""Several tests at once: p-values adjusted so that a claim holds for all of them together."""

from collections.abc import Sequence

import numpy as np

from analysis.crossed import Array


def bonferroni(p_values: Sequence[float]) -> Array:
    """Return Bonferroni's adjusted p-values, min(1, m·p): the family-wise error is kept whatever the dependence."""
    adjusted: Array = np.minimum(1.0, len(p_values) * np.asarray(p_values, dtype=float))
    return adjusted


def holm(p_values: Sequence[float]) -> Array:
    """Return Holm's adjusted p-values: never larger than Bonferroni's, and as safe.

    The i-th smallest of m becomes the largest of (m - j + 1)·p_(j) over j up to i (Holm, 1979, Scandinavian Journal of
    Statistics 6: 65-70).
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order])
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, raised)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> Array:
    """Return p-values adjusted for the false discovery rate.

    The i-th smallest of m becomes the smallest of m/j·p_(j) over j from i on (Benjamini and Hochberg, 1995, Journal of
    the Royal Statistical Society B 57: 289-300). Independent or positively dependent tests are assumed.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")[::-1]
    ranks = len(values) - np.arange(len(values))
    lowered = np.minimum.accumulate(len(values) / ranks * values[order])
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, lowered)
    return adjusted
