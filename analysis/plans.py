"""A plan's power grid in each format."""

import csv
import io
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from analysis.charts import heat_map
from analysis.planning import PowerGrid, trade
from analysis.rendering import stylesheet

HEADER = ("pairs", "raters", "answers_with_a_side", "power", "half_width", "studies")


def render_plan_csv(grid: PowerGrid) -> str:
    """Return a row per size."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    for row, pairs in enumerate(grid.pairs):
        for column, raters in enumerate(grid.raters):
            asked = min(grid.scenario.pairs_per_rater or pairs, pairs)
            answers = raters * asked * (1 - grid.scenario.tie_rate)
            width = f"{grid.half_width[row, column]:.5f}".replace("nan", "")
            writer.writerow([pairs, raters, f"{answers:.0f}", f"{grid.power[row, column]:.4f}", width, grid.studies])
    return file.getvalue()


def render_plan_svg(grid: PowerGrid) -> str:
    """Return the heat map."""
    return heat_map(grid.pairs, grid.raters, grid.power) + "\n"


def render_plan_text(grid: PowerGrid) -> str:
    """Return the table that the command prints: power in percent, pairs down, raters across."""
    head = ["pairs \\ raters", *map(str, grid.raters)]
    rows = [[str(pairs), *(f"{100 * value:.0f}%" for value in grid.power[row])] for row, pairs in enumerate(grid.pairs)]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )
    return f"{_asked(grid)}\n\n{table}\n\n{trade(grid)}"


def render_plan_html(grid: PowerGrid) -> str:
    """Return the plan's part of its page."""
    page: dict[str, Any] = {
        "asked": _asked(grid),
        "trade": trade(grid),
        "plot": mark_safe(heat_map(grid.pairs, grid.raters, grid.power)),  # noqa: S308 - numbers only
        "assumes": grid.assumes,
        "raters": grid.raters,
        "rows": [
            (pairs, [
                (f"{100 * power:.0f}%", f"± {100 * half:.1f}")
                for power, half in zip(grid.power[row], grid.half_width[row], strict=True)
            ])
            for row, pairs in enumerate(grid.pairs)
        ],
    }  # fmt: skip
    return render_to_string("analysis/_plan.html", page)


def render_plan_page(grid: PowerGrid) -> str:
    """Return plan.html: one file that needs nothing else."""
    fragment = mark_safe(render_plan_html(grid))  # noqa: S308 - rendered by the template above
    return render_to_string("analysis/plan_export.html", {"fragment": fragment, "style": stylesheet()})


def _asked(grid: PowerGrid) -> str:
    scenario = grid.scenario
    return (
        f"Power to find a preference of {100 * grid.share:.1f}% at {100 * grid.confidence:g}% confidence, with "
        f"{100 * scenario.tie_rate:g}% “Same”, a pair SD of {scenario.pair_sd:g} and a rater SD of "
        f"{scenario.rater_sd:g} on the logit scale ({grid.studies:,} studies per size)."
    )
