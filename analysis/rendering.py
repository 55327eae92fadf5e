"""One report in each format: JSON, CSV tables, LaTeX, plain text, and HTML by Django's templates."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from analysis import plots
from analysis.document import to_dict
from analysis.latex import render_document, render_latex
from analysis.report import Report
from analysis.sections import Thumbnails, context
from analysis.tables import render_tables
from analysis.wording import NO_ANSWERS, consistency_line, heading, share_text, verdict

DEFAULT_FORMATS = ("html", "json", "csv")
STYLESHEET = "analysis/report.css"


def render_files(
    report: Report, formats: Iterable[str] = DEFAULT_FORMATS, thumbnails: Thumbnails | None = None
) -> dict[str, str]:
    """Return the report's files, name to text.

    Args:
        report: What to write.
        formats: Of html, json, csv and latex.
        thumbnails: Per pair's name, the two images' addresses; for the HTML.

    Raises:
        ValueError: For an unknown format.
    """
    files: dict[str, str] = {}
    for name in formats:
        if name not in FORMATS:
            message = f"unknown format {name!r}; choose from {','.join(FORMATS)}"
            raise ValueError(message)
        files |= FORMATS[name](report, thumbnails or {})
    return files


def render_json(report: Report) -> str:
    """Return report.json's text: strict JSON, without NaN."""
    return json.dumps(to_dict(report), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def render_text(report: Report) -> str:
    """Return what `export_report` prints: per comparison the verdict, the threshold table and its check."""
    parts = list(report.notes)
    for comparison in report.comparisons:
        head = ["Threshold", heading(comparison.first_arm), heading(comparison.second_arm), "No preference"]
        rows = [
            [
                f"{plots.threshold_text(row.threshold)}%",
                *(share_text(count, row.pairs) for count in (row.first, row.second, row.none)),
            ]
            for row in comparison.thresholds
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        parts += ["\n".join(table), consistency_line(comparison.consistency), verdict(comparison)]
    return "\n\n".join(parts if report.comparisons else [*parts, NO_ANSWERS])


def render_html(report: Report, thumbnails: Thumbnails | None = None) -> str:
    """Return report.html: one file that needs nothing else, on screen or paper."""
    page = {**context(report, thumbnails or {}), "style": stylesheet()}
    return render_to_string("analysis/export.html", page)


def stylesheet() -> SafeString:
    """Return the style sheet, to put into a page."""
    style = (Path(settings.BASE_DIR) / "static" / STYLESHEET).read_text(encoding="utf-8")
    return mark_safe(style)  # noqa: S308 - ours


def render_fragment(report: Report, thumbnails: Thumbnails | None = None) -> str:
    """Return the report's part of the page for staff."""
    return render_to_string("analysis/_report.html", context(report, thumbnails or {}))


def render_plots(report: Report) -> dict[str, str]:
    """Return the plots as SVG files, name to text, one set per comparison."""
    files: dict[str, str] = {}
    for comparison in context(report, {})["comparisons"]:
        stem = f"{comparison['first_arm']}-{comparison['second_arm']}"
        files |= {f"{_plain(stem)}-{name}.svg": text + "\n" for name, text in comparison["plots"].items() if text}
    return files


def _plain(name: str) -> str:
    """Return a name that can be a file's."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name)


Format = Callable[[Report, Mapping[str, tuple[str, str]]], dict[str, Any]]
FORMATS: dict[str, Format] = {
    "html": lambda report, thumbnails: {"report.html": render_html(report, thumbnails)},
    "json": lambda report, _: {"report.json": render_json(report)},
    "csv": lambda report, _: render_tables(report),
    "latex": lambda report, _: {"thresholds.tex": render_latex(report), "report.tex": render_document(report)},
    "svg": lambda report, _: render_plots(report),
}
