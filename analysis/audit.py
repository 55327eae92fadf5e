"""Can the answers be trusted? What each rater did, what stands out, and what the result is without it.

Nothing here drops an answer. Raters are flagged by rules that are written down in `RULES`, and the result is shown with
and without them.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from analysis.absent import Absent
from analysis.answers import of_kind, ordinary
from analysis.clustered import ClusteredShare, clustered_share, two_way_ols
from analysis.crossed import Array
from analysis.sides import Codes, Sides

FAST_MS = 500
RARE = 0.001
FAST_SHARE, CATCH_SHARE = 0.2, 0.8
RULES = {
    "fast": f"answers more than {FAST_SHARE:.0%} of the trials in under {FAST_MS} ms",
    "one-sided": f"chooses one side so often that chance would do it to fewer than {RARE:.1%} of such raters",
    "straight-lining": f"gives one answer so often in a row that chance would do it to under {RARE:.1%} of such raters",
    "catch": f"answers fewer than {CATCH_SHARE:.0%} of the catch trials right",
}
ASSUMES = (
    "A flag is a reason to look, and no proof; flagged raters are in every result unless it says otherwise.",
    "Chance means answers that are independent of each other, in the proportions of all raters.",
)
INFLUENTIAL = 10


@dataclass(frozen=True)
class Trend:
    """How something changes from the start of a rater's survey to its end.

    Attributes:
        start: Fitted at the first position.
        end: Fitted at the last position seen.
        slope: Per hundred positions.
        standard_error: Of the slope, two-way clustered; None if it cannot be had.
        p_value: Of no slope; None if it cannot be had.
    """

    start: float
    end: float
    slope: float
    standard_error: float | None
    p_value: float | None


@dataclass(frozen=True)
class Order:
    """What changes in the course of a rater's survey.

    Attributes:
        first_arm: The share that chooses the first arm.
        same: The share of "same" answers.
        seconds: The geometric mean of the response time, in seconds; its slope is on the log scale.
        bins: Per tenth of the positions: (from, to, answers, share of the first arm or None, share of same).
    """

    first_arm: Trend | Absent
    same: Trend | Absent
    seconds: Trend | Absent
    bins: tuple[tuple[int, int, int, float | None, float], ...]


@dataclass(frozen=True)
class Times:
    """Response times in milliseconds.

    Attributes:
        known: Answers with one.
        missing: Answers without.
        quantiles: The 5th, 25th, 50th, 75th and 95th percentile.
        fast: Answers in under `FAST_MS`.
        median_by_choice: For left, right and same; None where there is none.
    """

    known: int
    missing: int
    quantiles: tuple[float, ...]
    fast: int
    median_by_choice: dict[str, float | None]


@dataclass(frozen=True)
class Catches:
    """Catch trials: how many there were, how many were answered right, and how many raters had one."""

    trials: int
    right: int
    raters: int


@dataclass(frozen=True)
class Repeats:
    """Pairs shown again: how often a rater gave the same answer about the arms, and how often chance would.

    Attributes:
        trials: Repeats with a first answer to compare with.
        same_answer: Of these, how many agree with it.
        expected: The share that would agree if the two answers were independent.
        raters: How many raters had one.
    """

    trials: int
    same_answer: int
    expected: float
    raters: int


@dataclass(frozen=True)
class Influence:
    """The share without one rater: name, answers that chose a side, and what the share becomes."""

    rater: str
    answers: int
    share: float
    change: float


@dataclass(frozen=True)
class Flagged:
    """A rater with a reason to look: name, answers, and the reasons."""

    rater: str
    answers: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """Everything that was looked at, for one comparison.

    Attributes:
        side_bias: The share of "left" among the answers that chose a side, clustered.
        left_chosen: Answers that chose the left side, and all that chose a side.
        first_left: Answers whose left image was the first arm's, and all answers.
        order: By position; absent if positions are not known.
        times: Absent if no time is known.
        catches: Absent if there were none.
        repeats: Absent if there were none.
        flagged: Raters with reasons.
        rules: What each reason means.
        with_flagged: The share with all raters.
        without_flagged: The share without the flagged ones.
        influence: The raters whose absence moves the share most, most first.
        assumes: What the numbers take for granted, in sentences.
    """

    side_bias: ClusteredShare | Absent
    left_chosen: tuple[int, int]
    first_left: tuple[int, int]
    order: Order | Absent
    times: Times | Absent
    catches: Catches | Absent
    repeats: Repeats | Absent
    flagged: tuple[Flagged, ...]
    rules: dict[str, str]
    with_flagged: ClusteredShare | Absent
    without_flagged: ClusteredShare | Absent
    influence: tuple[Influence, ...]
    assumes: tuple[str, ...] = ASSUMES


def audit(frame: pd.DataFrame, chosen: Sides, confidence: float = 0.95) -> Audit:
    """Audit the answers to one comparison.

    Args:
        frame: All its answers, of every kind; practice and catch trials may show other arms.
        chosen: Its ordinary answers that chose a side (`sides.sides`).
        confidence: Of the intervals, between 0 and 1.
    """
    answers = ordinary(frame)
    flags = flagged_raters(frame)
    out = {flag.rater for flag in flags}
    kept = ~np.isin(np.arange(len(chosen.raters)), [place for place, name in enumerate(chosen.raters) if name in out])
    rest = chosen.only(kept[chosen.rater])
    left_first = (answers["left_arm"].to_numpy(dtype=object) < answers["right_arm"].to_numpy(dtype=object)).sum()
    return Audit(
        side_bias=clustered_share(chosen.left, chosen.rater, chosen.pair, confidence=confidence),
        left_chosen=(int(chosen.left.sum()), len(chosen)),
        first_left=(int(left_first), len(answers)),
        order=order_effects(answers, chosen),
        times=response_times(answers),
        catches=catch_trials(frame),
        repeats=repeat_trials(frame),
        flagged=flags,
        rules=RULES,
        with_flagged=clustered_share(chosen.first, chosen.rater, chosen.pair, confidence=confidence),
        without_flagged=clustered_share(rest.first, rest.rater, rest.pair, confidence=confidence),
        influence=influence(chosen),
    )


def order_effects(answers: pd.DataFrame, chosen: Sides) -> Order | Absent:
    """Regress on the position in the rater's order, two-way clustered."""
    if "position" not in answers or answers["position"].notna().sum() < 3:
        return Absent("the answers do not say in which order they were given")
    position = answers["position"].to_numpy(dtype=float, na_value=np.nan)
    rater, pair = (pd.factorize(answers[name])[0] for name in ("rater", "pair"))
    same = (answers["choice"] == "same").to_numpy(dtype=float)
    first = np.full(len(answers), np.nan)
    first[chosen.rows] = chosen.first
    trends: list[Trend | Absent] = [_trend(position, first, rater, pair), _trend(position, same, rater, pair)]
    if "response_ms" in answers:
        millis = answers["response_ms"].to_numpy(dtype=float, na_value=np.nan)
        seconds = _trend(position, np.log(np.where(millis > 0, millis, np.nan) / 1000), rater, pair)
        if isinstance(seconds, Trend):
            seconds = replace(seconds, start=float(np.exp(seconds.start)), end=float(np.exp(seconds.end)))
        trends.append(seconds)
    else:
        trends.append(Absent("no response time is known"))
    return Order(trends[0], trends[1], trends[2], bins=_bins(position, first, same))


