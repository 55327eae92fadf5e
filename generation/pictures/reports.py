"""Numbers beside the pictures, as files: JSON with what it assumes, CSV with a line for each number."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generation.checkpoints import write_atomically
from generation.pictures.gradients import Energy
from generation.pictures.heldout import Named
from generation.pictures.intervals import CONFIDENCE, Mean

Table = Sequence[Sequence[str | int | float | None]]


def energy_assumptions(energy: Energy, *, data: str, seed: int, where: str) -> list[str]:
    """Say what the shares of energy take for granted, a sentence each.

    Args:
        energy: what was measured.
        data: the held-out images' name.
        seed: of the noise.
        where: how the object was told from the ground.
    """
    left_out = max(at.left_out for at in energy.at)
    sentences = [
        (
            f"{energy.area.images} held-out images of {data}, each with one draw of noise for each timestep, the same "
            f"for both classifiers (seed {seed})."
        ),
        f"Energy is the sum of the squared gradient of log p(y | x_t, t) for the true class y; the object is {where}.",
        (
            f"Intervals: {CONFIDENCE:.0%}, Student's, over the images as independent draws from all images like these; "
            "the classifiers are taken as they are, and another training would give others."
        ),
        (
            f"Each interval stands for itself; the difference ({energy.names[-1]} less {energy.names[0]}) is taken "
            "image by image."
        ),
        "The object's share of the pixels is what a gradient would give that knows of no object.",
    ]
    if left_out:
        sentences.append(
            f"Images whose gradient is zero throughout for some classifier are left out: {left_out} at most."
        )
    return sentences


def energy_as_dict(energy: Energy) -> dict[str, Any]:
    """Return the shares as plain values."""
    return {
        "area": energy.area.as_dict(),
        "timesteps": [
            {
                "timestep": at.timestep,
                "shares": {name: share.as_dict() for name, share in zip(energy.names, at.shares, strict=True)},
                "difference": at.difference.as_dict(),
                "left_out": at.left_out,
            }
            for at in energy.at
        ],
    }


def energy_table(energy: Energy) -> Table:
    """Return the shares as lines; the pixels' share and the differences are lines as well."""
    header = ["timestep", "what", "mean", "low", "high", "images"]
    lines: list[list[str | int | float | None]] = [["", "pixels on the object", *_cells(energy.area)]]
    for at in energy.at:
        lines += [[at.timestep, name, *_cells(share)] for name, share in zip(energy.names, at.shares, strict=True)]
        lines.append([at.timestep, f"{energy.names[-1]} less {energy.names[0]}", *_cells(at.difference)])
    return [header, *lines]


def describe_classifiers(classifiers: Sequence[Named]) -> list[dict[str, str]]:
    """Return which files the classifiers are."""
    return [{"name": classifier.name, "sha256": classifier.sha256} for classifier in classifiers]


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write plain values.

    Raises:
        CheckpointError: the file cannot be written.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: Table) -> None:
    """Write lines of cells.

    Raises:
        CheckpointError: the file cannot be written.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    write_atomically(path, lambda temporary: temporary.write_text(buffer.getvalue(), encoding="utf-8"))


def _cells(mean: Mean) -> list[float | int | None]:
    return list(mean.as_dict().values())
