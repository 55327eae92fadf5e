"""How long a sweep will take, from a few steps of sampling and a few iterations of training."""

import dataclasses
import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import torch

from analysis.sweeps.jobs import PointJob, TrainingJob, build_training
from analysis.sweeps.measuring import Laboratory
from analysis.sweeps.points import TrainingPlan
from generation.batches import BatchMaker, Networks
from generation.diffusion.unet import build_unet
from generation.guidance.classifier import build_classifier
from generation.guidance.score import Guidance
from generation.plans import ArmPlan
from generation.training.acceleration import build_accelerator
from generation.training.loop import Metrics, Trainer

TIMED = 3
# An iteration against an attack of 7 steps took 1.83 times as long as one without (generation/pretrained/README.md):
# less than its passes say, for samples that are wrong already are left alone. It depends on how many are.
ATTACK_STEP = 0.12


def sampling_seconds(laboratory: Laboratory, *, guided: bool) -> float:
    """Return the time of one image of a full batch; networks of the preset's shape with random weights serve."""
    preset, device = laboratory.sweep.preset, laboratory.device
    plan = laboratory.plan_with(preset, Path(), ArmPlan("timed", None, 1.0 if guided else 0.0))
    classifier = build_classifier(preset).to(device).eval().requires_grad_(requires_grad=False) if guided else None
    unet = build_unet(preset).to(device).eval().requires_grad_(requires_grad=False)
    maker = BatchMaker(plan, Networks(unet, (Guidance(classifier, 1.0 if guided else 0.0),)), device)
    batch = plan.batches[0]
    step = median(_durations(maker.sample(batch), device))
    return step * len(maker.process) / len(batch)


def training_seconds(laboratory: Laboratory, plan: TrainingPlan) -> float:
    """Return about what an iteration takes."""
    attack_steps = plan.attack.steps if plan.attack else 0
    plain = plan if plan.kind == "diffusion" else dataclasses.replace(plan, kind="vanilla", attack=None)
    accelerator = build_accelerator(laboratory.device.type, plan.precision)
    training = build_training(plain, accelerator.device)
    trainer = Trainer(training.build(plan.preset), plan.recipe, accelerator)
    times: list[float] = []

    def on_step(_step: int, _metrics: Metrics) -> bool:
        times.append(time.perf_counter())
        return len(times) <= TIMED

    trainer.run(laboratory.training_data, training.objective, on_step)
    durations = [after - before for before, after in itertools.pairwise(times)]
    return (median(durations) if durations else 0.0) * (1 + ATTACK_STEP * attack_steps)


def _durations(steps: Iterable[object], device: torch.device) -> list[float]:
    times = []
    for _ in itertools.islice(steps, 1 + TIMED):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
    # The first step pays for what is set up once; a sampler of one step has nothing else.
    return [after - before for before, after in itertools.pairwise(times)] or [0.0]


def expected_seconds(laboratory: Laboratory, trainings: list[TrainingJob], points: list[PointJob]) -> float:
    """Return about how long one process computes; measuring is not in it."""
    total = 0.0
    for guided in (False, True):
        count = sum((point.point.classifier is not None) == guided for point in points)
        if count:
            total += count * laboratory.sweep.sampling.count * sampling_seconds(laboratory, guided=guided)
    timed: dict[tuple[str, int], float] = {}
    for job in trainings:
        plan = job.plan
        key = ("diffusion" if plan.kind == "diffusion" else "classifier", plan.attack.steps if plan.attack else 0)
        if key not in timed:
            timed[key] = training_seconds(laboratory, plan)
        total += timed[key] * plan.recipe.iterations
    return total
