"""What the templates show of a report, every number already written out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from django.utils.safestring import SafeString, mark_safe
from scipy import stats

from analysis import charts, plots
from analysis.absent import Absent
from analysis.audit_section import audit_section
from analysis.clustered import ClusteredShare
from analysis.comparison import Comparison, PairCounts
from analysis.heterogeneity import ASSUMES as DIFFERENCES_ASSUME
from analysis.heterogeneity import Shrunken
from analysis.image_metrics import metrics_context
from analysis.preference import parse_thresholds, percent_text, threshold_table
from analysis.ranking import Worths
from analysis.report import ANSWERS_ASSUME, RANKING_ASSUMES, THRESHOLDS_ASSUME, Report
from analysis.resampling import INTERVALS_ASSUME, TESTS_ASSUME
from analysis.wording import (
    NO_ANSWERS,
    consistency_line,
    heading,
    interval_text,
    number,
    p_text,
    share_text,
    verdict,
)

Thumbnails = Mapping[str, tuple[str, str]]
Rows = list[tuple[str, str]]
# A page of more rows is slow to open on a phone; pairs.csv has them all.
PAIRS_OPEN, PAIRS_SHOWN = 200, 2000
FOREST_PAIRS, FOREST_CLASSES = 20, 40
# A standard deviation, or differences, on the logit scale that are 0 as printed.
NOTHING = 5e-4
CURVE = parse_thresholds(range(50, 100, 1))


def context(report: Report, thumbnails: Thumbnails) -> dict[str, Any]:
    """Return what the templates show.

    Args:
        report: The report.
        thumbnails: Per pair's name, the addresses of the first arm's image and of the second's.
    """
    return {
        "title": report.title,
        "notes": report.notes,
        "period": [time.replace("T", " ").replace("Z", " UTC") for time in report.period or ()],
        "totals": _totals(report),
        "comparisons": [_comparison(comparison, thumbnails) for comparison in report.comparisons],
        "several": len(report.comparisons) > 1,
        "ranking": _ranking(report),
        "image_metrics": metrics_context(report.image_metrics),
        "no_answers": NO_ANSWERS,
        "answers_assume": ANSWERS_ASSUME,
        "thresholds_assume": (*THRESHOLDS_ASSUME, *INTERVALS_ASSUME),
        "tests_assume": TESTS_ASSUME,
        "differences_assume": DIFFERENCES_ASSUME,
    }


def _totals(report: Report) -> Rows:
    spread = report.per_pair
    tiles = [
        ("answers", f"{report.answers:,}"),
        *((f"chose {arm}", _with_share(count, report.answers)) for arm, count in report.per_arm.items()),
        ("chose “Same”", _with_share(report.same, report.answers)),
        ("raters", f"{report.raters:,}"),
        ("pairs", f"{report.pairs:,}"),
        *((f"{kind} trials, not counted", f"{count:,}") for kind, count in report.other_kinds.items()),
    ]
    if spread:
        tiles += [
            ("answers per pair", f"{spread.min:,}" if spread.min == spread.max else f"{spread.min:,}–{spread.max:,}"),
            ("mean answers per pair", f"{spread.mean:.2f}"),
        ]
    return tiles


def _with_share(count: int, total: int) -> str:
    return f"{count:,} ({percent_text(count, total)}%)" if total else "0"


def _drawn(text: str) -> SafeString:
    """Mark a plot as safe: it is built from numbers and escaped names only."""
    return mark_safe(text)  # noqa: S308


def _comparison(comparison: Comparison, thumbnails: Thumbnails) -> dict[str, Any]:
    drawn = _plots(comparison, thumbnails)
    return {
        "first_arm": comparison.first_arm,
        "second_arm": comparison.second_arm,
        "first_heading": heading(comparison.first_arm),
        "second_heading": heading(comparison.second_arm),
        "verdict": verdict(comparison),
        "pair_count": f"{len(comparison.pairs):,}",
        "rows": _threshold_rows(comparison),
        "consistency": consistency_line(comparison.consistency),
        "plots": drawn,
        "caterpillars": [
            (f"Effects of {name} on the logit scale, in rising order", plot)
            for name in ("raters", "pairs")
            if (plot := drawn[f"{name}-caterpillar"])
        ],
        "shares": _shares(comparison),
        "absent": comparison.headline.reason if isinstance(comparison.headline, Absent) else "",
        "clustered_assumes": () if isinstance(comparison.headline, Absent) else comparison.headline.assumes,
        "test": _naive(comparison),
        "assumes": comparison.significance.assumes,
        "signs": _signs(comparison),
        "tests": [] if isinstance(comparison.tests, Absent) else [
            (f"{plots.threshold_text(test.threshold)}%", f"{number(100 * test.difference, 1)}",
             *(p_text(p).removeprefix("= ") for p in (test.p_value, test.max_t, test.holm)))
            for test in comparison.tests
        ],
        "mixed": _mixed(comparison),
        "mixed_absent": comparison.mixed.reason if isinstance(comparison.mixed, Absent) else "",
        "mixed_assumes": () if isinstance(comparison.mixed, Absent) else comparison.mixed.assumes,
        "ties": _ties(comparison),
        "agreement": _agreement(comparison),
        "examples": _examples(comparison, thumbnails),
        "differences_absent": _reason(comparison.differences.pairs),
        "audit": audit_section(comparison),
        "monitoring": _monitoring(comparison),
        "pairs": [_pair(pair) for pair in comparison.pairs[:PAIRS_SHOWN]],
        "classes": any(pair.class_name for pair in comparison.pairs),
        "pairs_open": len(comparison.pairs) <= PAIRS_OPEN,
        "pairs_left_out": max(0, len(comparison.pairs) - PAIRS_SHOWN),
    }  # fmt: skip


def _reason(value: object) -> str:
    return value.reason if isinstance(value, Absent) else ""


def _threshold_rows(comparison: Comparison) -> list[dict[str, Any]]:
    absent = isinstance(comparison.intervals, Absent)
    intervals: Sequence[Any] = [None] * len(comparison.thresholds) if absent else comparison.intervals  # type: ignore[assignment]
    rows = []
    for row, interval in zip(comparison.thresholds, intervals, strict=True):
        ends = (interval.first, interval.second, interval.none) if interval else (None, None, None)
        cells = [
            (share_text(count, row.pairs), f"{count:,}", f"{100 * end[0]:.1f}–{100 * end[1]:.1f}" if end else "–")
            for count, end in zip((row.first, row.second, row.none), ends, strict=True)
        ]
        rows.append({"threshold": f"{plots.threshold_text(row.threshold)}%", "cells": cells})
    return rows


def _plots(comparison: Comparison, thumbnails: Thumbnails) -> dict[str, SafeString]:
    """Return every plot, an empty text where there is nothing to draw."""
    arms = comparison.first_arm, comparison.second_arm
    sides = [(pair.first, pair.second) for pair in comparison.pairs]
    found: dict[str, str] = dict.fromkeys(
        ("thresholds", "curve", "shares", "pairs", "classes", "raters-caterpillar", "pairs-caterpillar", "monitoring"),
        "",
    )
    if sides:
        found["thresholds"] = plots.threshold_bars(*arms, comparison.thresholds)
    if any(map(any, sides)):
        found["shares"] = plots.share_histogram(*arms, sides)
        first, second = np.transpose(sides)
        rows = threshold_table(first, second, CURVE)
        percents = [100 * np.array([getattr(row, name) for row in rows]) / len(sides) for name in ("first", "second")]
        found["curve"] = charts.preference_curve(*arms, [float(t) for t in CURVE], *percents)
    mixed, z = comparison.mixed, float(stats.norm.ppf((1 + comparison.significance.confidence) / 2))
    if not isinstance(mixed, Absent):
        for name, effects in (("raters", mixed.raters), ("pairs", mixed.pairs)):
            if effects.names and np.ptp(effects.effects) > NOTHING:
                found[f"{name}-caterpillar"] = charts.caterpillar(
                    f"Effects of {name}, as logits, with intervals", effects, z
                )
    return {name: _drawn(text) for name, text in (found | _forests(comparison, thumbnails)).items()}


def _forests(comparison: Comparison, thumbnails: Thumbnails) -> dict[str, str]:
    found, differences = {}, comparison.differences
    overall = comparison.headline.share if isinstance(comparison.headline, ClusteredShare) else None
    if isinstance(differences.pairs, tuple) and differences.pairs:
        rows = ends(differences.pairs, FOREST_PAIRS)
        sheets = {row.name: thumbnails[row.name] for row in rows if row.name in thumbnails}
        title = f"Preference for {comparison.first_arm} by pair, in percent"
        found["pairs"] = charts.forest(title, rows, overall=overall, thumbnails=sheets)
    if isinstance(differences.classes, tuple) and differences.classes:
        title = f"Preference for {comparison.first_arm} by class, in percent"
        found["classes"] = charts.forest(title, ends(differences.classes, FOREST_CLASSES), overall=overall)
    if not isinstance(comparison.monitoring, Absent):
        found["monitoring"] = charts.sequence(comparison.first_arm, comparison.monitoring)
    return found


def ends(rows: tuple[Shrunken, ...], count: int) -> tuple[Shrunken, ...]:
    """Return the first and the last of many rows."""
    return rows if len(rows) <= count else (*rows[: count // 2], *rows[-count // 2 :])


def _shares(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the share of the first arm by each way of judging it: name, share, interval, p, design effect."""
    rows: list[tuple[str, ...]] = []
    for name, found in (
        ("Raters and pairs as samples", comparison.headline),
        ("The same, every pair weighing alike", comparison.by_pair),
    ):
        if isinstance(found, ClusteredShare):
            rows.append(
                (name, f"{100 * found.share:.1f}%", interval_text(found), p_text(found.p_value).removeprefix("= "),
                 f"{found.design_effect:.2f}")
            )  # fmt: skip
    naive, boot = comparison.significance.result, comparison.bootstrap
    if naive is not None and not isinstance(boot, Absent):
        interval = f"{100 * boot.low:.1f}–{100 * boot.high:.1f}%"
        rows.append(("Two-way bootstrap", f"{100 * naive.share:.1f}%", interval, "–", "–"))
    if naive is not None:
        interval = f"{100 * naive.low:.1f}–{100 * naive.high:.1f}%"
        p_value = p_text(naive.p_value).removeprefix("= ")
        rows.append(("Every answer independent", f"{100 * naive.share:.1f}%", interval, p_value, "1"))
    return rows