def _trend(position: Array, response: Array, rater: Codes, pair: Codes) -> Trend | Absent:
    known = np.isfinite(position) & np.isfinite(response)
    x, y = position[known], response[known]
    if len(x) < 3 or x.min() == x.max():
        return Absent("there are too few answers at different positions")
    groups = [np.unique(codes[known], return_inverse=True)[1] for codes in (rater, pair)]
    # Scaled and centred: sums of squared positions would lose digits.
    centre, scale = x.mean(), 100.0
    design = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    error = p_value = None
    if min(int(codes.max()) for codes in groups) > 0:
        fit = two_way_ols(design, y, groups)
        level, slope = fit.coefficients
        spread = fit.standard_errors[1]
        if np.isfinite(spread) and spread > 0:
            error, p_value = float(spread), float(2 * stats.t.sf(abs(slope / spread), fit.freedom))
    else:
        level, slope = np.linalg.lstsq(design, y, rcond=None)[0]
    ends = [float(level + slope * (place - centre) / scale) for place in (x.min(), x.max())]
    return Trend(ends[0], ends[1], float(slope), error, p_value)


def _bins(position: Array, first: Array, same: Array) -> tuple[tuple[int, int, int, float | None, float], ...]:
    known = np.isfinite(position)
    place = position[known].astype(int)
    edges = np.unique(np.linspace(place.min(), place.max() + 1, 11).astype(int))
    rows = []
    for low, high in pairwise(edges):
        inside = (place >= low) & (place < high)
        if inside.any():
            chose = first[known][inside]
            chose = chose[np.isfinite(chose)]
            share = float(chose.mean()) if len(chose) else None
            rows.append((int(low), int(high) - 1, int(inside.sum()), share, float(same[known][inside].mean())))
    return tuple(rows)


