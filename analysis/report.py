"""A frame of answers turned into one frozen report. No Django here: `analysis.rendering` writes it down."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from analysis.absent import Absent
from analysis.answers import of_kind, ordinary
from analysis.clustered import ClusteredShare
from analysis.comparison import Comparison, compare
from analysis.crossed import Array
from analysis.multiplicity import holm
from analysis.preference import THRESHOLDS, pair_counts
from analysis.ranking import Contest, Worths, davidson, rank_probabilities
from analysis.significance import parse_confidence

ANSWERS_ASSUME = (
    "Every answer counts once, whoever gave it and on whichever pair.",
    "Only pairs with at least one answer are in the tables.",
)
THRESHOLDS_ASSUME = (
    "Every pair counts once, however many raters answered it.",
    "A pair prefers an arm only if more than the threshold's share of the raters who chose a side chose it.",
    "Exactly the threshold is not enough, and “Same” answers are left out of the share.",
)
RANKING_ASSUMES = ("How probable each rank is comes from the normal approximation to the estimates.",)
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class PerPair:
    """Answers per pair, over the pairs that have one."""

    min: int
    mean: float
    max: int


@dataclass(frozen=True)
class Ranking:
    """Three arms or more in one order.

    Attributes:
        worths: Davidson's model of all comparisons together.
        ranks: (K, K) per arm how probable each rank is, from the best.
        holm: Per comparison the headline's p-value, adjusted by Holm over the comparisons; None where it is absent.
        assumes: What the numbers take for granted, in sentences.
    """

    worths: Worths
    ranks: Array
    holm: tuple[float | None, ...]
    assumes: tuple[str, ...] = RANKING_ASSUMES


@dataclass(frozen=True)
class Report:
    """What a set of answers says; every table and page is a rendering of this value.

    Attributes:
        title: What the answers are of.
        comparisons: One per unordered pair of arms.
        ranking: Of three arms or more.
        raters: Raters with at least one ordinary answer.
        per_pair: None if there is no answer.
        period: The first and the last answer's time in UTC, ISO 8601; None if no time is known.
        other_kinds: How many catch, repeat and practice answers there are, which no preference counts.
        confidence: Of all intervals.
        seed: Of the bootstraps.
        notes: What the reader must know of where the answers come from.
        image_metrics: What compute_metrics stored of the arms' images; None where nothing was measured.
    """

    title: str
    comparisons: tuple[Comparison, ...]
    ranking: Ranking | Absent
    raters: int
    per_pair: PerPair | None
    period: tuple[str, str] | None
    other_kinds: dict[str, int]
    confidence: float
    seed: int
    notes: tuple[str, ...] = ()
    image_metrics: dict[str, Any] | None = None

    @property
    def answers(self) -> int:
        """All ordinary answers."""
        return sum(comparison.answers for comparison in self.comparisons)

    @property
    def same(self) -> int:
        """Answers that chose neither side."""
        return sum(comparison.same for comparison in self.comparisons)

    @property
    def pairs(self) -> int:
        """Pairs with at least one answer."""
        return sum(len(comparison.pairs) for comparison in self.comparisons)

    @property
    def per_arm(self) -> dict[str, int]:
        """Per arm, in name order, the answers that chose it."""
        counts: dict[str, int] = {}
        for comparison in self.comparisons:
            for arm, count in ((comparison.first_arm, comparison.first), (comparison.second_arm, comparison.second)):
                counts[arm] = counts.get(arm, 0) + count
        return dict(sorted(counts.items()))


def build_report(
    frame: pd.DataFrame,
    *,
    thresholds: Iterable[Fraction] = THRESHOLDS,
    confidence: float = 0.95,
    title: str = "Preference report",
    arms: Sequence[str] = (),
    notes: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = lambda _share, _what: None,
) -> Report:
    """Compute the report of a frame of answers. The order of its rows does not matter.

    Args:
        frame: Answers (see `analysis.answers`); it may be empty.
        thresholds: In percent, from `preference.parse_thresholds`.
        confidence: Of the intervals, between 0 and 1.
        title: What the answers are of.
        arms: The study's arms; two of them are compared even before there is an answer.
        notes: Sentences for the head of the report.
        seed: Of the bootstraps; the same answers and seed give the same report.
        progress: Called now and then with the share that is done and what is done next.

    Raises:
        AnswersError: If the answers contradict themselves (see `preference.pair_counts`).
        ValueError: For a confidence that is not between 0 and 1.
    """
    confidence = parse_confidence(confidence)
    thresholds = tuple(thresholds)
    progress(0.0, "sorting the answers")
    frame = _sorted(frame)
    counts = pair_counts(ordinary(frame))
    groups = dict(_by_arms(frame))
    if not groups and len(set(arms)) == 2:
        groups[min(arms), max(arms)] = frame
    comparisons = []
    for place, (key, group) in enumerate(sorted(groups.items(), key=lambda item: item[0])):
        done = iter(range(STEPS))

        def step(what: str, place: int = place, done: Iterator[int] = done) -> None:
            progress((place + next(done) / STEPS) / len(groups), what)

        comparisons.append(
            compare(key, group, thresholds=thresholds, confidence=confidence, seed=seed + place, step=step)
        )
    total = counts["answers"]
    answers = ordinary(frame)
    return Report(
        title=title,
        comparisons=tuple(comparisons),
        ranking=_ranking(comparisons, seed),
        raters=int(answers["rater"].nunique()),
        per_pair=PerPair(int(total.min()), float(total.mean()), int(total.max())) if len(total) else None,
        period=_period(answers),
        other_kinds={kind: count for kind in ("catch", "repeat", "practice") if (count := len(of_kind(frame, kind)))},
        confidence=confidence,
        seed=seed,
        notes=tuple(notes),
    )


STEPS = 7


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the answers by rater, pair and kind, so that sums of floats do not depend on the file's order."""
    columns = [name for name in ("position", "kind", "pair", "rater") if name in frame]
    keys = [pd.factorize(frame[name], sort=True, use_na_sentinel=True)[0] for name in columns]
    return frame.iloc[np.lexsort(keys)].reset_index(drop=True) if len(frame) else frame