def _naive(comparison: Comparison) -> Rows:
    result, level = comparison.significance.result, f"{100 * comparison.significance.confidence:g}%"
    if result is None:
        return []
    return [
        (f"chose {comparison.first_arm}", f"{comparison.first:,}"),
        (f"chose {comparison.second_arm}", f"{comparison.second:,}"),
        (f"share of {comparison.first_arm}", f"{result.share:.4f}"),
        (f"{level} Wilson interval", f"{result.low:.4f}–{result.high:.4f}"),
        (f"{level} Clopper–Pearson interval", f"{result.exact_low:.4f}–{result.exact_high:.4f}"),
        ("two-sided exact binomial test against 1/2", f"p {p_text(result.p_value)}"),
        ("score statistic", f"z = {result.z:.2f}"),
    ]


def _signs(comparison: Comparison) -> str:
    signs = comparison.signs
    if signs.p_value is None:
        return "No pair leans to either side, so that there is no sign test."
    return (
        f"Sign test on pairs: {signs.first:,} lean to {comparison.first_arm}, {signs.second:,} to "
        f"{comparison.second_arm}, {signs.even:,} to neither; exact p {p_text(signs.p_value)}."
    )


def _mixed(comparison: Comparison) -> Rows:
    mixed = comparison.mixed
    if isinstance(mixed, Absent):
        return []

    def spread(value: float | None) -> str:
        if value is None:
            return "cannot be told"
        return number(value) + (" (no more than chance makes)" if value < NOTHING else "")

    return [
        ("effect, as a logit", f"{number(mixed.effect)} ({number(mixed.low)} to {number(mixed.high)})"),
        ("test of no effect", f"p {p_text(mixed.p_value)}"),
        ("standard deviation of raters", spread(mixed.rater_sd)),
        ("standard deviation of pairs", spread(mixed.pair_sd)),
        ("log-likelihood", number(mixed.log_likelihood, 2)),
    ]


