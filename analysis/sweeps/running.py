"""Running a sweep from its file to its results, in one of any number of processes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.files import write_files
from analysis.sweeps.definition import Arms, GuidingKind, Scales, Sweep, SweepError, load_sweep
from analysis.sweeps.jobs import Job, Observer, PointJob, TrainingJob, jobs_of, work
from analysis.sweeps.measuring import Laboratory
from analysis.sweeps.points import Cell, best_scales, cells_of
from analysis.sweeps.results import Result
from analysis.sweeps.store import Store, name_data


@dataclass(frozen=True)
class Runner:
    """Where and how sweeps are run.

    Attributes:
        store: where points are kept.
        device: where this process computes.
        beside: the folder of the sweep's file, where sweeps that it names are looked for.
        changes: applies the command line's changes to a sweep.
        observer: told how it gets on.
        first: whether this process writes the results.
    """

    store: Store
    device: torch.device
    beside: Path
    changes: Callable[[Sweep], Sweep]
    observer: Observer
    first: bool = True

    def run(self, sweep: Sweep) -> Result:
        """Do a sweep, and before it the one whose best scales it takes.

        Raises:
            KeyboardInterrupt: the observer said to stop.
            GenerationError: what cannot be done, with the remedy.
        """
        inner = self.inner(sweep)
        best = self.best(self.run(inner)) if inner else None
        laboratory = Laboratory(sweep, self.store, self.device)
        cells = self.cells(laboratory, best)
        trainings, points = jobs_of(laboratory, cells)
        jobs: list[Job] = [*trainings, *points.values()]
        self.check(laboratory, list(points.values()))
        work(jobs, self.store, self.observer)
        result = Result(sweep, cells, [self.store.read(points[cell.point.key].key) for cell in cells])
        if self.first:
            self.write(result)
        return result

    def inner(self, sweep: Sweep) -> Sweep | None:
        """Return the sweep that decides a sweep's best scales, if it asks for one.

        Raises:
            SweepError: that one goes over something else, or does not measure FID, or is of another preset.
        """
        if not isinstance(sweep.grid, Arms) or sweep.grid.best_of is None:
            return None
        inner = self.changes(load_sweep(sweep.grid.best_of, self.beside))
        if not isinstance(inner.grid, Scales) or "fid" not in inner.metrics.names:
            raise SweepError(f"grid.best_of = {inner.name!r}: name a sweep of kind 'scales' that measures fid.")
        if inner.preset != sweep.preset:
            raise SweepError(
                f"grid.best_of = {inner.name!r} is of preset {inner.preset.name}, this one of {sweep.preset.name}: "
                "their scales do not compare."
            )
        return inner

    @staticmethod
    def best(result: Result) -> dict[GuidingKind, float]:
        """Return each arm's scale of lowest FID."""
        return best_scales(result.fids())

    def cells(self, laboratory: Laboratory, best: dict[GuidingKind, float] | None) -> list[Cell]:
        """Return a sweep's cells; the training data are read only where something is to be trained."""
        sweep = laboratory.sweep
        cells = cells_of(sweep, "", best)
        if any(network.training for cell in cells for network in cell.point.networks):
            cells = cells_of(sweep, name_data(laboratory.training_data), best)
        return cells

    def check(self, laboratory: Laboratory, points: list[PointJob]) -> None:
        """Raise what would stop the sweep in its course, before anything is computed."""
        _ = laboratory.extractor, laboratory.reference_key
        for point in points:
            if point.is_ready():
                point.plan.check()
                _ = point.key

    def write(self, result: Result) -> None:
        """Write the results' files.

        Raises:
            SweepError: they cannot be written.
        """
        try:
            paths = write_files(self.store.folder, result.files())
        except OSError as error:
            raise SweepError(f"{self.store.folder} cannot be written ({error}): choose another --output.") from error
        for line in result.remarks():
            self.observer.tell(line)
        self.observer.tell(f"{result.sweep.name}: {', '.join(str(path) for path in paths)}")


@dataclass(frozen=True)
class Outline:
    """What is to do for a sweep.

    Attributes:
        sweep: which.
        trainings: that are not done.
        points: that are not done.
        done: points that are.
        follows: what is known only after other points, in words.
    """

    sweep: Sweep
    laboratory: Laboratory
    trainings: list[TrainingJob]
    points: list[PointJob]
    done: int
    follows: str = ""


def outlines(runner: Runner, sweep: Sweep) -> list[Outline]:
    """Return what is to do, the sweep that decides best scales first; nothing is written."""
    inner, before, best, follows = runner.inner(sweep), [], None, ""
    if inner:
        before = outlines(runner, inner)
        if before[-1].points:
            follows = f"the best scales of {inner.name} add up to 2 points"
        else:
            laboratory = Laboratory(inner, runner.store, runner.device)
            cells = runner.cells(laboratory, None)
            points = jobs_of(laboratory, cells)[1]
            best = runner.best(Result(inner, cells, [runner.store.read(points[cell.point.key].key) for cell in cells]))
    laboratory = Laboratory(sweep, runner.store, runner.device)
    trainings, points = jobs_of(laboratory, runner.cells(laboratory, best))
    missing = [point for point in points.values() if not point.is_done()]
    left = [training for training in trainings if not training.is_done()]
    return [*before, Outline(sweep, laboratory, left, missing, len(points) - len(missing), follows)]
