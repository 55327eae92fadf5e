"""A frame of answers turned into one frozen report. No Django here: `analysis.rendering` writes it down."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import pandas as pd

from analysis.answers import ordinary
from analysis.preference import THRESHOLDS, ThresholdRow, pair_counts, percent, threshold_table
from analysis.significance import Significance, parse_confidence, side_choice

ANSWERS_ASSUME = (
    "Every answer counts once, whoever gave it and on whichever pair.",
    "Only pairs with at least one answer are in the tables.",
)
THRESHOLDS_ASSUME = (
    "Every pair counts once, however many raters answered it.",
    "A pair prefers an arm only if more than the threshold's share of the raters who chose a side chose it.",
    "Exactly the threshold is not enough, and “Same” answers are left out of the share.",
    "The percents describe these pairs and these raters; no interval is given for them here.",
)


@dataclass(frozen=True)
class PairCounts:
    """One pair's answers: how many chose the first arm, the second, or neither."""

    pair: str
    class_name: str
    first: int
    second: int
    same: int

    @property
    def answers(self) -> int:
        """All answers on this pair."""
        return self.first + self.second + self.same


@dataclass(frozen=True)
class Comparison:
    """Two arms against each other, the first before the second in the order of their names."""

    first_arm: str
    second_arm: str
    pairs: tuple[PairCounts, ...]
    same: int
    thresholds: tuple[ThresholdRow, ...]
    significance: Significance

    @property
    def first(self) -> int:
        """Answers that chose the first arm."""
        return self.significance.first

    @property
    def second(self) -> int:
        """Answers that chose the second arm."""
        return self.significance.second

    @property
    def answers(self) -> int:
        """All answers to this comparison."""
        return self.first + self.second + self.same


@dataclass(frozen=True)
class PerPair:
    """Answers per pair, over the pairs that have one."""

    min: int
    mean: float
    max: int


@dataclass(frozen=True)
class Report:
    """What a set of answers says; every table and page is a rendering of this value.

    Attributes:
        title: What the answers are of.
        comparisons: One per unordered pair of arms.
        raters: Raters with at least one answer.
        per_pair: None if there is no answer.
        period: The first and the last answer's time in UTC, ISO 8601; None if no time is known.
        notes: What the reader must know of where the answers come from.
    """

    title: str
    comparisons: tuple[Comparison, ...]
    raters: int
    per_pair: PerPair | None
    period: tuple[str, str] | None
    notes: tuple[str, ...] = ()

    @property
    def answers(self) -> int:
        """All answers."""
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
) -> Report:
    """Compute the report of a frame of answers. The order of its rows does not matter.

    Args:
        frame: Answers (see `analysis.answers`); it may be empty.
        thresholds: In percent, from `preference.parse_thresholds`.
        confidence: Of the intervals, between 0 and 1.
        title: What the answers are of.
        arms: The study's arms; two of them are compared even before there is an answer.
        notes: Sentences for the head of the report.

    Raises:
        AnswersError: If the answers contradict themselves (see `preference.pair_counts`).
        ValueError: For a confidence that is not between 0 and 1.
    """
    confidence = parse_confidence(confidence)
    thresholds = tuple(thresholds)
    frame = ordinary(frame)
    counts = pair_counts(frame)
    groups = {(str(key[0]), str(key[1])): group for key, group in counts.groupby(["first_arm", "second_arm"])}
    if not groups and len(set(arms)) == 2:
        first, second = sorted(set(arms))
        groups[first, second] = counts
    total = counts["answers"]
    return Report(
        title=title,
        comparisons=tuple(
            _compare(key, group, thresholds=thresholds, confidence=confidence) for key, group in sorted(groups.items())
        ),
        raters=int(frame["rater"].nunique()),
        per_pair=PerPair(int(total.min()), float(total.mean()), int(total.max())) if len(total) else None,
        period=_period(frame),
        notes=tuple(notes),
    )


