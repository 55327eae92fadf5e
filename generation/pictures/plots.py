"""Plots of the numbers beside the pictures, as SVG and as PNG for print."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from generation.checkpoints import write_atomically
from generation.pictures.gradients import Energy
from generation.pictures.intervals import Mean
from generation.pictures.sheets import DPI
from generation.training.accuracy_plot import COLOURS, MARKS, NO_METADATA

ENDINGS = (".svg", ".png")
# As in the report, whose arms stand by name.
LOOKS = {"robust": 0, "vanilla": 1}


def write_energy_plot(energy: Energy, path: Path) -> list[Path]:
    """Plot the share of gradient energy on the object against the timestep.

    Args:
        energy: what was measured.
        path: the files' path without ending.

    Returns:
        The files.

    Raises:
        CheckpointError: a file cannot be written.
    """
    with mpl.rc_context({"svg.hashsalt": "gradients", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        axis = figure.subplots()
        timesteps = [at.timestep for at in energy.at]
        for number, name in enumerate(energy.names):
            _draw(axis, timesteps, [at.shares[number] for at in energy.at], number, name)
        area = energy.area
        axis.axhline(area.value, color="#555555", linestyle="--", linewidth=1, label="pixels on the object")
        axis.set(xlabel="timestep t", ylabel="gradient energy on the object", ylim=(0, 1))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.grid(visible=True, color="#dddddd")
        axis.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return _write(figure, path)


def _draw(axis: Axes, x: Sequence[int], means: Sequence[Mean], number: int, name: str) -> None:
    look = LOOKS.get(name, number)
    colour, mark = COLOURS[look % len(COLOURS)], MARKS[look % len(MARKS)]
    values = [mean.value for mean in means]
    reach = [max(0.0, mean.high - mean.value) if mean.images > 1 else 0.0 for mean in means]
    axis.errorbar(x, values, reach, color=colour, marker=mark, markersize=4, capsize=3, linewidth=1.2, label=name)


def _write(figure: Figure, path: Path) -> list[Path]:
    files = [path.with_name(path.name + ending) for ending in ENDINGS]
    for file in files:
        form, metadata = file.suffix[1:], NO_METADATA[file.suffix]
        write_atomically(file, lambda to: figure.savefig(to, format=form, dpi=DPI, metadata=metadata))  # noqa: B023
    return files