def _ties(comparison: Comparison) -> dict[str, Any]:
    rows, absent = [], ""
    for worths, name in ((comparison.davidson, "ν"), (comparison.rao_kupper, "θ")):
        if isinstance(worths, Absent):
            absent = worths.reason
            continue
        ratio = float(np.exp(worths.log_worths[0]))
        error = f"{ratio:.4f} (log: {number(float(worths.log_worths[0]))} ± {float(worths.standard_errors[0]):.3f})"
        ties = "no “Same” answer" if worths.ties is None else f"{name} = {worths.ties:.4f}"
        rows.append((worths.model, error, ties))
    assumes = () if isinstance(comparison.davidson, Absent) else comparison.davidson.assumes
    return {"rows": rows, "absent": absent, "assumes": assumes}


def _agreement(comparison: Comparison) -> dict[str, Any]:
    found = comparison.agreement
    if isinstance(found, Absent):
        return {"rows": [], "absent": found.reason, "assumes": ()}
    interval = "" if found.low is None or found.high is None else f" ({number(found.low)} to {number(found.high)})"
    kappa = f"– ({found.kappa.reason})" if isinstance(found.kappa, Absent) else number(found.kappa)
    rows = [
        ("two raters agree on a pair", f"{100 * found.raw:.1f}%"),
        ("Krippendorff’s alpha", f"{number(found.alpha)}{interval}"),
        ("Fleiss’ kappa", kappa),
    ]
    return {"rows": rows, "absent": "", "assumes": found.assumes}


