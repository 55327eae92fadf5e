"""Results as LaTeX: a table of several arms as the paper's Table 1, or of a sweep as its Tables 3, 5 and 6."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.latex import RULES, escape

NAMES: Mapping[str, str] = {
    "precision": r"Precision ($\uparrow$)",
    "recall": r"Recall ($\uparrow$)",
    "fid": r"FID ($\downarrow$)",
    "sfid": r"sFID ($\downarrow$)",
    "kid": r"KID $\times 10^3$ ($\downarrow$)",
    "density": r"Density ($\uparrow$)",
    "coverage": r"Coverage ($\uparrow$)",
    "inception_score": r"IS ($\uparrow$)",
    "fid_infinity": r"FID$_\infty$ ($\downarrow$)",
}
SCALES: Mapping[str, float] = {"kid": 1000}


def latex_table(result: Mapping[str, Any], axis: str | None = None, title: str = "") -> str:
    """Return a table to put into a document, with booktabs or without; each value with its standard error.

    Args:
        result: from `results.to_dict`.
        axis: what a sweep goes over; then the columns are its values and each arm has its rows.
        title: what the caption begins with.
    """
    begins = f"{escape(title)}. " if title else ""
    arms = list(result["arms"].items())
    lines = _sweep_lines(arms, axis) if axis else _arm_lines(arms)
    return "\n".join(
        [
            RULES,
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{begins}{_caption(result)}}}",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _arm_lines(arms: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(arms)}}}",
        r"\toprule",
        rf"Metric & {' & '.join(escape(name) for name, _ in arms)} \\",
        r"\midrule",
    ]
    for metric, title in NAMES.items():
        if any(metric in arm["values"] for _, arm in arms):
            lines.append(rf"{title} & {' & '.join(_cell(arm, metric) for _, arm in arms)} \\")
    return lines


def _sweep_lines(arms: Sequence[tuple[str, Mapping[str, Any]]], axis: str) -> list[str]:
    values = sorted({arm["sweep"] for _, arm in arms})
    by_place = {(arm["arm"], arm["sweep"]): arm for _, arm in arms}
    lines = [
        rf"\begin{{tabular}}{{ll{'r' * len(values)}}}",
        r"\toprule",
        rf"{escape(axis)} & & {' & '.join(f'{value:g}' for value in values)} \\",
        r"\midrule",
    ]
    for name in dict.fromkeys(arm["arm"] for _, arm in arms):
        for metric, title in NAMES.items():
            if any(metric in arm["values"] for _, arm in arms):
                cells = (_cell(by_place.get((name, value)), metric) for value in values)
                lines.append(rf"{escape(name)} & {title} & {' & '.join(cells)} \\")
    return lines


def _cell(arm: Mapping[str, Any] | None, metric: str) -> str:
    if arm is None or metric not in arm["values"]:
        return "--"
    scale = SCALES.get(metric, 1.0)
    value, error = arm["values"][metric] * scale, arm["errors"][metric]
    return f"${value:.3f}$" if error is None else rf"${value:.3f} \pm {error * scale:.3f}$"


def _caption(result: Mapping[str, Any]) -> str:
    protocol, features, reference = result["protocol"], result["features"], result["reference"]
    counts = sorted({arm["count"] for arm in result["arms"].values()})
    generated = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    against = f"{reference['count']:,} reference images" if reference["count"] else "a reference's statistics"
    return (
        f"{generated} generated images against {against}: features {escape(features['name'])}, protocol "
        f"{escape(protocol['name'])}, weights {features['weights_sha256'][:12]}, k = {protocol['k']} for precision "
        f"and recall, {protocol['density_k']} for density and coverage. $\\pm$: standard error."
    )
