"""Plots of estimates with their intervals; see `analysis.plots` for those of counts."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from analysis.comparison import Caterpillar
from analysis.crossed import Array
from analysis.heterogeneity import Shrunken
from analysis.monitoring import Monitoring
from analysis.svg import FIRST, SECOND, WIDTH, box, dot, label, line, path, picture, shorten, svg

# More marks than this cannot be told apart; they are thinned evenly.
MOST_MARKS = 300


def preference_curve(first_arm: str, second_arm: str, thresholds: Sequence[float], first: Array, second: Array) -> str:
    """Draw the percent of pairs that prefer each arm against the threshold.

    Args:
        first_arm: The first arm's name.
        second_arm: The second's.
        thresholds: T of them, in percent, rising from 50.
        first: (T,) percents of pairs.
        second: (T,) percents of pairs.
    """
    left, top, height = 46, 10, 170
    most = max(float(np.max(first)), float(np.max(second)))
    ceiling = 20 * max(1.0, float(np.ceil(most / 20)))
    span = max(1.0, thresholds[-1] - thresholds[0])

    def at(threshold: float, share: float) -> tuple[float, float]:
        return left + (WIDTH - left - 12) * (threshold - thresholds[0]) / span, top + height * (1 - share / ceiling)

    marks = [line(left, top + height, WIDTH, top + height), line(left, top, left, top + height)]
    ticks = np.linspace(0, ceiling, 5).tolist()
    marks += [label(left - 6, at(0, share)[1] + 4, f"{share:g}%", "end") for share in ticks]
    for threshold in _ticks(thresholds[0], thresholds[-1]):
        marks.append(label(at(threshold, 0)[0], top + height + 18, f"{threshold:g}"))
    for shares, stroke in ((first, FIRST), (second, SECOND)):
        marks.append(path([at(t, float(s)) for t, s in zip(thresholds, shares, strict=True)], stroke=stroke))
    marks.append(label(WIDTH / 2, top + height + 38, "threshold, in % of the raters who chose a side"))
    spoken = f"at {thresholds[0]:g}: {first_arm} {first[0]:.1f}%, {second_arm} {second[0]:.1f}%"
    return svg("Pairs that prefer each arm, against the threshold", spoken, top + height + 46, marks)


def _ticks(low: float, high: float) -> list[float]:
    """Return the tens from low to high, or both ends where there are not two."""
    tens = [10.0 * place for place in range(int(np.ceil(low / 10)), int(high // 10) + 1)]
    return tens if len(tens) > 1 else [low, high]


def forest(
    title: str,
    rows: Sequence[Shrunken],
    *,
    overall: float | None = None,
    thumbnails: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """Draw shares with their intervals, one row each.

    Args:
        title: What the rows are.
        rows: Drawn from the top.
        overall: A share to mark by a dashed line.
        thumbnails: Per row's name, the addresses of both images.
    """
    thumbnails = thumbnails or {}
    step, size = (34, 30) if thumbnails else (22, 0)
    left, top, right = 150 + (2 * size + 6 if thumbnails else 0), 8, WIDTH - 96
    base = top + step * len(rows)

    def at(share: float) -> float:
        return left + (right - left) * share

    marks = [line(at(0.5), top, at(0.5), base, stroke="#777")]
    if overall is not None:
        marks.append(line(at(overall), top, at(overall), base, dashed=True, stroke=FIRST))
    spoken = []
    for place, row in enumerate(rows):
        y = top + step * (place + 0.5)
        name = f"{row.name} {row.class_name}" if row.class_name not in ("", row.name) else row.name
        marks.append(label(144, y + 4, escape(shorten(name, 20)), "end"))
        if row.name in thumbnails:
            marks += [
                picture(152 + size * k, y - size / 2, size, address) for k, address in enumerate(thumbnails[row.name])
            ]
        marks.append(line(at(row.low), y, at(row.high), y))
        marks.append(dot(at(row.share), y, FIRST if row.share >= 0.5 else SECOND))
        written = f"{100 * row.share:.0f} ({100 * row.low:.0f}–{100 * row.high:.0f})"
        marks.append(label(WIDTH, y + 4, written, "end"))
        spoken.append(f"{row.name}: {written}")
    marks += [label(at(place / 4), base + 18, f"{25 * place}") for place in range(5)]
    return svg(title, "; ".join(spoken), base + 26, marks)


def caterpillar(title: str, effects: Caterpillar, z: float) -> str:
    """Draw random effects in rising order with their intervals.

    Args:
        title: What they are of.
        effects: In rising order, on the logit scale.
        z: Standard deviations to either side.
    """
    count = len(effects.effects)
    places = np.unique(np.linspace(0, count - 1, min(count, MOST_MARKS)).astype(int))
    middle, wide = np.array(effects.effects), z * np.array(effects.errors)
    limit = float(max(0.1, np.max(np.abs(middle) + wide)))
    left, top, height = 40, 8, 150

    def at(place: int, effect: float) -> tuple[float, float]:
        return left + (WIDTH - left - 6) * (place + 0.5) / count, top + height * (0.5 - effect / (2 * limit))

    marks = [line(left, at(0, 0)[1], WIDTH, at(0, 0)[1], dashed=True)]
    for place in places.tolist():
        (x, low), (_, high) = at(place, middle[place] - wide[place]), at(place, middle[place] + wide[place])
        marks += [line(x, low, x, high, stroke="#888"), dot(x, at(place, middle[place])[1], FIRST, 1.8)]
    marks += [label(left - 6, at(0, value)[1] + 4, f"{value:.1f}", "end") for value in (-limit, 0.0, limit)]
    shown = f"{len(places)} of {count} drawn" if len(places) < count else f"{count} drawn"
    spoken = f"{shown}; from {middle[0]:.2f} to {middle[-1]:.2f} on the logit scale"
    return svg(title, spoken, top + height + 12, marks)


def sequence(first_arm: str, found: Monitoring) -> str:
    """Draw the confidence sequence of the mean score against the raters counted so far."""
    left, top, height = 46, 10, 150
    places = np.unique(np.linspace(0, len(found.after) - 1, min(len(found.after), MOST_MARKS)).astype(int))

    def at(place: int, share: float) -> tuple[float, float]:
        return left + (WIDTH - left - 12) * found.after[place] / found.raters, top + height * (1 - share)

    upper = [at(place, float(found.high[place])) for place in places.tolist()]
    lower = [at(place, float(found.low[place])) for place in places.tolist()]
    marks = [path([*upper, *lower[::-1]], stroke=FIRST, fill=FIRST, opacity=0.2)]
    marks += [line(left, top + height / 2, WIDTH, top + height / 2, dashed=True)]
    marks += [label(left - 6, top + height * (1 - share) + 4, f"{100 * share:g}%", "end") for share in (0, 0.5, 1)]
    if found.stop_after is not None:
        x = left + (WIDTH - left - 12) * found.stop_after / found.raters
        marks.append(line(x, top, x, top + height, stroke=SECOND))
    marks.append(label(WIDTH / 2, top + height + 18, f"raters so far, of {found.raters:,}"))
    spoken = f"after all raters from {100 * found.low[-1]:.1f}% to {100 * found.high[-1]:.1f}%"
    title = f"Confidence sequence of the mean score for {first_arm}"
    return svg(title, spoken, top + height + 26, marks)


def heat_map(pairs: Sequence[int], raters: Sequence[int], power: Array) -> str:
    """Draw power by pairs and raters, each number written.

    Args:
        pairs: P numbers of pairs, drawn from the bottom.
        raters: R numbers of raters, drawn from the left.
        power: (P, R) from 0 to 1.
    """
    left, top, step = 70, 8, 30
    wide = (WIDTH - left) / len(raters)
    base = top + step * len(pairs)
    marks, spoken = [], []
    for row, count in enumerate(pairs):
        y = base - step * (row + 1)
        marks.append(label(left - 8, y + 20, f"{count:,}", "end"))
        for column, size in enumerate(raters):
            value = float(power[row, column])
            x = left + wide * column
            marks.append(box(x, y, wide, step, _shade(value)))
            marks.append(label(x + wide / 2, y + 20, f"{100 * value:.0f}", fill="#fff" if value > 0.55 else "#000"))
            spoken.append(f"{count} pairs, {size} raters: {100 * value:.0f}%")
    marks += [label(left + wide * (place + 0.5), base + 18, f"{size:,}") for place, size in enumerate(raters)]
    marks += [label(left + (WIDTH - left) / 2, base + 38, "raters"), label(4, top + 8, "pairs", "start")]
    return svg("Power in percent, by pairs and raters", "; ".join(spoken), base + 46, marks)


def _shade(value: float) -> str:
    """Return white for 0 and a dark blue for 1."""
    ends = ((255, 255, 255), (0, 72, 120))
    return "#" + "".join(f"{round(a + (b - a) * value):02x}" for a, b in zip(*ends, strict=True))