def _compare(
    arms: tuple[str, str], counts: pd.DataFrame, *, thresholds: Iterable[Fraction], confidence: float
) -> Comparison:
    columns = ("pair", "class_name", "first", "second", "same")
    first, second = counts["first"], counts["second"]
    return Comparison(
        first_arm=arms[0],
        second_arm=arms[1],
        pairs=tuple(PairCounts(*row) for row in zip(*(counts[name].tolist() for name in columns), strict=True)),
        same=int(counts["same"].sum()),
        thresholds=threshold_table(first.to_numpy(), second.to_numpy(), thresholds),
        significance=side_choice(int(first.sum()), int(second.sum()), confidence),
    )


def _period(frame: pd.DataFrame) -> tuple[str, str] | None:
    if "answered_at" not in frame or not frame["answered_at"].notna().any():
        return None
    times = frame["answered_at"].dt.tz_convert("UTC")
    first, last = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (times.min(), times.max()))
    return first, last


def to_dict(report: Report) -> dict[str, Any]:
    """Return the report as what report.json holds: plain values, no NaN, None where a number cannot be had.

    With two arms the top level tells all of it; `thresholds` and `significance` describe exactly two arms, so with
    more they stand once per entry of `comparisons` (always there), and on the top level are empty and say so.
    """
    comparisons = [_comparison_dict(comparison) for comparison in report.comparisons]
    if len(comparisons) == 1:
        thresholds, significance = comparisons[0]["thresholds"], comparisons[0]["significance"]
    else:
        reason = "there is no answer" if not comparisons else "there are more than two arms: see comparisons"
        thresholds, significance = [], {"available": False, "reason": reason, "assumes": []}
    return {
        "title": report.title,
        "notes": list(report.notes),
        "raters": report.raters,
        "pairs": report.pairs,
        "period": list(report.period) if report.period else None,
        "answers": {
            "total": report.answers,
            "same": report.same,
            "per_arm": report.per_arm,
            "per_pair": asdict(report.per_pair) if report.per_pair else {"min": None, "mean": None, "max": None},
            "assumes": list(ANSWERS_ASSUME),
        },
        "thresholds": thresholds,
        "significance": significance,
        "comparisons": comparisons,
    }


def _comparison_dict(comparison: Comparison) -> dict[str, Any]:
    return {
        "arms": [comparison.first_arm, comparison.second_arm],
        "pairs": len(comparison.pairs),
        "answers": {
            "total": comparison.answers,
            "same": comparison.same,
            "per_arm": {comparison.first_arm: comparison.first, comparison.second_arm: comparison.second},
        },
        "thresholds": [_threshold_dict(comparison, row) for row in comparison.thresholds],
        "significance": _significance_dict(comparison),
    }


def _threshold_dict(comparison: Comparison, row: ThresholdRow) -> dict[str, Any]:
    pairs = {comparison.first_arm: row.first, comparison.second_arm: row.second, "none": row.none}
    whole = row.threshold.denominator == 1
    return {
        "threshold": int(row.threshold) if whole else float(row.threshold),
        "pairs": pairs,
        "percent": {name: percent(count, row.pairs) for name, count in pairs.items()},
        "assumes": list(THRESHOLDS_ASSUME),
    }


def _significance_dict(comparison: Comparison) -> dict[str, Any]:
    test = comparison.significance
    head = {
        "test": "two-sided exact binomial test against 1/2",
        "arm": comparison.first_arm,
        "against": comparison.second_arm,
        "chose": {comparison.first_arm: test.first, comparison.second_arm: test.second},
        "confidence": test.confidence,
        "assumes": list(test.assumes),
    }
    if test.result is None:
        return {"available": False, "reason": "no answer chose a side, so there is nothing to test", **head}
    return {
        "available": True,
        **head,
        "share": test.result.share,
        "p_value": test.result.p_value,
        "z": test.result.z,
        "interval": {"method": "wilson", "low": test.result.low, "high": test.result.high},
    }
