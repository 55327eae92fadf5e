"""Looking while the answers come in: evidence and an interval that hold at every moment, however often one looks.

Each rater gives one score x from 0 to 1: of their answers, those for the first arm and half of the "same" ones, over
all. Raters come one after another, ordered by their last answer; given the earlier ones, the next has the mean m. A
gambler who stakes a share λ of their wealth on x - m multiplies it by 1 + λ(x - m), which is fair if m is the mean; so
the wealth, averaged over many λ of both signs, exceeds 1/(1 - confidence) at any time with probability 1 - confidence
at most (Ville's inequality). Against m = 1/2 that wealth is the e-value; the values of m that it has not ruled out are
the confidence sequence (Waudby-Smith and Ramdas, 2024, Journal of the Royal Statistical Society B 86: 1-27).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.absent import Absent
from analysis.answers import ordinary
from analysis.crossed import Array

ASSUMES = (
    "Raters come one after another as draws from one population, and do not know of each other.",
    "The result is about these pairs; that other pairs would differ is not allowed for.",
    "Every rater counts once, “same” as half an answer for each arm, from their last answer on.",
    "The e-value and the interval hold whenever one looks and stops, unlike a p-value.",
)
STAKES = 12
PLACES = 201
MOST_STEPS = 20_000
# So many numbers are held at a time.
BLOCK = 1_000_000


@dataclass(frozen=True)
class Monitoring:
    """What could have been known when.

    Attributes:
        raters: How many have a score.
        mean: Of the scores.
        e_value: The wealth against a mean of 1/2 after the last rater.
        log_e_values: (T,) its logarithm after each step.
        low: (T,) the confidence sequence's lower end after each step.
        high: (T,) its upper end.
        after: (T,) raters counted at each step.
        confidence: Of the sequence.
        stop_after: Raters after which the e-value first reached 1/(1 - confidence); None if it never did.
        stop_at: When that was, ISO 8601 in UTC; None if never or if times are not known.
        assumes: What the numbers take for granted, in sentences.
    """

    raters: int
    mean: float
    e_value: float
    log_e_values: Array
    low: Array
    high: Array
    after: Array
    confidence: float
    stop_after: int | None
    stop_at: str | None
    assumes: tuple[str, ...] = ASSUMES


def monitor(frame: pd.DataFrame, *, confidence: float = 0.95) -> Monitoring | Absent:
    """Return the e-value and the confidence sequence over the raters of one comparison.

    Raters are ordered by the time of their last answer; without times, by their names, and then there is no date.
     Of more than 20,000 raters each step counts several, by the mean of their scores.

    Args:
        frame: Answers of one comparison.
        confidence: Between 0 and 1.
    """
    answers = ordinary(frame)
    if answers.empty:
        return Absent("there is no answer")
    scores, times = rater_scores(answers)
    if len(scores) < 2:
        return Absent("one rater alone says nothing of how much raters differ")
    steps = min(len(scores), MOST_STEPS)
    ends = np.arange(1, steps + 1) * len(scores) // steps
    starts = np.append(0, ends[:-1])
    means = np.add.reduceat(scores, starts) / (ends - starts)
    log_e = log_wealth(means, 0.5)
    low, high = confidence_sequence(means, confidence)
    crossed = np.flatnonzero(log_e >= -np.log(1 - confidence))
    place = int(crossed[0]) if len(crossed) else None
    stop = None if place is None else int(ends[place])
    when = None if stop is None or times is None else times[stop - 1]
    return Monitoring(
        raters=len(scores),
        mean=float(scores.mean()),
        e_value=float(np.exp(min(float(log_e[-1]), 700.0))),
        log_e_values=log_e,
        low=low,
        high=high,
        after=ends,
        confidence=confidence,
        stop_after=stop,
        stop_at=None if when is None else f"{when:%Y-%m-%dT%H:%M:%SZ}",
    )


def rater_scores(answers: pd.DataFrame) -> tuple[Array, "pd.DatetimeIndex | None"]:
    """Return the raters' scores in the order of their last answers, and these times if all are known."""
    rater, names = pd.factorize(answers["rater"], sort=True)
    choice = answers["choice"].to_numpy(dtype=object)
    left_is_first = answers["left_arm"].to_numpy(dtype=object) < answers["right_arm"].to_numpy(dtype=object)
    worth = np.where(choice == "same", 0.5, (choice == "left") == left_is_first)
    scores = np.bincount(rater, worth, len(names)) / np.bincount(rater, minlength=len(names))
    if "answered_at" not in answers or not answers["answered_at"].notna().all():
        return scores, None
    last = answers["answered_at"].groupby(rater).max().sort_index()
    order = np.argsort(last.to_numpy(), kind="stable")
    return scores[order], pd.DatetimeIndex(last.iloc[order])