def response_times(answers: pd.DataFrame) -> Times | Absent:
    """Summarise the response times."""
    known = answers["response_ms"].notna() if "response_ms" in answers else pd.Series(data=False, index=answers.index)
    if not known.any():
        return Absent("no response time is known")
    millis = answers.loc[known, "response_ms"].to_numpy(dtype=float)
    choice = answers.loc[known, "choice"].to_numpy(dtype=object)
    medians = {name: millis[choice == name] for name in ("left", "right", "same")}
    return Times(
        known=len(millis),
        missing=int((~known).sum()),
        quantiles=tuple(float(q) for q in np.quantile(millis, [0.05, 0.25, 0.5, 0.75, 0.95])),
        fast=int((millis < FAST_MS).sum()),
        median_by_choice={name: float(np.median(some)) if len(some) else None for name, some in medians.items()},
    )


def catch_trials(frame: pd.DataFrame) -> Catches | Absent:
    """Count catch trials whose right choice is known."""
    caught = of_kind(frame, "catch")
    if "expected" in caught:
        caught = caught[caught["expected"].notna().to_numpy(dtype=bool)]
    if caught.empty or "expected" not in caught:
        return Absent("there were no catch trials")
    right = int((caught["choice"] == caught["expected"]).sum())
    return Catches(len(caught), right, int(caught["rater"].nunique()))


def repeat_trials(frame: pd.DataFrame) -> Repeats | Absent:
    """Compare each repeat with the same rater's first answer about that pair."""
    again = of_kind(frame, "repeat")
    if again.empty:
        return Absent("no pair was shown again")
    first = ordinary(frame)[["rater", "pair", "left_arm", "right_arm", "choice"]]
    both = again.merge(first, on=["rater", "pair"], suffixes=("", "_before"))
    if both.empty:
        return Absent("no repeat has a first answer to compare with")
    winners = [_winner(both, ""), _winner(both, "_before")]
    kinds = pd.unique(np.concatenate(winners))
    expected = sum(float((winners[0] == kind).mean() * (winners[1] == kind).mean()) for kind in kinds)
    return Repeats(len(both), int((winners[0] == winners[1]).sum()), expected, int(both["rater"].nunique()))


def _winner(frame: pd.DataFrame, suffix: str) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    choice = frame[f"choice{suffix}"].to_numpy(dtype=object)
    left, right = (frame[f"{side}_arm{suffix}"].to_numpy(dtype=object) for side in ("left", "right"))
    winner: np.ndarray[tuple[int], np.dtype[np.object_]] = np.where(
        choice == "left", left, np.where(choice == "right", right, "")
    )
    return winner


def influence(chosen: Sides) -> tuple[Influence, ...]:
    """Return the raters without whom the share changes most."""
    if len(chosen.raters) < 2:
        return ()
    answers = np.bincount(chosen.rater, minlength=len(chosen.raters))
    ones = np.bincount(chosen.rater, chosen.first, len(chosen.raters))
    share = ones.sum() / answers.sum()
    without = (ones.sum() - ones) / (answers.sum() - answers)
    order = np.argsort(-np.abs(without - share), kind="stable")[:INFLUENTIAL]
    return tuple(
        Influence(str(chosen.raters[place]), int(answers[place]), float(without[place]), float(without[place] - share))
        for place in order
    )


