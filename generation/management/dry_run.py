"""What `--dry-run` prints: the plan, and what it will take."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from generation.classes import short_list
from generation.estimates import Estimate
from generation.plans import SamplingPlan
from generation.provenance import describe_device

UNITS = ((172_800, 86_400, "days"), (5_400, 3_600, "hours"), (90, 60, "minutes"), (0, 1, "seconds"))


def describe(plan: SamplingPlan, where: Sequence[str], estimate: Estimate, device: torch.device, processes: int) -> str:
    """Return the plan, where its results go, and what was measured, as lines.

    Args:
        plan: what is to be made.
        where: a line for each thing that would be written.
        estimate: what a few steps told.
        device: where they were computed.
        processes: how many would share the work.
    """
    lines = [*_plan(plan), *(("writes", line) for line in where), *_cost(plan, estimate, device, processes)]
    return "\n".join([*(f"{name:<10} {text}" for name, text in lines), "A dry run: nothing was written."])


def _plan(plan: SamplingPlan) -> Iterator[tuple[str, str]]:
    yield "preset", f"{plan.preset.name}, {plan.preset.image.size}x{plan.preset.image.size} pixels"
    yield "count", f"{plan.count} {'pairs' if len(plan.arms) > 1 else 'samples'}, seed {plan.seed}"
    for arm in plan.arms:
        guided = f"{_file(arm.classifier)}, scale {arm.scale:g}" if arm.classifier else "no classifier"
        yield "arm", f"{arm.name}: {guided}"
    yield "U-Net", _file(plan.diffusion)
    names = [target.name for target in plan.classes]
    yield "classes", f"{len(names)}: {short_list(names)}"
    eta = f" with eta {plan.eta:g}" if plan.sampler == "ddim" else ""
    precision = str(plan.precision).removeprefix("torch.")
    yield "sampler", f"{plan.sampler}{eta}, respacing {plan.respacing}, {precision}"


def _cost(plan: SamplingPlan, estimate: Estimate, device: torch.device, processes: int) -> Iterator[tuple[str, str]]:
    made = len(plan.batches) - estimate.missing
    there = f"; {made} of them {'is' if made == 1 else 'are'} there already" if made else ""
    yield "batches", f"{len(plan.batches)} of {plan.batch_size}, {estimate.steps} steps each{there}"
    if estimate.at_once < min(plan.batch_size, plan.count):
        yield "", f"too large for the memory: {estimate.at_once} at once"
    told = describe_device(device)
    threads = f", {told['threads']} thread{'s' * (told['threads'] > 1)}" if "threads" in told else ""
    yield "device", f"{told['name']}{threads}; {processes} process{'es' * (processes > 1)}"
    of = f" of {size(estimate.capacity)}" if estimate.capacity else ""
    whose = "tensors on the GPU" if estimate.capacity else "this run"
    yield "memory", f"weights {size(estimate.weights)}; {whose} at the peak {size(estimate.peak)}{of}, measured"
    total, step = duration(estimate.seconds(plan.batch_size, processes)), f"{estimate.step_seconds:.3g} seconds a step"
    yield "time", f"about {total}, at {step} of {estimate.at_once}, measured here over {estimate.timed_steps}"


def _file(path: Path | None) -> str:
    return "" if path is None else f"{path.name} ({size(path.stat().st_size)})"


def size(count: int) -> str:
    """Return a number of bytes as people read it: 38 MB."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """Return a time as people read it, in the unit that suits it: 12 minutes."""
    divisor, unit = next((divisor, unit) for least, divisor, unit in UNITS if seconds >= least)
    return f"{seconds / divisor:.2g} {unit}"
