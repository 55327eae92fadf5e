"""What a plan will take: its first batch's first steps are computed, timed and thrown away."""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from math import ceil

import torch
from torch import nn

from generation.batches import BatchMaker, is_out_of_memory, load_networks
from generation.diffusion.lanes import Lanes
from generation.errors import SettingsError
from generation.plans import SamplingPlan
from generation.runs import Store

TIMED_STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """What was measured of a plan, on this process's device.

    Attributes:
        missing: batches that are still to be made.
        steps: reverse steps of a batch.
        at_once: how many pairs fit into the memory together; less than a batch where that does not fit.
        step_seconds: the median time of a step of so many pairs.
        timed_steps: how many steps that was measured over, after a first one to warm up.
        weights: bytes of the networks.
        peak: bytes at the peak: of the GPU's memory that tensors took, or of the memory that this process and those for
            its other cores took, what they share counted for each.
        capacity: bytes of the GPU's memory; None on a processor.
    """

    missing: int
    steps: int
    at_once: int
    step_seconds: float
    timed_steps: int
    weights: int
    peak: int
    capacity: int | None

    def seconds(self, batch_size: int, processes: int) -> float:
        """Return how long the missing batches take so many processes, each on a device like this one."""
        parts = ceil(batch_size / self.at_once)
        return ceil(self.missing / processes) * parts * self.steps * self.step_seconds


def estimate(plan: SamplingPlan, store: Store, device: torch.device) -> Estimate:
    """Load the networks and compute a few steps; nothing is written.

    Raises:
        GenerationError: what running the plan would raise before its first image.
    """
    plan.check()
    maker = BatchMaker(plan, load_networks(plan, device), device)
    store.check()
    missing = [batch for batch in plan.batches if not store.holds(batch)]
    batch = (missing or plan.batches)[0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    at_once, seconds = _measure(maker, batch)
    return Estimate(
        missing=len(missing),
        steps=len(maker.process),
        at_once=at_once,
        step_seconds=sorted(seconds)[len(seconds) // 2],
        timed_steps=len(seconds),
        weights=_weights(maker),
        peak=_peak(device, maker.lanes),
        capacity=torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None,
    )


def _measure(maker: BatchMaker, batch: range) -> tuple[int, list[float]]:
    """Return how many pairs of a batch fit into the memory together, and the times of some steps of so many."""
    while True:
        try:
            return len(batch), _time_steps(maker, batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if len(batch) == 1:
            raise SettingsError(f"{maker.device} has too little memory for a single pair.")
        batch = batch[: len(batch) // 2]


def _time_steps(maker: BatchMaker, batch: range) -> list[float]:
    times = list(_times(maker, batch))
    seconds = [after - before for before, after in pairwise(times)]
    # The first step pays for what is set up once.
    return seconds[1:] or seconds


def _times(maker: BatchMaker, batch: range) -> Iterator[float]:
    yield time.perf_counter()
    for _ in islice(maker.sample(batch), 1 + TIMED_STEPS):
        if maker.device.type == "cuda":
            torch.cuda.synchronize(maker.device)
        if maker.lanes is not None:
            maker.lanes.wait()
        yield time.perf_counter()


def _weights(maker: BatchMaker) -> int:
    networks = (maker.networks.unet, *(guidance.classifier for guidance in maker.networks.guidances))
    parameters = (each for network in networks if isinstance(network, nn.Module) for each in network.parameters())
    return sum(each.numel() * each.element_size() for each in dict.fromkeys(parameters))


def _peak(device: torch.device, lanes: Lanes | None) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    helpers = lanes.processes if lanes is not None else 0
    if lanes is not None:
        lanes.close()  # the system tells of processes that have ended
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Linux counts in KiB, macOS in bytes.
    return (peaks[0] + helpers * peaks[1]) * (1 if sys.platform == "darwin" else 1024)