def flagged_raters(frame: pd.DataFrame) -> tuple[Flagged, ...]:
    """Return the raters whom a rule of `RULES` or the survey itself flags, by name."""
    answers = ordinary(frame)
    rater, names = pd.factorize(answers["rater"], sort=True)
    size = len(names)
    reasons = {
        "fast": _fast(answers, rater, size),
        "one-sided": _one_sided(answers, rater, size),
        "straight-lining": _straight_lining(answers, rater, size),
    }
    found: dict[str, list[str]] = {}
    for reason, marked in reasons.items():
        for name in names[marked]:
            found.setdefault(str(name), []).append(reason)
    for name in _failed_catches(frame):
        found.setdefault(name, []).append("catch")
    if "flags" in frame:
        known = frame[["rater", "flags"]].dropna().drop_duplicates()
        known = known[(known["flags"] != "").to_numpy(dtype=bool)]
        for name, flags in zip(known["rater"], known["flags"], strict=True):
            reason_list = found.setdefault(str(name), [])
            reason_list += [
                flag.strip() for flag in flags.split(";") if flag.strip() and flag.strip() not in reason_list
            ]
    totals = dict(zip(map(str, names), np.bincount(rater, minlength=size).tolist(), strict=True))
    return tuple(Flagged(name, totals.get(name, 0), tuple(why)) for name, why in sorted(found.items()))


def _fast(answers: pd.DataFrame, rater: Codes, size: int) -> Array:
    if "response_ms" not in answers:
        return np.zeros(size, dtype=bool)
    millis = answers["response_ms"].to_numpy(dtype=float, na_value=np.inf)
    total = np.bincount(rater, minlength=size)
    marked: Array = np.bincount(rater, millis < FAST_MS, size) > FAST_SHARE * total
    return marked


def _one_sided(answers: pd.DataFrame, rater: Codes, size: int) -> Array:
    choice = answers["choice"].to_numpy(dtype=object)
    left, right = (np.bincount(rater, choice == side, size) for side in ("left", "right"))
    chance = 2 * stats.binom.cdf(np.minimum(left, right), left + right, 0.5)
    marked: Array = (chance < RARE) & (left + right > 0)
    return marked


def _straight_lining(answers: pd.DataFrame, rater: Codes, size: int) -> Array:
    """Mark raters whose longest run of one answer is too long.

    A run of L in n answers of which chance makes a share q alike has a probability below n·q^L; q is the most common
    answer's share over all raters.
    """
    if not len(answers):
        return np.zeros(size, dtype=bool)
    codes, kinds = pd.factorize(answers["choice"])
    if "position" in answers and answers["position"].notna().all():
        order = np.lexsort((answers["position"].to_numpy(dtype=float), rater))
    else:
        order = np.argsort(rater, kind="stable")
    codes, who = codes[order], rater[order]
    starts = np.flatnonzero(np.append(True, (codes[1:] != codes[:-1]) | (who[1:] != who[:-1])))
    longest = np.zeros(size)
    np.maximum.at(longest, who[starts], np.diff(np.append(starts, len(codes))))
    likely = float(np.bincount(codes, minlength=len(kinds)).max() / len(codes))
    total = np.bincount(rater, minlength=size)
    marked: Array = (total * np.minimum(likely, 0.95) ** longest < RARE) & (longest > 1)
    return marked


def _failed_catches(frame: pd.DataFrame) -> list[str]:
    caught = of_kind(frame, "catch")
    if caught.empty or "expected" not in caught:
        return []
    caught = caught[caught["expected"].notna().to_numpy(dtype=bool)]
    right = (caught["choice"] == caught["expected"]).groupby(caught["rater"]).mean()
    return sorted(map(str, right.index[(right < CATCH_SHARE).to_numpy()]))
