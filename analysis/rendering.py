"""One report in each format: JSON, CSV tables, LaTeX, plain text, and HTML by Django's templates."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from analysis import plots
from analysis.preference import ThresholdRow, percent_text
from analysis.report import ANSWERS_ASSUME, THRESHOLDS_ASSUME, Comparison, PairCounts, Report, to_dict
from analysis.significance import SideTest

DEFAULT_FORMATS = ("html", "json", "csv")
STYLESHEET = "analysis/report.css"
# A page of more rows is slow to open on a phone; pairs.csv has them all.
PAIRS_OPEN, PAIRS_SHOWN = 200, 2000
NO_ANSWERS = "There are no answers yet, so there is no preference to report."
NO_SIDES = "No answer has chosen a side yet, so there is no preference to report."


def render_files(report: Report, formats: Iterable[str] = DEFAULT_FORMATS) -> dict[str, str]:
    """Return the report's files, name to text.

    Args:
        report: What to write.
        formats: Of html, json, csv and latex.

    Raises:
        ValueError: For an unknown format.
    """
    files: dict[str, str] = {}
    for name in formats:
        if name not in FORMATS:
            message = f"unknown format {name!r}; choose from {','.join(FORMATS)}"
            raise ValueError(message)
        files |= FORMATS[name](report)
    return files


def render_json(report: Report) -> str:
    """Return report.json's text: strict JSON, without NaN."""
    return json.dumps(to_dict(report), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def render_tables(report: Report) -> dict[str, str]:
    """Return thresholds.csv, pairs.csv and totals.csv; counts of arms that a row is not about are empty."""
    arms = list(report.per_arm)
    thresholds, pairs = [], []
    for comparison in report.comparisons:
        versus = f"{comparison.first_arm}:{comparison.second_arm}"
        for row in comparison.thresholds:
            counts = {comparison.first_arm: row.first, comparison.second_arm: row.second, "none": row.none}
            shares = {name: percent_text(count, row.pairs) if row.pairs else "" for name, count in counts.items()}
            columns = [*arms, "none"]
            cells = [*(counts.get(name, "") for name in columns), *(shares.get(name, "") for name in columns)]
            thresholds.append([versus, plots.threshold_text(row.threshold), row.pairs, *cells])
        for pair in comparison.pairs:
            counts = {comparison.first_arm: pair.first, comparison.second_arm: pair.second}
            pairs.append([pair.pair, pair.class_name, pair.answers, *(counts.get(arm, "") for arm in arms), pair.same])
    return {
        "thresholds.csv": _csv(
            [
                "comparison",
                "threshold",
                "pairs",
                *(f"{kind}_{name}" for kind in ("pairs", "percent") for name in [*arms, "none"]),
            ],
            thresholds,
        ),
        "pairs.csv": _csv(["pair", "class_name", "answers", *(f"chose_{arm}" for arm in arms), "same"], pairs),
        "totals.csv": _csv(["quantity", "value"], _totals(report)),
    }


def _totals(report: Report) -> list[list[object]]:
    spread = report.per_pair
    rows: list[list[object]] = [
        ["answers", report.answers],
        *([f"chose_{arm}", count] for arm, count in report.per_arm.items()),
        ["same", report.same],
        ["raters", report.raters],
        ["pairs", report.pairs],
    ]
    if spread:
        names = ("answers_per_pair_min", "answers_per_pair_mean", "answers_per_pair_max")
        rows += [[name, value] for name, value in zip(names, (spread.min, spread.mean, spread.max), strict=True)]
    return rows


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def render_latex(report: Report) -> str:
    """Return thresholds.tex: one table per comparison, for a document that uses the booktabs package."""
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(map(_latex_table, report.comparisons))


def _latex_table(comparison: Comparison) -> str:
    first, second = (_latex(_heading(arm)) for arm in (comparison.first_arm, comparison.second_arm))
    caption = (
        f"Percentage of {len(comparison.pairs):,} image pairs in which more than the threshold's share of the raters "
        f"who chose a side chose {_latex(comparison.first_arm)}, chose {_latex(comparison.second_arm)}, or neither."
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\begin{tabular}{rrrr}",
        r"\toprule",
        rf"Threshold & {first} & {second} & No preference \\",
        r"\midrule",
    ]
    for row in comparison.thresholds:
        cells = (rf"{percent_text(count, row.pairs)}\%" if row.pairs else "--" for count in _counts(row))
        lines.append(rf"{plots.threshold_text(row.threshold)}\% & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(char, f"\\{char}" if char in "&%$#_{}" else char) for char in text)


def render_text(report: Report) -> str:
    """Return what `export_report` prints: per comparison the threshold table and the verdict."""
    parts = list(report.notes)
    for comparison in report.comparisons:
        head = ["Threshold", _heading(comparison.first_arm), _heading(comparison.second_arm), "No preference"]
        rows = [
            [f"{plots.threshold_text(row.threshold)}%", *(_share(count, row.pairs) for count in _counts(row))]
            for row in comparison.thresholds
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        parts += ["\n".join(table), verdict(comparison)]
    return "\n\n".join(parts if report.comparisons else [*parts, NO_ANSWERS])


def _counts(row: ThresholdRow) -> tuple[int, int, int]:
    return row.first, row.second, row.none


def _share(count: int, total: int) -> str:
    return f"{percent_text(count, total)}%" if total else "–"


def _heading(arm: str) -> str:
    return arm[:1].upper() + arm[1:]


def verdict(comparison: Comparison) -> str:
    """Return the result in one plain sentence, with what it assumes."""
    result = comparison.significance.result
    if result is None:
        return NO_SIDES if comparison.answers else NO_ANSWERS
    sides, confidence = comparison.first + comparison.second, comparison.significance.confidence
    arm, share, low, high = comparison.first_arm, result.share, result.low, result.high
    if comparison.second > comparison.first:
        arm, share, low, high = comparison.second_arm, 1 - share, 1 - high, 1 - low
    claim = f"Raters preferred {arm}" if result.p_value < 1 - confidence else "No clear preference"
    answers = "the 1 answer" if sides == 1 else f"{sides:,} answers"
    return (
        f"{claim}: of {answers} that chose a side, {100 * share:.1f}% chose {arm} "
        f"({100 * confidence:g}% Wilson interval {100 * low:.1f}–{100 * high:.1f}%; p {p_text(result)} against an even "
        f"split), treating answers as independent."
    )


def p_text(result: SideTest) -> str:
    """Return the p-value with its sign of equality: "= 0.034", "= 3.5e-11", "< 1e-300"."""
    value = result.p_value
    if value < 1e-300:
        return "< 1e-300"
    return f"= {value:.1e}" if value < 0.001 else f"= {value:.3f}"


def render_html(report: Report) -> str:
    """Return report.html: one file that needs nothing else, on screen or paper."""
    style = (Path(settings.BASE_DIR) / "static" / STYLESHEET).read_text(encoding="utf-8")
    return render_to_string("analysis/export.html", {**context(report), "style": mark_safe(style)})  # noqa: S308 - ours


def context(report: Report) -> dict[str, Any]:
    """Return what the templates show, every number already written out."""
    spread = report.per_pair
    tiles = [
        ("answers", f"{report.answers:,}"),
        *((f"chose {arm}", _with_share(count, report.answers)) for arm, count in report.per_arm.items()),
        ("chose “Same”", _with_share(report.same, report.answers)),
        ("raters", f"{report.raters:,}"),
        ("pairs", f"{report.pairs:,}"),
    ]
    if spread:
        tiles += [
            ("answers per pair", f"{spread.min:,}" if spread.min == spread.max else f"{spread.min:,}–{spread.max:,}"),
            ("mean answers per pair", f"{spread.mean:.2f}"),
        ]
    return {
        "title": report.title,
        "notes": report.notes,
        "period": [time.replace("T", " ").replace("Z", " UTC") for time in report.period or ()],
        "totals": tiles,
        "comparisons": [_comparison_context(comparison) for comparison in report.comparisons],
        "several": len(report.comparisons) > 1,
        "no_answers": NO_ANSWERS,
        "answers_assume": ANSWERS_ASSUME,
        "thresholds_assume": THRESHOLDS_ASSUME,
    }


def _with_share(count: int, total: int) -> str:
    return f"{count:,} ({percent_text(count, total)}%)" if total else "0"


def _comparison_context(comparison: Comparison) -> dict[str, Any]:
    arms = comparison.first_arm, comparison.second_arm
    sides = [(pair.first, pair.second) for pair in comparison.pairs]
    return {
        "first_arm": arms[0],
        "second_arm": arms[1],
        "first_heading": _heading(arms[0]),
        "second_heading": _heading(arms[1]),
        "verdict": verdict(comparison),
        "pair_count": f"{len(comparison.pairs):,}",
        "rows": [
            {
                "threshold": f"{plots.threshold_text(row.threshold)}%",
                "cells": [(_share(count, row.pairs), f"{count:,}") for count in _counts(row)],
            }
            for row in comparison.thresholds
        ],
        # Both plots are built from numbers and escaped names only.
        "bars": mark_safe(plots.threshold_bars(*arms, comparison.thresholds)) if sides else "",  # noqa: S308
        "histogram": mark_safe(plots.share_histogram(*arms, sides)) if any(map(any, sides)) else "",  # noqa: S308
        "test": _test_context(comparison),
        "assumes": comparison.significance.assumes,
        "pairs": [_pair_context(pair) for pair in comparison.pairs[:PAIRS_SHOWN]],
        "classes": any(pair.class_name for pair in comparison.pairs),
        "pairs_open": len(comparison.pairs) <= PAIRS_OPEN,
        "pairs_left_out": max(0, len(comparison.pairs) - PAIRS_SHOWN),
    }


def _test_context(comparison: Comparison) -> list[tuple[str, str]]:
    result, confidence = comparison.significance.result, comparison.significance.confidence
    if result is None:
        return []
    return [
        (f"chose {comparison.first_arm}", f"{comparison.first:,}"),
        (f"chose {comparison.second_arm}", f"{comparison.second:,}"),
        (f"share of {comparison.first_arm}", f"{result.share:.4f}"),
        (f"{100 * confidence:g}% Wilson interval", f"{result.low:.4f}–{result.high:.4f}"),
        ("two-sided exact binomial test against 1/2", f"p {p_text(result)}"),
        ("score statistic", f"z = {result.z:.2f}"),
    ]


def _pair_context(pair: PairCounts) -> dict[str, Any]:
    sides = pair.first + pair.second
    return {
        "pair": pair.pair,
        "class_name": pair.class_name,
        "first": pair.first,
        "second": pair.second,
        "same": pair.same,
        "share": f"{percent_text(pair.first, sides)}%" if sides else "–",
    }


FORMATS: dict[str, Callable[[Report], dict[str, str]]] = {
    "html": lambda report: {"report.html": render_html(report)},
    "json": lambda report: {"report.json": render_json(report)},
    "csv": render_tables,
    "latex": lambda report: {"thresholds.tex": render_latex(report)},
}
