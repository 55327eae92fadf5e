"""A training's record: a line of JSON for each entry, and TensorBoard's scalars."""

import json
import math
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from generation.checkpoints import write_atomically
from generation.errors import CheckpointError
from generation.training.loop import Metrics

METRICS = "metrics.jsonl"
EVENTS = "tensorboard"


class MetricsLog:
    """Appends to `metrics.jsonl` and to `tensorboard/<kind>` in a training's folder.

    A line is `{"kind": ..., "step": ..., "phase": "training" or "validation", name: value, ...}`; several trainings may
    share the file. A resumed training drops the lines after the step that it resumes from.
    """

    def __init__(self, folder: Path, kind: str, step: int) -> None:
        """Open the record.

        Args:
            folder: the training's.
            kind: `diffusion`, `robust` or `vanilla`.
            step: finished iterations; later entries of this kind are dropped.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        self.path = folder / METRICS
        self.kind = kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._drop_after(step)
            self._events = SummaryWriter(str(folder / EVENTS / kind), purge_step=step + 1 if step else None)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, phase: str, step: int, metrics: Metrics) -> None:
        """Add an entry.

        Raises:
            CheckpointError: it cannot be written.
        """
        # JSON has no infinities, which a float16 training's gradients now and then are.
        numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        entry = {"kind": self.kind, "step": step, "phase": phase, **numbers}
        try:
            # Opened anew each time: a training beside this one may have replaced the file.
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            for name, value in metrics.items():
                self._events.add_scalar(f"{phase}/{name}", value, step)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Write out what TensorBoard's file still waits for."""
        self._events.close()

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not self._is_later(line, step)]
        if kept != lines:
            text = "".join(f"{line}\n" for line in kept)
            write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def _is_later(self, line: str, step: int) -> bool:
        try:
            entry: Any = json.loads(line)
            return bool(entry["kind"] == self.kind and entry["step"] > step)
        except (ValueError, KeyError, TypeError):
            # A line that a killed training has left half written.
            return True

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self.path} cannot be written ({error}): free space, or choose another folder.")
