"""What the benchmarks of two codes side by side share: a process for each, its times, its memory."""

import multiprocessing
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Measured:
    """How long something took by the clock and of the processor, seconds, and its memory before and at the peak, MiB.

    Memory is the GPU's that tensors took, or all that the process and those that it started took, what they share
    counted for each.
    """

    seconds: float
    processor: float
    before: float
    peak: float


def measured(work: Callable[[], object], device: torch.device) -> Measured:
    """Run something, the device's part of it included."""
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    before = _begin_peak(device)
    wait()
    start, processor = time.perf_counter(), _processor()
    work()
    wait()
    seconds, processor = time.perf_counter() - start, _processor() - processor
    return Measured(seconds, processor, before, _peak(device))


def _begin_peak(device: torch.device) -> float:
    """Forget earlier peaks and return what is taken now, MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    for process in _family():
        # Linux sets the process's high-water mark to what it has now.
        (process / "clear_refs").write_text("5")
    return _peak(device)


def _peak(device: torch.device) -> float:
    """Return the most memory taken since, MiB: the device's, or the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    lines = [line for process in _family() for line in (process / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


def _family() -> list[Path]:
    """Return what Linux tells of this process and those that it started."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    return [Path(f"/proc/{pid}") for pid in pids]


def _processor() -> float:
    """Return the seconds of the processor that the family has had."""
    # The fields after the command's name, which may hold spaces: user and system time are the 12th and 13th.
    fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in _family()]
    return sum(int(ticks) for field in fields for ticks in field[11:13]) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A process that answers requests.

    Its target is called with its end of a pipe and the other arguments, and answers what it receives until that is
    None.
    """

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, other = context.Pipe()
        self.process = context.Process(target=target, args=(other, *arguments))
        self.process.start()
        other.close()
        # It ends when nobody can ask any more, and before that this process cannot.
        weakref.finalize(self, self.end.close)

    def ask(self, *request: object) -> Any:  # noqa: ANN401 -- as the target answers
        """Send a request and wait for the answer."""
        self.end.send(request)
        try:
            return self.end.recv()
        except EOFError:
            raise SystemExit("A process died; what it said stands above.") from None

    def close(self) -> None:
        """End the process."""
        self.end.send(None)
        self.process.join()


def answer(end: Connection, functions: dict[str, Callable[..., object]]) -> None:
    """Answer requests, each a function's name and its arguments, until there are no more."""
    with suppress(EOFError):
        while (request := end.recv()) is not None:
            name, *arguments = request
            end.send(functions[name](*arguments))
