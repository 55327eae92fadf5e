"""A sweep's measured points as JSON, CSV, LaTeX and plots."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.latex import escape
from analysis.metrics.curves import draw
from analysis.metrics.results import Arm, assemble
from analysis.metrics.tables import NAMES, SCALES, latex_table
from analysis.sweeps.definition import GuidingKind, Sweep, SweepError
from analysis.sweeps.points import AXES, Cell, as_plain, best_scales, pairs_of
from analysis.sweeps.store import Measured

COLUMNS = ("metric", "value", "standard_error", "low", "high", "images")


@dataclass(frozen=True)
class Result:
    """A finished sweep.

    Attributes:
        sweep: which.
        cells: in the tables' order.
        measured: each cell's point.
    """

    sweep: Sweep
    cells: Sequence[Cell]
    measured: Sequence[Measured]

    @property
    def axis(self) -> str | None:
        """What it goes over; None for arms side by side."""
        return AXES[self.sweep.kind]

    def as_dict(self) -> dict[str, Any]:
        """Return it as `compute_metrics` would print it, with the sweep and each point's record.

        Raises:
            SweepError: its points were measured in different ways.
        """
        arms = {id(cell): self._arm(cell, found) for cell, found in zip(self.cells, self.measured, strict=True)}
        pairs = [(arms[id(first)], arms[id(second)]) for first, second in pairs_of(self.sweep, list(self.cells))]
        found = assemble(list(arms.values()), pairs, self._circumstances(), confidence=self.sweep.metrics.confidence)
        for arm, cell, measured in zip(found["arms"].values(), self.cells, self.measured, strict=True):
            arm["note"], arm["record"] = cell.note, measured.record
        return {"sweep": as_plain(self.sweep), **found}

    def _arm(self, cell: Cell, measured: Measured) -> Arm:
        return Arm(cell.arm, Path(measured.record["samples"]), measured.metrics, None, cell.place)

    def _circumstances(self) -> dict[str, Any]:
        """Return what all points have in common: what the values depend on is equal by the points' keys."""
        if not self.measured:
            raise SweepError(f"Sweep {self.sweep.name} has no points: give it some.")
        first = self.measured[0].circumstances
        versions = {json.dumps(found.circumstances["versions"], sort_keys=True) for found in self.measured}
        return first if len(versions) == 1 else {**first, "versions": [json.loads(text) for text in sorted(versions)]}

    def files(self) -> dict[str, str | bytes]:
        """Return all files of results, by name."""
        result, name = self.as_dict(), self.sweep.name
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return {
            f"{name}.json": text,
            f"{name}.csv": as_csv(result, self.axis),
            f"{name}.tex": as_latex(result, self.axis, self.sweep),
            f"{name}.svg": draw(result, self.axis, "svg"),
            f"{name}.png": draw(result, self.axis, "png"),
        }

    def fids(self) -> dict[tuple[GuidingKind, float], float]:
        """Return each guiding arm's FID by its scale, of a sweep over scales."""
        return {
            (arm, cell.place): found.metrics.estimates["fid"].value
            for cell, found in zip(self.cells, self.measured, strict=True)
            for arm in ("vanilla", "robust")
            if cell.arm == arm and cell.place is not None
        }

    def remarks(self) -> list[str]:
        """Return what is worth a sentence: each arm's lowest FID, and where the interval of a difference holds 0."""
        lines = []
        if self.sweep.kind == "scales" and "fid" in self.sweep.metrics.names:
            fids = self.fids()
            for arm, scale in best_scales(fids).items():
                lines.append(f"{arm}: lowest FID {fids[arm, scale]:.4g}, at scale {scale:g}")
        differences = self.as_dict()["differences"]
        return lines + [_told(difference) for difference in differences if "fid" in difference["values"]]


def _told(difference: Mapping[str, Any]) -> str:
    value, interval = difference["values"]["fid"], difference["intervals"]["fid"]
    line = f"FID of {difference['first']} less {difference['second']}: {value:+.4g}"
    if interval is None:
        return line
    low, high = interval
    verdict = "the interval cannot tell" if low <= 0 <= high else f"{'lower' if high < 0 else 'higher'}"
    return f"{line} ({low:+.4g} to {high:+.4g}): {verdict}"


def as_csv(result: Mapping[str, Any], axis: str | None) -> str:
    """Return a line for each value: `arm`, `minus` (the arm that is subtracted, in lines of differences), the axis.

    Args:
        result: from `Result.as_dict`.
        axis: what it goes over.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["arm", "minus", *([axis.replace(" ", "_")] if axis else []), *COLUMNS])
    for name, arm in result["arms"].items():
        place = [f"{arm['sweep']:.12g}"] if axis else []
        head = [arm["arm"] if axis else name, "", *place]
        writer.writerows([*head, *_numbers(arm, metric), arm["count"]] for metric in arm["values"])
    for difference in result["differences"]:
        first, second = (result["arms"][difference[side]] for side in ("first", "second"))
        names = [first["arm"], second["arm"]] if axis else [difference["first"], difference["second"]]
        head = [*names, *([f"{first['sweep']:.12g}"] if axis else [])]
        writer.writerows([*head, *_numbers(difference, metric), first["count"]] for metric in difference["values"])
    return buffer.getvalue()


def _numbers(part: Mapping[str, Any], metric: str) -> list[Any]:
    low, high = part["intervals"][metric] or (None, None)
    return [metric, part["values"][metric], part["errors"][metric], low, high]


def as_latex(result: Mapping[str, Any], axis: str | None, sweep: Sweep) -> str:
    """Return the table, and one of the differences where there are any, for a document that uses booktabs."""
    sampling = sweep.sampling
    made = (
        f"% Sweep {sweep.name}: preset {sweep.preset.name}, seed {sampling.seed}, sampler "
        f"{sampling.sampler or sweep.preset.sampling.sampler}, respacing "
        f"{sampling.respacing or sweep.preset.sampling.respacing}, {sampling.precision}."
    )
    lines = [" ".join(made.split()), latex_table(result, axis, title=sweep.title)]
    if result["differences"]:
        lines.append(_differences(result))
    return "\n".join(lines)


def _differences(result: Mapping[str, Any]) -> str:
    metrics = [name for name in NAMES if any(name in each["values"] for each in result["differences"])]
    confidence = f"{100 * result['protocol']['confidence']:g}"
    rows = [
        rf"{escape(each['first'])} & {escape(each['second'])} & "
        + " & ".join(_interval(each, metric) for metric in metrics)
        + r" \\"
        for each in result["differences"]
    ]
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{Differences, first less second, of images with the same seeds, and {confidence}\% intervals.}}",
        rf"\begin{{tabular}}{{ll{'r' * len(metrics)}}}",
        r"\toprule",
        rf"First & Second & {' & '.join(NAMES[metric] for metric in metrics)} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _interval(difference: Mapping[str, Any], metric: str) -> str:
    if metric not in difference["values"]:
        return "--"
    scale, interval = SCALES.get(metric, 1.0), difference["intervals"][metric]
    value = f"{difference['values'][metric] * scale:.3f}"
    if interval is None:
        return f"${value}$"
    low, high = (end * scale for end in interval)
    return f"${value}$ (${low:.3f}$ to ${high:.3f}$)"
