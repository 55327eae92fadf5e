"""The report as CSV tables."""

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from analysis import plots
from analysis.absent import Absent
from analysis.comparison import Comparison
from analysis.preference import percent_text
from analysis.report import Report


def render_tables(report: Report) -> dict[str, str]:
    """Return the tables, name to text; counts of arms that a row is not about are empty."""
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
        "estimates.csv": _csv(ESTIMATES, (row for one in report.comparisons for row in _estimates(one))),
        "effects.csv": _csv(EFFECTS, (row for one in report.comparisons for row in _effects(one))),
        "raters.csv": _csv(RATERS, (row for one in report.comparisons for row in _raters(one))),
        "monitoring.csv": _csv(MONITORING, (row for one in report.comparisons for row in _monitoring(one))),
    }


ESTIMATES = ("comparison", "estimate", "value", "standard_error", "low", "high", "p_value")
EFFECTS = ("comparison", "kind", "name", "class_name", "first", "second", "share", "low", "high")
RATERS = ("comparison", "rater", "answers", "flags", "effect", "standard_deviation")
MONITORING = ("comparison", "raters", "log_e_value", "low", "high")


def _versus(comparison: Comparison) -> str:
    return f"{comparison.first_arm}:{comparison.second_arm}"


def _estimates(comparison: Comparison) -> list[list[object]]:
    """Return a row per estimate that can be had."""
    name, rows = _versus(comparison), []
    for kind, share in (("share, clustered", comparison.headline), ("share, pairs alike", comparison.by_pair)):
        if not isinstance(share, Absent):
            rows.append([name, kind, share.share, share.standard_error, share.low, share.high, share.p_value])
    naive = comparison.significance.result
    if naive is not None:
        rows.append([name, "share, independent (Wilson)", naive.share, "", naive.low, naive.high, naive.p_value])
        exact = [naive.exact_low, naive.exact_high]
        rows.append([name, "share, independent (Clopper–Pearson)", naive.share, "", *exact, naive.p_value])
    boot = comparison.bootstrap
    if naive is not None and not isinstance(boot, Absent):
        rows.append([name, "share, two-way bootstrap", naive.share, boot.standard_error, boot.low, boot.high, ""])
    mixed = comparison.mixed
    if not isinstance(mixed, Absent):
        rows.append([name, "logit, mixed", mixed.effect, mixed.standard_error, mixed.low, mixed.high, mixed.p_value])
        rows += [
            [name, f"{kind} SD, mixed", "" if sd is None else sd, "", "", "", ""]
            for kind, sd in (("rater", mixed.rater_sd), ("pair", mixed.pair_sd))
        ]
    for worths in (comparison.davidson, comparison.rao_kupper):
        if not isinstance(worths, Absent):
            error = float(worths.standard_errors[0])
            rows.append([name, f"log worth, {worths.model}", float(worths.log_worths[0]), error, "", "", ""])
            rows.append([name, f"ties, {worths.model}", "" if worths.ties is None else worths.ties, "", "", "", ""])
    agreed = comparison.agreement
    if not isinstance(agreed, Absent):
        ends = ["" if end is None else end for end in (agreed.low, agreed.high)]
        rows.append([name, "Krippendorff's alpha", agreed.alpha, "", *ends, ""])
        rows.append([name, "raw agreement", agreed.raw, "", "", "", ""])
    return rows


def _effects(comparison: Comparison) -> Iterable[list[object]]:
    for kind, rows in (("pair", comparison.differences.pairs), ("class", comparison.differences.classes)):
        if not isinstance(rows, Absent):
            for row in rows:
                shares = [row.share, row.low, row.high]
                yield [_versus(comparison), kind, row.name, row.class_name, row.first, row.second, *shares]


def _raters(comparison: Comparison) -> Iterable[list[object]]:
    """Yield the raters with an effect of their own or with a flag."""
    flags = {flag.rater: flag for flag in comparison.audit.flagged}
    mixed = comparison.mixed
    effects = {} if isinstance(mixed, Absent) else dict(
        zip(mixed.raters.names, zip(mixed.raters.effects, mixed.raters.errors, strict=True), strict=True)
    )  # fmt: skip
    for name in sorted({*flags, *effects}):
        flag = flags.get(name)
        why = "; ".join(flag.reasons) if flag else ""
        yield [_versus(comparison), name, flag.answers if flag else "", why, *effects.get(name, ("", ""))]


def _monitoring(comparison: Comparison) -> Iterable[list[object]]:
    found = comparison.monitoring
    if isinstance(found, Absent):
        return
    columns: Sequence[np.ndarray] = (found.after, found.log_e_values, found.low, found.high)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield [_versus(comparison), *row]


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
