"""The metrics of a study's arms as the report shows them, from the stored result of compute_metrics. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any

TITLES: Mapping[str, str] = {
    "fid": "FID (lower is better)",
    "sfid": "sFID (lower is better)",
    "kid": "KID (lower is better)",
    "precision": "Precision (higher is better)",
    "recall": "Recall (higher is better)",
    "density": "Density (higher is better)",
    "coverage": "Coverage (higher is better)",
    "inception_score": "Inception score (higher is better)",
    "fid_infinity": "FID∞ (lower is better)",
}

# What is smaller is what rounding leaves of 0.
ROUNDING = 1e-9


def metrics_context(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the table that the templates show, or None where nothing was measured.

    Args:
        result: what compute_metrics stored.
    """
    if result is None:
        return None
    arms = result["arms"]
    measured = [metric for metric in TITLES if any(metric in arm["values"] for arm in arms.values())]
    return {
        "arms": list(arms),
        "rows": [(TITLES[metric], [_cell(arm, metric) for arm in arms.values()]) for metric in measured],
        "differences": [
            (f"Difference, {each['first']} less {each['second']}", _difference(each, measured, result["protocol"]))
            for each in result["differences"]
        ],
        "made": _made(result),
        "warnings": list(dict.fromkeys(text for arm in arms.values() for text in arm["warnings"])),
        "assumes": [f"{TITLES.get(name, name).partition(' (')[0]}: {text}" for name, text in result["assumes"].items()],
    }


def _cell(arm: Mapping[str, Any], metric: str) -> str:
    if metric not in arm["values"]:
        return "–"
    value, error = arm["values"][metric], arm["errors"][metric]
    return _number(value) if error is None else f"{_number(value)} ± {_number(error)}"


def _difference(
    difference: Mapping[str, Any], measured: Sequence[str], protocol: Mapping[str, Any]
) -> list[tuple[str, str]]:
    values, intervals, level = difference["values"], difference["intervals"], f"{protocol['confidence']:.0%}"
    return [
        (TITLES[metric].partition(" (")[0], f"{_number(values[metric])} ({level} {_range(intervals[metric])})")
        for metric in measured
        if intervals.get(metric)
    ]


def _number(value: float) -> str:
    if abs(value) < ROUNDING:
        return "0.000"
    return (f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2e}").replace("-", "−", 1 if value < 0 else 0)


def _range(ends: Sequence[float]) -> str:
    return f"{_number(ends[0])} to {_number(ends[1])}"


def _made(result: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{arm['count']:,} of {name}" for name, arm in result["arms"].items())
    reference = result["reference"]
    against = f"{reference['count']:,} reference images" if reference["count"] else "a reference's statistics"
    return (
        f"Images: {counts}, against {against}. Features {result['features']['name']} (weights "
        f"{result['features']['weights_sha256'][:12]}), protocol {result['protocol']['name']}; ± is the standard error."
    )
