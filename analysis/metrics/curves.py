"""A sweep's curves as one SVG that needs no script, style sheet or font of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 260, 64, 16, 34, 44
# Told apart by colour-blind readers; the dashes tell them apart in grey.
STROKES = (("#0072b2", ""), ("#e69f00", "6 3"), ("#009e73", "2 3"), ("#cc79a7", "8 3 2 3"))
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


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = 0.5 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def draw_curves(result: Mapping[str, Any], axis: str) -> str:
    """Draw a panel for each metric: a line per arm over the sweep's values, with a bar of one standard error each.

    Args:
        result: from `results.to_dict`, of a sweep.
        axis: what the sweep goes over.
    """
    arms = list(result["arms"].values())
    names = list(dict.fromkeys(arm["arm"] for arm in arms))
    metrics = [metric for metric in TITLES if any(metric in arm["values"] for arm in arms)]
    marks: list[str] = []
    for place, metric in enumerate(metrics):
        marks.append(f'<g transform="translate(0 {place * HEIGHT})">{_panel(arms, names, metric, axis)}</g>')
    height = HEIGHT * max(1, len(metrics))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>Metrics by {escape(axis)}</title>'
        f"<desc>{escape(_spoken(arms, metrics))}</desc>{''.join(marks)}</svg>\n"
    )


def _panel(arms: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str, axis: str) -> str:
    here = [arm for arm in arms if metric in arm["values"]]
    ends = [arm["values"][metric] + side * (arm["errors"][metric] or 0) for arm in here for side in (-1, 1)]
    places = sorted({arm["sweep"] for arm in here})
    across = _Scale(places[0], places[-1], LEFT + 12, WIDTH - RIGHT - 12)
    up = _Scale(min(ends), max(ends), HEIGHT - BOTTOM - 8, TOP + 8)
    marks = [_text(LEFT, 18, TITLES[metric], "start", weight="bold")]
    marks += [_text(across(place), HEIGHT - BOTTOM + 16, f"{place:g}") for place in places]
    marks.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, escape(axis)))
    for step in range(4):
        value = up.low + (up.high - up.low) * step / 3
        marks.append(_line(LEFT, up(value), WIDTH - RIGHT, up(value), "#ddd"))
        marks.append(_text(LEFT - 6, up(value) + 4, f"{value:.4g}", "end"))
    for place, name in enumerate(names):
        stroke, dashes = STROKES[place % len(STROKES)]
        own = sorted((arm for arm in here if arm["arm"] == name), key=lambda arm: float(arm["sweep"]))
        marks.append(_curve(own, metric, across, up, stroke, dashes))
        marks.append(_text(WIDTH - RIGHT, 18 + 14 * place, escape(name), "end", fill=stroke))
    return "".join(marks)


def _curve(own: Sequence[Mapping[str, Any]], metric: str, across: _Scale, up: _Scale, stroke: str, dashes: str) -> str:
    marks = []
    points = [(across(arm["sweep"]), up(arm["values"][metric])) for arm in own]
    if len(points) > 1:
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        marks.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        )
    for arm, (x, y) in zip(own, points, strict=True):
        if error := arm["errors"][metric]:
            value = arm["values"][metric]
            marks.append(_line(x, up(value - error), x, up(value + error), stroke))
        marks.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="3" fill="{stroke}"/>')
    return "".join(marks)


def _spoken(arms: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> str:
    told = (
        f"{arm['arm']} at {arm['sweep']:g}: "
        + ", ".join(f"{metric} {arm['values'][metric]:.4g}" for metric in metrics if metric in arm["values"])
        for arm in arms
    )
    return "; ".join(told)


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str) -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{stroke}"/>'


def _text(
    x: float, y: float, text: str, anchor: str = "middle", *, fill: str = "currentColor", weight: str = "normal"
) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">{text}</text>'
