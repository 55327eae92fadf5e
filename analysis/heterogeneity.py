"""Where the arms differ: preferences by pair and by class, drawn towards the mean as far as they are uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit

from analysis.absent import Absent
from analysis.clustered import ClusteredShare, clustered_share
from analysis.crossed import Array
from analysis.mixed import MixedFit
from analysis.preference import natural_key
from analysis.sides import Sides

ASSUMES = (
    "A pair's preference is that of an average rater, under the mixed logistic model, its spreads taken as known.",
    "A class's preference is its share of answers, drawn towards the mean of the classes by the empirical Bayes rule.",
    "Intervals are for each pair or class by itself; of many, some miss.",
)
EXAMPLES = 6


@dataclass(frozen=True)
class Shrunken:
    """One pair or class.

    Attributes:
        name: The pair's or the class's.
        class_name: The pair's class; the class's own name.
        first: Answers for the first arm.
        second: Answers for the second.
        share: The estimated preference for the first arm, from 0 to 1.
        low: The lower end of its interval.
        high: Its upper end.
    """

    name: str
    class_name: str
    first: int
    second: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Heterogeneity:
    """Where one comparison's arms differ.

    Attributes:
        pairs: By pair, the most in favour of the first arm first; or why not.
        classes: By class, in the same order; or why not.
        for_first: Names of the pairs most in favour of the first arm.
        for_second: The same of the second.
        disputed: Names of the pairs with the most answers on the smaller side.
        assumes: What the numbers take for granted, in sentences.
    """

    pairs: tuple[Shrunken, ...] | Absent
    classes: tuple[Shrunken, ...] | Absent
    for_first: tuple[str, ...]
    for_second: tuple[str, ...]
    disputed: tuple[str, ...]
    assumes: tuple[str, ...] = ASSUMES


def shrunken_pairs(
    chosen: Sides, fit: MixedFit, grouping: int, classes: dict[str, str], *, confidence: float = 0.95
) -> tuple[Shrunken, ...]:
    """Return every pair's preference by the mixed model, the highest first.

    The interval allows for what is unknown of the pair's own part and of the model's effect, which moves it; the spread
    of pairs and raters is taken as known (Kass and Steffey, 1989, Journal of the American Statistical Association 84:
    717-726, first order).

    Args:
        chosen: The answers that the model was fitted to.
        fit: The model, with an intercept alone.
        grouping: Which of its groupings is the pairs.
        classes: Class names by pair.
        confidence: Of each interval.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    logit = float(fit.coefficients[0]) + fit.effects[grouping]
    wide = z * np.hypot(fit.effect_errors[grouping], (1 + fit.follows[grouping][:, 0]) * fit.standard_errors[0])
    first = np.bincount(chosen.pair, chosen.first, len(chosen.pairs)).astype(int)
    total = np.bincount(chosen.pair, minlength=len(chosen.pairs))
    rows = zip(map(str, chosen.pairs), first.tolist(), (total - first).tolist(), expit(logit).tolist(),
               expit(logit - wide).tolist(), expit(logit + wide).tolist(), strict=True)  # fmt: skip
    found = [Shrunken(name, classes.get(name, ""), *rest) for name, *rest in rows]
    # Where the model finds no spread all are alike but for rounding, and the answers themselves decide.
    return tuple(sorted(found, key=lambda row: (-round(row.share, 9), row.second - row.first, natural_key(row.name))))


def shrunken_classes(
    chosen: Sides, classes: dict[str, str], *, confidence: float = 0.95
) -> tuple[Shrunken, ...] | Absent:
    """Return every class's preference, drawn towards the mean of the classes; the highest first.

    Each class's share has its own two-way clustered variance v. Between classes the variance τ² is DerSimonian and
    Laird's (1986, Controlled Clinical Trials 7: 177-188), and a class's estimate is the mean of its own share and of
    the classes' mean, weighted by τ² and v, with variance τ²v/(τ² + v).

    Args:
        chosen: The answers of one comparison.
        classes: Class names by pair.
        confidence: Of each interval.
    """
    names = np.array([classes.get(str(pair), "") for pair in chosen.pairs], dtype=object)
    kinds = sorted({str(name) for name in names} - {""})
    if len(kinds) < 2:
        return Absent("fewer than two classes are named")
    of_pair = np.array([kinds.index(name) if name else -1 for name in names])
    of_answer = of_pair[chosen.pair]
    order = np.argsort(of_answer, kind="stable")
    ends = np.searchsorted(of_answer[order], np.arange(len(kinds) + 1))
    counts, estimates = [], []
    for kind, start, end in zip(kinds, ends[:-1], ends[1:], strict=True):
        some = chosen.only(order[start:end])
        result = clustered_share(some.first, some.rater, some.pair, confidence=confidence)
        if isinstance(result, ClusteredShare):
            estimates.append((kind, result.share, result.standard_error**2))
            counts.append((int(some.first.sum()), int((~some.first).sum())))
    if len(estimates) < 2:
        return Absent("fewer than two classes have answers enough to judge how much they vary")
    share, variance = (np.array([row[place] for row in estimates]) for place in (1, 2))
    centre, between = _random_effects(share, variance)
    weight = between / (between + variance)
    middle = weight * share + (1 - weight) * centre
    half = float(stats.norm.ppf((1 + confidence) / 2)) * np.sqrt(weight * variance)
    found = [
        Shrunken(kind, kind, *count, float(m), float(max(0.0, m - h)), float(min(1.0, m + h)))
        for (kind, *_), count, m, h in zip(estimates, counts, middle, half, strict=True)
    ]
    return tuple(sorted(found, key=lambda row: (-row.share, row.name)))


def _random_effects(share: Array, variance: Array) -> tuple[float, float]:
    """Return the mean of the classes and the variance between them, by DerSimonian and Laird."""
    weight = 1 / variance
    fixed = (weight @ share) / weight.sum()
    q = float(weight @ (share - fixed) ** 2)
    scale = weight.sum() - (weight @ weight) / weight.sum()
    between = max(0.0, (q - (len(share) - 1)) / float(scale))
    weight = 1 / (variance + between)
    return float(weight @ share / weight.sum()), between


def examples(
    names: Sequence[str], first: Array, second: Array, order: Sequence[str] | None = None, count: int = EXAMPLES
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the names of pairs most in favour of either arm, and of the most disputed.

    Args:
        names: N pairs.
        first: (N,) answers for the first arm.
        second: (N,) answers for the second.
        order: All names from the most in favour of the first arm to the least; None goes by the answers' difference.
        count: How many of each at most. Only pairs with more answers for an arm are in its favour.
    """
    margin = dict(zip(names, (first - second).tolist(), strict=True))
    ranked = list(order) if order is not None else sorted(names, key=lambda name: -margin[name])
    for_first = tuple(name for name in ranked if margin[name] > 0)[:count]
    for_second = tuple(name for name in reversed(ranked) if margin[name] < 0)[:count]
    smaller = np.minimum(first, second)
    places = np.lexsort((np.arange(len(names)), np.abs(first - second), -smaller))
    disputed = tuple(names[place] for place in places if smaller[place] > 0)[:count]
    return for_first, for_second, disputed
