"""Metrics as a plot, a panel each: over a sweep's values, or arm by arm; as SVG, PNG or PDF."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.image_metrics import TITLES
from analysis.metrics.errors import MetricsError

FORMATS = ("svg", "png", "pdf")
DOTS_PER_INCH = 300
# Okabe and Ito's colours, which colour-blind readers tell apart, and marks and dashes that grey print does.
STYLES = (
    ("#0072b2", "o", "-"),
    ("#e69f00", "s", "--"),
    ("#009e73", "^", ":"),
    ("#cc79a7", "D", "-."),
    ("#56b4e9", "v", "-"),
    ("#d55e00", "P", "--"),
    ("#000000", "X", ":"),
)
# The two classifiers look the same in every plot: a report's arms stand by name, so that robust is first, and blue.
OWN = {"robust": 0, "vanilla": 1}
# Beyond this ratio of values, those close to 0 would lie on one another.
WIDE = 12
# Points of arms at one value stand side by side, so that no bar hides another.
ASIDE = 2.5


def check_format(name: str) -> str:
    """Return a plot's format by its file's name.

    Raises:
        MetricsError: no such format.
    """
    ending = name.rpartition(".")[2].lower()
    if ending not in FORMATS:
        raise MetricsError(f"{name}: a plot's name must end in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}.")
    return ending


def draw(result: Mapping[str, Any], axis: str | None, form: str) -> bytes:
    """Draw a panel for each metric, each value with a bar of one standard error to either side.

    The same numbers give the same bytes.

    Args:
        result: from `results.to_dict`.
        axis: what a sweep goes over, with a line for each arm; None for arms that stand side by side.
        form: `svg`, `png` (300 dots an inch) or `pdf`.
    """
    arms = list(result["arms"].items())
    metrics = [metric for metric in TITLES if any(metric in arm["values"] for _, arm in arms)]
    # A dollar sign in a name is one.
    with mpl.rc_context({"svg.hashsalt": "sweep", "svg.fonttype": "none", "font.size": 9, "text.parse_math": False}):
        columns = 3 if len(metrics) == 3 or len(metrics) > 4 else min(2, max(1, len(metrics)))
        rows = -(-max(1, len(metrics)) // columns)
        figure = Figure(figsize=(3.8 * columns, 2.9 * rows + 0.3), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[len(metrics) :]:
            panel.set_axis_off()
        for panel, metric in zip(panels, metrics, strict=False):
            _draw_panel(panel, arms, metric, axis)
        handles, labels = panels[0].get_legend_handles_labels() if axis else ([], [])
        if len(handles) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, metadata=_metadata(form, arms, metrics, axis))
    return buffer.getvalue()


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return each arm's colour, mark and dashes: its classifier's, or the next that neither classifier here has."""
    owned = {name: OWN[first] for name in names if (first := name.partition(" ")[0]) in OWN}
    taken = set(owned.values())
    free = [style for number, style in enumerate(STYLES) if number not in taken]
    others = (name for name in names if name not in owned)
    chosen = {name: free[number % len(free)] for number, name in enumerate(others)}
    return chosen | {name: STYLES[number] for name, number in owned.items()}


def _draw_panel(panel: Axes, arms: Sequence[tuple[str, Mapping[str, Any]]], metric: str, axis: str | None) -> None:
    panel.set_gid(metric)
    panel.set_title(TITLES[metric], fontsize="medium", loc="left")
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    if axis:
        _draw_curves(panel, [arm for _, arm in arms], metric)
        panel.set_xlabel(axis)
    else:
        _draw_arms(panel, arms, metric)


def _draw_curves(panel: Axes, arms: Sequence[Mapping[str, Any]], metric: str) -> None:
    names = list(dict.fromkeys(arm["arm"] for arm in arms))
    places = sorted({float(arm["sweep"]) for arm in arms})
    positive = [place for place in places if place > 0]
    if positive and places[-1] > WIDE * positive[0] and places[0] >= 0:
        panel.set_xscale("symlog", linthresh=positive[0])
    styles = _styles(names)
    for number, name in enumerate(names):
        colour, marker, dashes = styles[name]
        own = sorted(
            (arm for arm in arms if arm["arm"] == name and metric in arm["values"]), key=lambda arm: float(arm["sweep"])
        )
        bars = panel.errorbar(
            [arm["sweep"] for arm in own],
            [arm["values"][metric] for arm in own],
            [arm["errors"][metric] or 0 for arm in own],
            color=colour,
            marker=marker,
            linestyle=dashes,
            markersize=4,
            linewidth=1.4,
            capsize=3,
            label=name,
        )
        bars.lines[0].set_gid(f"{metric}-{number}")
        # Only once the axes have the data's limits, which a transform of one's own keeps from them.
        for mark in bars.get_children():
            mark.set_transform(panel.transData + _aside(panel, number - (len(names) - 1) / 2))
    panel.margins(x=0.06)
    panel.set_xticks(places, [f"{place:g}" for place in places])
    panel.minorticks_off()


def _aside(panel: Axes, steps: float) -> mpl.transforms.Transform:
    """Return a shift to the side, by so many points, whatever the axis's scale."""
    figure = panel.get_figure()
    return mpl.transforms.ScaledTranslation(steps * ASIDE / 72, 0, figure.dpi_scale_trans)  # type: ignore[union-attr]


def _draw_arms(panel: Axes, arms: Sequence[tuple[str, Mapping[str, Any]]], metric: str) -> None:
    own = [(name, arm) for name, arm in arms if metric in arm["values"]]
    styles = _styles([name for name, _ in arms])
    for place, (name, arm) in enumerate(own):
        colour, mark, _dashes = styles[name]
        value, error = arm["values"][metric], arm["errors"][metric] or 0
        panel.errorbar([value], [place], xerr=[error], color=colour, marker=mark, markersize=5, capsize=3)
    panel.set_yticks(range(len(own)), [name for name, _ in own])
    panel.set_ylim(len(own) - 0.5, -0.5)


def _metadata(
    form: str, arms: Sequence[tuple[str, Mapping[str, Any]]], metrics: Sequence[str], axis: str | None
) -> dict[str, str | None]:
    """Say what is drawn, for those who cannot see it; and neither when nor by what it was drawn."""
    title = f"Metrics by {axis}" if axis else "Metrics by arm"
    spoken = "; ".join(
        f"{name}: "
        + ", ".join(f"{metric} {arm['values'][metric]:.4g}" for metric in metrics if metric in arm["values"])
        for name, arm in arms
    )
    if form == "svg":
        return {"Date": None, "Title": title, "Description": spoken}
    if form == "png":
        return {"Software": None, "Title": title, "Description": spoken}
    return {"CreationDate": None, "Title": title, "Subject": spoken}
