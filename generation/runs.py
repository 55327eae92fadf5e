"""Running a plan: its batches, dealt to one process or several, into a store, and on again after a stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from generation.batches import BatchMaker, counted_from, load_networks
from generation.errors import SettingsError
from generation.folders import SETTINGS
from generation.plans import SamplingPlan
from generation.processes import ALONE, Processes
from generation.provenance import begin_session, describe_device, end_session, read_sessions

OnProgress = Callable[[float, int], None]
OnNote = Callable[[str], None]


class Store(Protocol):
    """Where a plan's batches go; a batch is there whole or not at all."""

    @property
    def folder(self) -> Path:
        """Holds the batches and what is recorded about them."""

    def claim(self) -> None:
        """Take the folder for the plan, or raise SettingsError if it holds anything else."""

    def check(self) -> None:
        """Raise what `claim` would raise, and write nothing."""

    def holds(self, batch: range) -> bool:
        """Say whether a batch is there, whole."""

    def write(self, batch: range, pixels: Tensor) -> None:
        """Write a batch, (A, N, C, H, W) uint8."""


def run_plan(
    plan: SamplingPlan,
    store: Store,
    *,
    device: torch.device,
    on_progress: OnProgress,
    on_note: OnNote,
    processes: Processes = ALONE,
) -> None:
    """Make the plan's batches that the store does not have yet; returns when every process has made its share.

    Batches are fixed by the pairs' indices and the batch size alone, and are dealt whole, so it does not matter for the
    bytes which process makes which, or when. How many threads a processor computes with does matter, in the last bits:
    a run that goes on takes as many as it began with.

    Args:
        plan: what to make.
        store: where to.
        device: where this process computes.
        on_progress: told (pairs made, pairs in all) as they go, by all processes together, those found included.
        on_note: told what is worth knowing, in a sentence.
        processes: those that share the work.

    Raises:
        GenerationError: a plan that cannot be, a checkpoint that does not fit, a store with other images in it.
    """
    plan.check()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if processes.rank == 0:
            on_note(text)

    networks = load_networks(plan, device)
    devices = processes.gather(describe_device(device))
    starts, threads = processes.from_first(lambda: _prepare(plan, store, devices))
    if not (store.folder / SETTINGS).is_file():
        raise SettingsError(f"{store.folder} is not on a file system that all machines share: give such an --output.")
    if device.type == "cpu" and threads and threads != torch.get_num_threads():
        note(f"Computing with {threads} threads, as this run began: sums round by their number.")
        torch.set_num_threads(threads)
    maker = BatchMaker(plan, networks, device, note)
    batches = {batch.start: batch for batch in plan.batches}
    done_before = plan.count - sum(len(batches[start]) for start in starts)

    def on_pairs(done: float) -> None:
        on_progress(done_before + done, plan.count)

    on_pairs(0)
    for place in processes.deal(len(starts)):
        batch = batches[starts[place]]
        store.write(batch, maker.make(batch, counted_from(place * plan.batch_size, on_pairs)))
    noted = processes.gather(notes)
    for rank, texts in enumerate(noted[1:], start=1):
        for text in texts:
            on_note(f"Process {rank}: {text}")
    if starts and processes.rank == 0:
        end_session(store.folder, list(dict.fromkeys(text for texts in noted for text in texts)))
    on_progress(plan.count, plan.count)


def _prepare(plan: SamplingPlan, store: Store, devices: list[dict[str, object]]) -> tuple[list[int], int | None]:
    """Return where the batches start that are to be made, and with how many threads the run began on a processor."""
    store.claim()
    starts = [batch.start for batch in plan.batches if not store.holds(batch)]
    if starts:
        begin_session(store.folder, devices)
    first = next(iter(read_sessions(store.folder)), None)
    return starts, first["devices"][0].get("threads") if first else None
