"""Classifiers' accuracy against the attack's radius, a panel for each bucket of timesteps, as PNG, SVG or PDF."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from generation.checkpoints import write_atomically
from generation.errors import SettingsError
from generation.training.accuracy_report import NORM_NAMES, AccuracyReport, Examined
from generation.training.evaluation import Share

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which colour-blind readers tell apart, and marks that grey print does.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
# The same file from the same numbers: no date, no random names in it.
NO_METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def check_plot_path(path: Path) -> None:
    """Refuse endings that are no format of a plot.

    Raises:
        SettingsError: another ending.
    """
    if path.suffix not in FORMATS:
        raise SettingsError(f"--output {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")


def write_plot(report: AccuracyReport, path: Path) -> None:
    """Draw accuracy against the radius; a radius of 0 is the clean accuracy, bars are Wilson's intervals.

    Args:
        report: what was measured.
        path: the file; its ending decides the format.

    Raises:
        SettingsError: no such format.
        CheckpointError: the file cannot be written.
    """
    check_plot_path(path)
    buckets = report.examination.buckets
    with mpl.rc_context({"svg.hashsalt": "accuracy", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.2 * len(buckets), 3.6), layout="constrained")
        axes = figure.subplots(1, len(buckets), sharey=True, squeeze=False)[0]
        for place, ((first, last), axis) in enumerate(zip(buckets, axes, strict=True)):
            for number, examined in enumerate(report.classifiers):
                _draw(axis, examined, place, number)
            axis.set(title=f"timesteps {first} to {last}", ylim=(0, 1))
            axis.grid(visible=True, color="#dddddd")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes[0].set_ylabel("classified correctly")
        norm = NORM_NAMES[report.examination.norm]
        figure.supxlabel(f"radius of the attack ({norm}, pixels in [-1, 1])", fontsize="medium")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        suffix = path.suffix
        write_atomically(
            path,
            lambda temporary: figure.savefig(temporary, format=suffix[1:], dpi=150, metadata=NO_METADATA[suffix]),
        )


def _draw(axis: Axes, examined: Examined, place: int, number: int) -> None:
    bucket = examined.buckets[place]
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    # Side by side, so that no bar hides another's.
    aside = 0.012 * number * bucket.radii[-1].epsilon
    radii = [aside, *(aside + radius.epsilon for radius in bucket.radii)]
    shares = [bucket.clean, *(radius.attacked for radius in bucket.radii)]
    axis.errorbar(radii, *_with_bars(shares), color=colour, marker=mark, capsize=3, label=f"{examined.name}, PGD")
    strong = [(aside + radius.epsilon, radius.ensemble.both) for radius in bucket.radii if radius.ensemble is not None]
    if strong:
        axis.errorbar(
            [epsilon for epsilon, _ in strong],
            *_with_bars([share for _, share in strong]),
            color=colour,
            marker=mark,
            markerfacecolor="white",
            linestyle=":",
            capsize=3,
            label=f"{examined.name}, PGD + AutoAttack",
        )


def _with_bars(shares: list[Share]) -> tuple[list[float], list[list[float]]]:
    """Return the shares, and how far each one's interval reaches below and above it."""
    values = [share.value for share in shares]
    intervals = [share.interval() for share in shares]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, intervals, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, intervals, strict=True)]
    return values, [below, above]