def log_wealth(scores: Array, mean: float) -> Array:
    """Return the logarithm of the wealth after each score, against a mean strictly between 0 and 1.

    Half of the starting wealth is staked on higher scores, half on lower ones, each spread evenly over fixed shares of
    the largest stake that cannot be lost.
    """
    total = np.full(len(scores), -np.inf)
    for stake in _stakes(np.array([mean])):
        total = np.logaddexp(total, np.cumsum(np.log1p(stake * (scores - mean))))
    wealth: Array = total - np.log(2 * STAKES)
    return wealth


def _stakes(means: Array) -> Array:
    """Return (2·STAKES, M) stakes for M means."""
    shares = ((np.arange(STAKES) + 0.5) / STAKES)[:, None]
    return np.concatenate([shares / means, -shares / (1 - means)])


def _ruled_out(scores: Array, means: Array, limit: float) -> Array:
    """Return (M, T) whether the wealth against each mean has reached exp(limit) after each score."""
    total = np.zeros((len(means), len(scores)))
    for stakes in _stakes(means):
        grown = np.cumsum(np.log1p(stakes[:, None] * (scores - means[:, None])), axis=1)
        # A wealth beyond e^600 is beyond every limit that a confidence sets.
        total += np.exp(np.minimum(grown, 600))
    reached: Array = np.logical_or.accumulate(total >= 2 * STAKES * np.exp(limit), axis=1)
    return reached


def confidence_sequence(scores: Array, confidence: float) -> tuple[Array, Array]:
    """Return the ends of the means not ruled out so far, after each score; each end is rounded outwards to a grid."""
    grid = np.linspace(0, 1, PLACES)
    limit = -np.log(1 - confidence)
    low, high = np.zeros(len(scores)), np.ones(len(scores))
    alive = np.empty((PLACES, len(scores)), dtype=bool)
    alive[0], alive[-1] = True, True
    for start in range(1, PLACES - 1, block := max(1, BLOCK // len(scores))):
        some = slice(start, min(start + block, PLACES - 1))
        alive[some] = ~_ruled_out(scores, grid[some], limit)
    # At 0 and 1 the scores alone decide: a mean of 0 allows no score above it.
    alive[0] = np.maximum.accumulate(scores) <= 0
    alive[-1] = np.minimum.accumulate(scores) >= 1
    first, last = alive.argmax(axis=0), PLACES - 1 - alive[::-1].argmax(axis=0)
    left = alive.any(axis=0)
    low[left] = grid[np.maximum(first - 1, 0)][left]
    high[left] = grid[np.minimum(last + 1, PLACES - 1)][left]
    # Between two places of the grid nothing is left: the interval is the gap around the mean so far.
    gap = np.cumsum(scores) / np.arange(1, len(scores) + 1)
    low[~left], high[~left] = (np.floor(gap[~left] * (PLACES - 1)) / (PLACES - 1),
                               np.ceil(gap[~left] * (PLACES - 1)) / (PLACES - 1))  # fmt: skip
    return np.maximum.accumulate(low), np.minimum.accumulate(high)
