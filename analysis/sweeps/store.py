"""A folder of points and trainings, which sweeps share: each is there whole or not at all, and made by one process.

A point's file is named by a hash of all that decides its values, so that a changed setting finds no point and makes
one, and a setting that is changed back finds the old one. Who makes what is settled by locks that the system releases
when a process ends, however it ends.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.metrics.estimates import Estimate
from analysis.metrics.evaluation import ArmMetrics
from analysis.metrics.extrapolation import Extrapolation
from analysis.sweeps.definition import SweepError
from analysis.sweeps.points import Network, TrainingPlan
from generation.checkpoints import write_atomically
from generation.datasets import LabelledImages
from generation.datasets.folders import ImageFiles
from generation.training.session import Session

SIDES = ("generated", "reference")


@dataclass(frozen=True)
class Measured:
    """A point's values.

    Attributes:
        metrics: with each image's influence, so that any two points can be subtracted pair by pair.
        circumstances: from `results.circumstances`.
        record: what else its file tells: its settings, the samples' file, seconds, and who made it.
    """

    metrics: ArmMetrics
    circumstances: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """The folder.

    Attributes:
        folder: where; it need not exist.
    """

    folder: Path

    def training(self, plan: TrainingPlan) -> Session:
        """Return where a training is kept."""
        return Session(self.folder / "training" / plan.key, plan.kind, plan.preset, plan.save_every, keep=plan.keep)

    def checkpoint(self, network: Network) -> Path:
        """Return a network's file, which may not be there yet."""
        if network.training:
            return self.training(network.training).kept(network.iteration)
        if network.path is None:
            raise ValueError(f"{network} is neither a file nor of a training.")
        return network.path

    def samples(self, key: str) -> Path:
        """Return a point's images' file."""
        return self.folder / "samples" / f"{key}.npz"

    def reference(self, key: str) -> Path:
        """Return the file of held-out images."""
        return self.folder / "reference" / f"{key}.npz"

    def holds(self, key: str) -> bool:
        """Say whether a point is measured."""
        return self._point(key).is_file()

    def write(self, key: str, measured: Measured) -> None:
        """Keep a point: first what the differences need, then the file that says it is there.

        Raises:
            CheckpointError: it cannot be written.
        """
        path, metrics = self._point(key), measured.metrics
        influences = {
            f"{name}-{side}": influence.double().cpu().numpy()
            for name, estimate in metrics.estimates.items()
            for side in SIDES
            if (influence := getattr(estimate, side)) is not None
        }
        line = metrics.extrapolation
        contents = {
            "values": {name: estimate.value for name, estimate in metrics.estimates.items()},
            "errors": {name: estimate.standard_error for name, estimate in metrics.estimates.items()},
            "count": metrics.count,
            "unavailable": metrics.unavailable,
            "warnings": metrics.warnings,
            "extrapolation": [line.value, line.counts, line.distances] if line else None,
            "circumstances": measured.circumstances,
            "record": measured.record,
        }
        text = json.dumps(contents, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path.with_suffix(".npz"), lambda temporary: _save(temporary, influences))
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def read(self, key: str) -> Measured:
        """Return a point.

        Raises:
            SweepError: its files are not what was written.
        """
        path = self._point(key)
        try:
            contents = json.loads(path.read_text(encoding="utf-8"))
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                influences = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            return Measured(_metrics(contents, influences), contents["circumstances"], contents["record"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise SweepError(f"{path} cannot be read ({error}): remove it, and the point is measured again.") from error

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Yield whether this process alone may make something; no other may until it leaves, or ends."""
        path = self.folder / "claims" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _point(self, key: str) -> Path:
        return self.folder / "points" / f"{key}.json"


def _metrics(contents: Mapping[str, Any], influences: Mapping[str, Tensor]) -> ArmMetrics:
    line = contents["extrapolation"]
    return ArmMetrics(
        count=contents["count"],
        estimates={
            name: Estimate(value, *(influences.get(f"{name}-{side}") for side in SIDES))
            for name, value in contents["values"].items()
        },
        extrapolation=Extrapolation(line[0], tuple(line[1]), tuple(line[2])) if line else None,
        unavailable=contents["unavailable"],
        warnings=contents["warnings"],
    )


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def name_data(data: LabelledImages) -> str:
    """Return 16 hexadecimal digits that name a split's content: its pixels and labels, or its files and their sizes."""
    name = hashlib.sha256(data.labels.numpy().tobytes())
    if isinstance(data.images, ImageFiles):
        for row in range(len(data)):
            path = data.images.path(row)
            name.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
    else:
        name.update(data.images.numpy().tobytes())
    return name.hexdigest()[:16]


def name_files(path: Path) -> str:
    """Return 16 hexadecimal digits that name a reference's content: a file's, or those of a folder's files.

    Raises:
        SweepError: there is no such path.
    """
    if not path.exists():
        raise SweepError(f"metrics.reference: there is no {path}; give held-out, a folder of images or an .npz.")
    name = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
        name.update(f"{file.relative_to(path)}\n".encode())
        with file.open("rb") as content:
            name.update(hashlib.file_digest(content, "sha256").digest())
    return name.hexdigest()[:16]