def _by_arms(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Yield the answers of each two arms; catch and practice trials go with those of their rater's first comparison."""
    if frame.empty:
        return
    codes, names = pd.factorize(pd.concat([frame["left_arm"], frame["right_arm"]]), sort=True)
    left, right = np.split(codes, 2)
    key = np.minimum(left, right) * len(names) + np.maximum(left, right)
    if "kind" in frame:
        apart = frame["kind"].isin(["catch", "practice"]).to_numpy(dtype=bool)
        own = pd.Series(key[~apart]).groupby(frame["rater"].to_numpy(dtype=object)[~apart]).min()
        key[apart] = frame["rater"][apart].map(own).fillna(-1).to_numpy(dtype=np.intp)
    for value in np.unique(key[key >= 0]):
        first, second = divmod(int(value), len(names))
        yield (str(names[first]), str(names[second])), frame[key == value]


def _ranking(comparisons: Sequence[Comparison], seed: int) -> Ranking | Absent:
    arms = sorted({arm for one in comparisons for arm in (one.first_arm, one.second_arm)})
    if len(arms) < 3:
        return Absent("there are only two arms, and their comparison ranks them")
    contests = [
        Contest(arms.index(one.first_arm), arms.index(one.second_arm), one.first, one.second, one.same)
        for one in comparisons
    ]
    worths = davidson(arms, contests)
    if isinstance(worths, Absent):
        return worths
    known = [place for place, one in enumerate(comparisons) if isinstance(one.headline, ClusteredShare)]
    adjusted = holm([one.headline.p_value for one in comparisons if isinstance(one.headline, ClusteredShare)])
    by_place = dict(zip(known, map(float, adjusted), strict=True))
    return Ranking(
        worths,
        rank_probabilities(worths, np.random.default_rng([seed, 99])),
        tuple(by_place.get(place) for place in range(len(comparisons))),
    )


def _period(frame: pd.DataFrame) -> tuple[str, str] | None:
    if "answered_at" not in frame or not frame["answered_at"].notna().any():
        return None
    times = frame["answered_at"].dt.tz_convert("UTC")
    first, last = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (times.min(), times.max()))
    return first, last
