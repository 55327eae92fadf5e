"""The marks that plots are made of: small SVG texts that need no script, style sheet or font of their own."""

from collections.abc import Sequence
from html import escape

FIRST, SECOND, NEITHER = "#0072b2", "#e69f00", "#c9c9c9"
WIDTH = 480
_TEXT = 'font-family="system-ui, sans-serif" font-size="13"'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """Return a filled rectangle with a thin edge."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill}" '
        'stroke="#555" stroke-width="0.5"/>'
    )


def label(x: float, y: float, text: str, anchor: str = "middle", fill: str = "currentColor") -> str:
    """Return a text, which must be escaped already."""
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{fill}">{text}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, stroke: str = "currentColor") -> str:
    """Return a straight line."""
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{stroke}"{dash}/>'


def dot(x: float, y: float, fill: str, radius: float = 4) -> str:
    """Return a filled circle."""
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:g}" fill="{fill}"/>'


def path(points: Sequence[tuple[float, float]], *, stroke: str, fill: str = "none", opacity: float = 1.0) -> str:
    """Return a polyline, or an area if it has a fill."""
    if not points:
        return ""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    close = "" if fill == "none" else " Z"
    return f'<path d="M{steps}{close}" fill="{fill}" fill-opacity="{opacity:g}" stroke="{stroke}" stroke-width="1.5"/>'


def picture(x: float, y: float, size: float, source: str) -> str:
    """Return an image in a square; the source is an address or the image itself as a data address."""
    return f'<image x="{x:.2f}" y="{y:.2f}" width="{size:g}" height="{size:g}" href="{escape(source)}"/>'


def shorten(name: str, limit: int = 16) -> str:
    """Return a name cut to a length."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def svg(title: str, description: str, height: float, marks: Sequence[str], width: float = WIDTH) -> str:
    """Return the whole plot, with a title and a description for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:.0f}" role="img" {_TEXT}>'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(marks)}</svg>"
    )
