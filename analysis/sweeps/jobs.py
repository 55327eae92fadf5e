"""What a sweep has to do, as jobs that any number of processes take from one list, each job one process at a time."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch

from analysis.sweeps.measuring import Laboratory
from analysis.sweeps.points import Cell, Point, TrainingPlan, digest
from analysis.sweeps.store import Store
from generation.plans import SamplingPlan
from generation.training.acceleration import build_accelerator
from generation.training.loop import Metrics
from generation.training.session import train
from generation.training.tasks import Training, classifier_training, diffusion_training

POLL_SECONDS = 1.0


class Observer(Protocol):
    """Who is told how a process gets on."""

    def tell(self, note: str) -> None:
        """Hear a sentence."""

    def bar(self, name: str, total: int, unit: str) -> AbstractContextManager[Callable[[float], object]]:
        """Open a progress bar; the function that it yields is told how much is done."""

    def goes_on(self) -> bool:
        """Say whether to go on."""


class Job(Protocol):
    """A piece of work.

    Attributes:
        name: what people call it.
        key: what processes tell it by.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def key(self) -> str: ...  # noqa: D102

    def is_ready(self) -> bool:
        """Say whether all that it needs is there."""

    def is_done(self) -> bool:
        """Say whether its result is there, whole."""

    def run(self, observer: Observer) -> None:
        """Do it, or what is left of it; KeyboardInterrupt where the observer says no."""


def build_training(plan: TrainingPlan, device: torch.device) -> Training:
    """Return what a plan trains, on a device."""
    if plan.kind == "diffusion":
        return diffusion_training(plan.preset, plan.recipe, device)
    return classifier_training(plan.preset, plan.kind, plan.recipe, plan.attack, device)


@dataclass(frozen=True)
class TrainingJob:
    """Trains a network, or goes on where a training stopped."""

    laboratory: Laboratory
    plan: TrainingPlan

    @property
    def name(self) -> str:
        """The network, and its attack."""
        attack = self.plan.attack
        by = f" against {attack.threat_model} {attack.epsilon:g} in {attack.steps} steps" if attack else ""
        return f"training {self.plan.kind}{by}, {self.plan.recipe.iterations} iterations"

    @property
    def key(self) -> str:
        """Names what decides the weights."""
        return self.plan.key

    def is_ready(self) -> bool:
        """Say yes: a training needs data only."""
        return True

    def is_done(self) -> bool:
        """Say whether all its checkpoints are there."""
        session = self.laboratory.store.training(self.plan)
        return all(session.kept(iteration).is_file() for iteration in self.plan.keep)

    def run(self, observer: Observer) -> None:
        """Train."""
        plan, session = self.plan, self.laboratory.store.training(self.plan)
        accelerator = build_accelerator(self.laboratory.device.type, plan.precision)
        training = build_training(plan, accelerator.device)
        torch.manual_seed(plan.recipe.seed)
        network = training.build(plan.preset)
        with observer.bar(self.name, plan.recipe.iterations, "it") as on_progress:

            def on_step(step: int, _metrics: Metrics) -> bool:
                on_progress(step)
                return observer.goes_on()

            trainer = train(
                session,
                network,
                plan.recipe,
                self.laboratory.training_data,
                training.objective,
                accelerator=accelerator,
                resume=session.state.exists(),
                initial=plan.initial,
                on_step=on_step,
            )
        if trainer.step < plan.recipe.iterations:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class PointJob:
    """Samples and measures a point.

    Attributes:
        laboratory: where.
        point: what.
        name: the cell that it is for.
    """

    laboratory: Laboratory
    point: Point
    name: str

    def is_ready(self) -> bool:
        """Say whether its networks are trained; files that were named are looked for when it runs."""
        store = self.laboratory.store
        return all(store.checkpoint(each).is_file() for each in self.point.networks if each.training)

    @cached_property
    def plan(self) -> SamplingPlan:
        """What to sample; only once it is ready."""
        return self.laboratory.plan(self.point)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides its values; only once it is ready."""
        return self.laboratory.identity(self.plan)

    @cached_property
    def key(self) -> str:
        """Names its values; only once it is ready."""
        return digest(self.identity)

    def is_done(self) -> bool:
        """Say whether it is measured."""
        return self.is_ready() and self.laboratory.store.holds(self.key)

    def run(self, observer: Observer) -> None:
        """Sample, measure, keep."""
        laboratory, total = self.laboratory, self.plan.count
        with observer.bar(self.name, total, "image") as on_progress:

            def on_images(done: float, _total: int) -> None:
                on_progress(done)
                if not observer.goes_on():
                    raise KeyboardInterrupt

            measured = laboratory.measure(self.plan, self.identity, on_progress=on_images, on_note=observer.tell)
        laboratory.store.write(self.key, measured)
        laboratory.drop_samples(self.identity)
        for warning in measured.metrics.warnings:
            observer.tell(f"{self.name}: {warning}")
        values = (f"{name} {estimate.value:.4g}" for name, estimate in measured.metrics.estimates.items())
        seconds = sum(measured.record["seconds"].values())
        observer.tell(f"{self.name}: {', '.join(values)} ({seconds / 60:.1f} minutes)")


def jobs_of(laboratory: Laboratory, cells: Sequence[Cell]) -> tuple[list[TrainingJob], dict[Any, PointJob]]:
    """Return the trainings that cells need, and their points by key, each once."""
    trainings: dict[str, TrainingJob] = {}
    points: dict[Any, PointJob] = {}
    for cell in cells:
        for network in cell.point.networks:
            if network.training:
                trainings.setdefault(network.training.key, TrainingJob(laboratory, network.training))
        points.setdefault(cell.point.key, PointJob(laboratory, cell.point, cell.name))
    return list(trainings.values()), points


def work(jobs: Sequence[Job], store: Store, observer: Observer) -> None:
    """Do what nobody else does, until all is done by whomever.

    Raises:
        KeyboardInterrupt: the observer said to stop.
        GenerationError: a job cannot be done.
    """
    pending = list(jobs)
    while pending:
        if not observer.goes_on():
            raise KeyboardInterrupt
        before = len(pending)
        for job in list(pending):
            if job.is_done() or (job.is_ready() and _attempt(job, store, observer)):
                pending.remove(job)
        if len(pending) == before:
            time.sleep(POLL_SECONDS)


def _attempt(job: Job, store: Store, observer: Observer) -> bool:
    """Do a job unless another process is at it; say whether it is done."""
    with store.claim(job.key) as mine:
        if mine and not job.is_done():
            job.run(observer)
        return mine
