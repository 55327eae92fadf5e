"""report.json: the report as plain values with fixed names."""

from typing import Any

from analysis.absent import Absent
from analysis.comparison import Comparison, Mixed
from analysis.plain import plain
from analysis.preference import ThresholdRow, percent
from analysis.report import ANSWERS_ASSUME, THRESHOLDS_ASSUME, Report
from analysis.resampling import INTERVALS_ASSUME, TESTS_ASSUME, RowIntervals
from analysis.wording import consistency_line, verdict

FORMAT = 2


def to_dict(report: Report) -> dict[str, Any]:
    """Return the report as what report.json holds: plain values, no NaN, None where a number cannot be had.

    With two arms the top level tells all of it; `thresholds` and `significance` describe exactly two arms, so with
    more they stand once per entry of `comparisons` (always there), and on the top level are empty and say so.
    """
    comparisons = [_comparison(comparison, report.confidence) for comparison in report.comparisons]
    if len(comparisons) == 1:
        thresholds, significance = comparisons[0]["thresholds"], comparisons[0]["significance"]
    else:
        reason = "there is no answer" if not comparisons else "there are more than two arms: see comparisons"
        thresholds, significance = [], {"available": False, "reason": reason, "assumes": []}
    spread = report.per_pair
    return {
        "format": FORMAT,
        "title": report.title,
        "notes": list(report.notes),
        "raters": report.raters,
        "pairs": report.pairs,
        "period": list(report.period) if report.period else None,
        "confidence": report.confidence,
        "seed": report.seed,
        "answers": {
            "total": report.answers,
            "same": report.same,
            "per_arm": report.per_arm,
            "per_pair": {name: getattr(spread, name) if spread else None for name in ("min", "mean", "max")},
            "other_kinds": report.other_kinds,
            "assumes": list(ANSWERS_ASSUME),
        },
        "thresholds": thresholds,
        "significance": significance,
        "ranking": plain(report.ranking),
        "comparisons": comparisons,
        "image_metrics": report.image_metrics,
    }


def _comparison(comparison: Comparison, confidence: float) -> dict[str, Any]:
    absent = isinstance(comparison.intervals, Absent)
    intervals = [None] * len(comparison.thresholds) if absent else comparison.intervals
    return {
        "arms": [comparison.first_arm, comparison.second_arm],
        "pairs": len(comparison.pairs),
        "answers": {
            "total": comparison.answers,
            "same": comparison.same,
            "per_arm": {comparison.first_arm: comparison.first, comparison.second_arm: comparison.second},
        },
        "verdict": verdict(comparison),
        "thresholds": [
            _threshold(comparison, row, interval, confidence)
            for row, interval in zip(comparison.thresholds, intervals, strict=True)  # type: ignore[arg-type]
        ],
        "consistency": {
            "ok": not comparison.consistency.wrong,
            "rows": comparison.consistency.rows,
            "wrong": list(comparison.consistency.wrong),
            "says": consistency_line(comparison.consistency),
        },
        "significance": _significance(comparison),
        "mixed_model": _mixed(comparison.mixed),
        "ties": {"davidson": plain(comparison.davidson), "rao_kupper": plain(comparison.rao_kupper)},
        "agreement": plain(comparison.agreement),
        "differences": plain(comparison.differences),
        "audit": plain(comparison.audit),
        "monitoring": _without(plain(comparison.monitoring), "log_e_values", "low", "high", "after")
        | _last(comparison),
    }


def _last(comparison: Comparison) -> dict[str, Any]:
    found = comparison.monitoring
    if isinstance(found, Absent):
        return {}
    return {"interval": {"low": float(found.low[-1]), "high": float(found.high[-1])}}


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _threshold(
    comparison: Comparison, row: ThresholdRow, interval: RowIntervals | None, confidence: float
) -> dict[str, Any]:
    pairs = {comparison.first_arm: row.first, comparison.second_arm: row.second, "none": row.none}
    ends = (interval.first, interval.second, interval.none) if interval else (None, None, None)
    return {
        "threshold": plain(row.threshold),
        "pairs": pairs,
        "percent": {name: percent(count, row.pairs) for name, count in pairs.items()},
        "intervals": {
            "method": "pair bootstrap, percentile",
            "confidence": confidence,
            "percent": {
                name: None if end is None else [100 * end[0], 100 * end[1]]
                for name, end in zip(pairs, ends, strict=True)
            },
        },
        "assumes": [*THRESHOLDS_ASSUME, *INTERVALS_ASSUME],
    }


def _significance(comparison: Comparison) -> dict[str, Any]:
    """Return the naive test on the top level, by which readers of older reports know it, and the others below it."""
    test = comparison.significance
    head = {
        "test": "two-sided exact binomial test against 1/2",
        "arm": comparison.first_arm,
        "against": comparison.second_arm,
        "chose": {comparison.first_arm: test.first, comparison.second_arm: test.second},
        "confidence": test.confidence,
        "assumes": list(test.assumes),
    }
    below = {
        "verdict": verdict(comparison),
        "clustered": plain(comparison.headline),
        "pair_weighted": plain(comparison.by_pair),
        "bootstrap": plain(comparison.bootstrap),
        "sign_test": plain(comparison.signs),
        "thresholds": {"tests": plain(comparison.tests), "assumes": list(TESTS_ASSUME)},
    }
    if test.result is None:
        return {"available": False, "reason": "no answer chose a side, so there is nothing to test", **head, **below}
    result = test.result
    wilson = {"method": "wilson", "low": result.low, "high": result.high}
    exact = {"method": "clopper-pearson", "low": result.exact_low, "high": result.exact_high}
    return {
        "available": True,
        **head,
        "share": result.share,
        "p_value": result.p_value,
        "z": result.z,
        "interval": wilson,
        "intervals": [wilson, exact],
        **below,
    }


def _mixed(mixed: Mixed | Absent) -> dict[str, Any]:
    if isinstance(mixed, Absent):
        return {"available": False, "reason": mixed.reason}
    return _without(plain(mixed), "raters", "pairs")
