"""The variance of a share when raters and pairs are both samples: its estimate, and how sure that estimate is.

Answers of one rater are alike, and so are answers on one pair: y = p + a_rater + b_pair + e. Var(share) then has the
covariance of every two answers that share a rater or a pair, and the sandwich estimates it by the products of their
residuals (Cameron, Gelbach and Miller, 2011, Journal of Business & Economic Statistics 29: 238-249):

    cgm = (Σ_r S_r² + Σ_p T_p² - Σ_k w_k²e_k²) / W²,

where w are weights, W their sum, e the residuals, and S and T sums of w·e by rater and by pair. Two things are wrong
with it in studies of a few dozen raters, and both are mended as Bell and McCaffrey (2002, Survey Methodology 28:
169-181) mend the sandwich for one kind of clusters: with a working model.

- Residuals are smaller than errors, because the share was fitted to them. The working model, three variance components
  by moments (Gao and Owen, 2017, Electronic Journal of Statistics 11: 1235-1296), says what cgm is on average and what
  it should be, exactly; cgm is divided by the ratio of the two.
- The estimate rests on few clusters, so that its t statistic has few degrees of freedom. Satterthwaite's rule counts
  them: 2·mean²/variance of the estimate under the working model, with normal cluster sums.

Everything is written in sums, with any leading axes, so that a simulation of thousands of studies is one call.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Margin:
    """Sums over the answers of each rater, or of each pair; the last axis runs over these.

    Attributes:
        answers: (..., G) how many answers.
        ones: (..., G) how many of them are 1.
        weight: (..., G) Σ w.
        weighted_ones: (..., G) Σ w·y.
        squares: (..., G) Σ w².
        crossing: (..., G) Σ w·(weight of the other margin's group that the answer is in).
    """

    answers: Array
    ones: Array
    weight: Array
    weighted_ones: Array
    squares: Array
    crossing: Array


@dataclass(frozen=True)
class Crossed:
    """All that the estimate needs of crossed binary answers: margins, and sums over single answers (...,).

    Attributes:
        raters: By rater.
        pairs: By pair.
        squares_of_ones: Σ w²·y.
        cubes: Σ w³.
    """

    raters: Margin
    pairs: Margin
    squares_of_ones: Array
    cubes: Array


@dataclass(frozen=True)
class Components:
    """Variance components of single answers, on the scale of shares, none negative: (...,) each."""

    rater: Array
    pair: Array
    rest: Array


@dataclass(frozen=True)
class Estimate:
    """A share, its variance and the variance's degrees of freedom, (...,) each; NaN where it cannot be had.

    Attributes:
        share: Σ w·y / Σ w.
        variance: The corrected sandwich; where that is not positive, the working model's.
        freedom: Degrees of freedom of the t statistic, at least 1.
        naive: The variance were all answers independent.
        components: Of the working model.
    """

    share: Array
    variance: Array
    freedom: Array
    naive: Array
    components: Components


def sums_of_answers(ones: Array, rater: NDArray[np.intp], pair: NDArray[np.intp], weight: Array) -> Crossed:
    """Return the sums of a long table of answers, no two by one rater on one pair.

    Args:
        ones: (N,) 0 or 1.
        rater: (N,) codes from 0.
        pair: (N,) codes from 0.
        weight: (N,) above 0.
    """
    groups = [(code, int(code.max(initial=-1)) + 1) for code in (rater, pair)]
    weights = [np.bincount(code, weight, size) for code, size in groups]
    margins = [
        Margin(
            answers=np.bincount(code, minlength=size).astype(float),
            ones=np.bincount(code, ones, size),
            weight=weights[place],
            weighted_ones=np.bincount(code, weight * ones, size),
            squares=np.bincount(code, weight**2, size),
            crossing=np.bincount(code, weight * weights[1 - place][groups[1 - place][0]], size),
        )
        for place, (code, size) in enumerate(groups)
    ]
    return Crossed(margins[0], margins[1], np.asarray((weight**2 * ones).sum()), np.asarray((weight**3).sum()))


def sums_of_grid(ones: Array, answered: Array) -> Crossed:
    """Return the sums of whole studies, every answer of weight 1.

    Args:
        ones: (..., R, P) 0 or 1, rater by pair; 0 where not answered.
        answered: (..., R, P) 1 where there is an answer, else 0.
    """
    by_rater, by_pair = answered.sum(-1), answered.sum(-2)
    raters = Margin(by_rater, ones.sum(-1), by_rater, ones.sum(-1), by_rater, np.matvec(answered, by_pair))
    pairs = Margin(by_pair, ones.sum(-2), by_pair, ones.sum(-2), by_pair, np.vecmat(by_rater, answered))
    return Crossed(raters, pairs, raters.ones.sum(-1), by_rater.sum(-1))


def components(sums: Crossed) -> Components:
    """Estimate the working model's components by moments.

    With n answers, R raters of n_r and P pairs of n_p answers, the sums of squares of y within raters, within pairs
    and in all have the expectations (pair + rest)(n - R), (rater + rest)(n - P) and
    rater·(n - Σn_r²/n) + pair·(n - Σn_p²/n) + rest·(n - 1). Where every rater answered once, nothing tells raters from
    the rest, and their component is 0; so for pairs.
    """
    n = sums.raters.answers.sum(-1)
    ones = sums.raters.ones.sum(-1)
    total = ones - ones**2 / n
    spare, within, spread = [], [], []
    for margin in (sums.raters, sums.pairs):
        size = np.maximum(margin.answers, 1)
        spare.append(n - (margin.answers > 0).sum(-1))
        within.append((margin.ones - margin.ones**2 / size).sum(-1) / np.maximum(spare[-1], 1))
        spread.append(n - (margin.answers**2).sum(-1) / n)
    both = (spare[0] > 0) & (spare[1] > 0)
    scale = n - 1 - spread[0] - spread[1]
    rest = (total - within[1] * spread[0] - within[0] * spread[1]) / np.where(scale == 0, 1, scale)
    single = np.where(spare[0] > 0, within[0], np.where(spare[1] > 0, within[1], total / np.maximum(n - 1, 1)))
    rest = np.maximum(np.where(both & (scale != 0), rest, single), 0)
    alone = [np.maximum(total - rest * (n - 1), 0) / np.where(size > 0, size, 1) for size in spread]
    rater = np.where(both, np.maximum(within[1] - rest, 0), np.where(spare[0] > 0, alone[0], 0))
    pair = np.where(both, np.maximum(within[0] - rest, 0), np.where(spare[1] > 0, alone[1], 0))
    return Components(rater, pair, rest)


def estimate(sums: Crossed) -> Estimate:
    """Return the share with its corrected two-way clustered variance; see the module.

    NaN in `variance` and `freedom` says that they cannot be had: fewer than two raters or pairs, or all answers alike.
    """
    raters, pairs = sums.raters, sums.pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        total, squares = raters.weight.sum(-1), raters.squares.sum(-1)
        share = raters.weighted_ones.sum(-1) / total
        single = sums.squares_of_ones * (1 - 2 * share) + share**2 * squares
        cgm = _squares(raters, share) + _squares(pairs, share) - single
        model = components(sums)
        goal = _model_variance(sums, model)
        mean = _expected(sums, model, goal)
        variance = cgm / mean * goal
        freedom = _freedom(sums, model, goal, mean)
        known = np.isfinite(variance) & np.isfinite(freedom) & (goal > 0) & (single > 0)
        for margin in (raters, pairs):
            known &= (margin.answers > 0).sum(-1) > 1
        variance = np.where(variance > 0, variance, goal)
        naive = share * (1 - share) * squares / total**2
    return Estimate(
        share=share,
        variance=np.where(known, variance, np.nan),
        freedom=np.where(known, np.maximum(freedom, 1), np.nan),
        naive=naive,
        components=model,
    )


def _squares(margin: Margin, share: Array) -> Array:
    sums: Array = margin.weighted_ones - share[..., None] * margin.weight
    squares: Array = np.vecdot(sums, sums)
    return squares


def _model_variance(sums: Crossed, model: Components) -> Array:
    """Return Var(share) under the working model."""
    raters, pairs = sums.raters, sums.pairs
    rater, pair = (raters.weight**2).sum(-1), (pairs.weight**2).sum(-1)
    rest = raters.squares.sum(-1)
    variance: Array = (model.rater * rater + model.pair * pair + model.rest * rest) / raters.weight.sum(-1) ** 2
    return variance


def _expected(sums: Crossed, model: Components, goal: Array) -> Array:
    """Return the expectation of W²·cgm under the working model.

    E[e_k·e_l] = C_kl - C_k - C_l + V with C_kl the answers' covariance, C_k = Cov(y_k, share) and V = Var(share).
    Summed over all k, l that share a rater or a pair, with M_k the weight of all answers that share one with k:
    W²V - 2·Σ w_k·M_k·C_k + V·Σ w_k·M_k.
    """
    raters, pairs = sums.raters, sums.pairs
    total = raters.weight.sum(-1)
    crossing = (raters.weight * raters.crossing).sum(-1)
    rater, pair, rest = (
        *((m.weight**3).sum(-1) + crossing - (m.weight * m.squares).sum(-1) for m in (raters, pairs)),
        (raters.weight * raters.squares).sum(-1) + (pairs.weight * pairs.squares).sum(-1) - sums.cubes,
    )
    shared = (model.rater * rater + model.pair * pair + model.rest * rest) / total
    alike = (raters.weight**2).sum(-1) + (pairs.weight**2).sum(-1) - raters.squares.sum(-1)
    expected: Array = total**2 * goal - 2 * shared + goal * alike
    return expected


def _freedom(sums: Crossed, model: Components, goal: Array, mean: Array) -> Array:
    """Return Satterthwaite's degrees of freedom of W²·cgm, whose expectation is `mean`."""
    total = sums.raters.weight.sum(-1)[..., None]
    variance: Array = np.zeros(total.shape[:-1])
    for margin, own, other in (
        (sums.raters, model.rater, model.pair),
        (sums.pairs, model.pair, model.rater),
    ):
        within = own[..., None] * margin.weight**2 + (other + model.rest)[..., None] * margin.squares
        with_share = (
            own[..., None] * margin.weight**2 + other[..., None] * margin.crossing
            + model.rest[..., None] * margin.squares
        ) / total  # fmt: skip
        spread = within - 2 * margin.weight * with_share + margin.weight**2 * goal[..., None]
        groups = (margin.answers > 0).sum(-1)
        # One degree goes to the share, as in G - 1 for G groups of one size.
        variance = variance + (spread**2).sum(-1) * groups / (groups - 1)
    freedom: Array = mean**2 / variance
    return freedom