def _examples(comparison: Comparison, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    by_name = {pair.pair: pair for pair in comparison.pairs}
    differences = comparison.differences
    groups = (
        (f"Most in favour of {comparison.first_arm}", differences.for_first),
        (f"Most in favour of {comparison.second_arm}", differences.for_second),
        ("Most disputed", differences.disputed),
    )
    return [
        {
            "title": title,
            "pairs": [{**_pair(by_name[name]), "images": thumbnails.get(name, ())} for name in names],
            "images": any(name in thumbnails for name in names),
        }
        for title, names in groups
        if names
    ]


def _monitoring(comparison: Comparison) -> dict[str, Any]:
    found = comparison.monitoring
    if isinstance(found, Absent):
        return {"absent": found.reason, "rows": [], "says": "", "assumes": ()}
    bar = f"{1 / (1 - found.confidence):g}"
    if found.stop_after is None:
        says = f"The e-value has not reached {bar}: it would not have been safe to stop for a clear result."
    else:
        when = f" on {found.stop_at[:10]}" if found.stop_at else ""
        says = f"It would have been safe to stop after {found.stop_after:,} of {found.raters:,} raters{when}."
    rows = [
        ("raters", f"{found.raters:,}"),
        (f"mean score for {comparison.first_arm}", f"{100 * found.mean:.1f}%"),
        ("always-valid interval", f"{100 * found.low[-1]:.1f}–{100 * found.high[-1]:.1f}%"),
        ("e-value", f"{found.e_value:.3g}"),
    ]
    return {"absent": "", "rows": rows, "says": says, "assumes": found.assumes}


def _ranking(report: Report) -> dict[str, Any] | None:
    ranking = report.ranking
    if isinstance(ranking, Absent):
        return None if len(report.comparisons) < 2 else {"absent": ranking.reason}
    worths: Worths = ranking.worths
    order = np.argsort(-worths.log_worths, kind="stable")
    rows = [
        (worths.arms[place], f"{worths.worths[place]:.4f}", *(f"{100 * p:.0f}%" for p in ranking.ranks[place]))
        for place in order.tolist()
    ]
    pairs = [
        (f"{one.first_arm} against {one.second_arm}", "–" if p is None else p_text(p).removeprefix("= "))
        for one, p in zip(report.comparisons, ranking.holm, strict=True)
    ]
    return {
        "absent": "",
        "rows": rows,
        "ranks": list(range(1, len(rows) + 1)),
        "holm": pairs,
        "ties": "" if worths.ties is None else f"ν = {worths.ties:.4f}",
        "fit": f"deviance {worths.deviance:.2f} on {worths.freedom} degrees of freedom",
        "assumes": (*worths.assumes, *RANKING_ASSUMES),
    }


def _pair(pair: PairCounts) -> dict[str, Any]:
    sides = pair.first + pair.second
    return {
        "pair": pair.pair,
        "class_name": pair.class_name,
        "first": pair.first,
        "second": pair.second,
        "same": pair.same,
        "share": f"{percent_text(pair.first, sides)}%" if sides else "–",
    }
