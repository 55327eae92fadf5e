"""A processor's cores side by side, each computing some images by itself.

Splitting every convolution among the cores makes them wait for each other hundreds of times a step, and small networks
have little to split. Images do not depend on each other within a step, so that a core can take some of them all the way
through the networks, and wait once. Each core but the first has a process of its own: threads of one process wait for
its interpreter between any two operations, which takes a third of the time (docs/benchmarks.md).
"""

import multiprocessing
import signal
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from generation.devices import keep_freed_memory
from generation.errors import SettingsError

Call = tuple[str, tuple[Any, ...]]

# Images of 32x32 that go through the networks together: enough for the kernels to be efficient, and few enough for
# what a layer leaves to the next to stay in a core's cache.
PIECE_PIXELS = 8 * 32 * 32


def pieces(count: int, pixels: int, at_least: int) -> list[slice]:
    """Divide some images into pieces of nearly equal size, each to be computed by one lane.

    Args:
        count: how many images.
        pixels: how many pixels each has.
        at_least: how many pieces there are to be where there are as many images.

    Returns:
        The pieces' rows, in order.
    """
    most = max(1, PIECE_PIXELS // pixels)
    parts = min(count, max(at_least, ceil(count / most)))
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


class Lanes:
    """Places where a model's methods are called side by side, each with one core.

    The calling thread is one of them. The others are processes, started by the first `run`; those that are not ready
    yet are not waited for, since it makes no difference to the results who computes them. `with Lanes(...) as lanes`
    ends them at the block's end; so does the last reference's end.

    Attributes:
        count: how many lanes there are, which decides into how many parts work is divided.
        processes: how many of them are processes of their own.
    """

    def __init__(self, count: int, *, processes: bool = True) -> None:
        """Take so many lanes, or without processes the calling thread for all of them."""
        self.count = count
        # A daemon is not allowed processes of its own.
        alone = count == 1 or not processes or multiprocessing.current_process().daemon
        self.processes = 0 if alone else count - 1
        self._crew = _Crew(self.processes) if self.processes else None
        self._end = weakref.finalize(self, self._crew.end) if self._crew else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; the calling thread goes on to be a lane."""
        if self._end is not None:
            self._end()
        self._crew, self.processes = None, 0

    def wait(self) -> None:
        """Return when every process that was started is ready to take calls."""
        if self._crew is not None:
            self._crew.wait()

    def run(self, model: object, calls: Sequence[Call]) -> list[Tensor]:
        """Call a model's methods.

        Args:
            model: what pickle can carry; sent to the processes when it is not equal to the one before.
            calls: each a method's name and its arguments. Methods return a tensor; what is a tensor is on the
                processor, and nothing else is large.

        Returns:
            What they return, in the calls' order.

        Raises:
            SettingsError: a process has died.
            Exception: the first that a method raised.
        """
        work = _Work(calls)
        with _one_thread():
            if self._crew is None:
                work.take(lambda name, arguments: getattr(model, name)(*arguments))
            else:
                self._crew.share(model, work)
        return work.results


class _Work:
    """Calls of which whoever is free takes the next."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._left = deque(enumerate(calls))
        self._results: dict[int, Tensor] = {}

    @property
    def results(self) -> list[Tensor]:
        """What the calls returned, in their order."""
        return [self._results[place] for place in range(len(self._results))]

    def take(self, call: Callable[[str, tuple[Any, ...]], Tensor]) -> None:
        """Make calls until none is left; where one fails, nobody takes another."""
        try:
            while self._left:
                place, (name, arguments) = self._left.popleft()
                self._results[place] = call(name, arguments)
        except BaseException:
            self._left.clear()
            raise


class _Crew:
    """Processes that have the same model."""

    def __init__(self, size: int) -> None:
        self._size, self._model, self._helpers = size, object(), list[_Helper]()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        # Each hands one process its calls, and sleeps meanwhile.
        self._feeders = ThreadPoolExecutor(size, thread_name_prefix="lane")

    def share(self, model: object, work: _Work) -> None:
        """Do the work with all who are ready, the calling thread among them."""
        if model != self._model:
            self._teach(model)
        ready = [helper for helper in self._helpers if helper.is_ready()]
        feeding = [self._feeders.submit(work.take, helper.call) for helper in ready]
        try:
            work.take(lambda name, arguments: getattr(model, name)(*arguments))
        finally:
            wait(feeding)
        for future in feeding:
            future.result()

    def wait(self) -> None:
        """Return when all processes are ready."""
        for helper in self._helpers:
            helper.wait()

    def end(self) -> None:
        """End the processes."""
        self._feeders.shutdown()
        for helper in self._helpers:
            helper.end()
        if self._folder is not None:
            self._folder.cleanup()

    def _teach(self, model: object) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sameseed-lanes-")
            self._helpers = [_Helper() for _ in range(self._size)]
        # All processes map the one file, so that the weights are in memory once.
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            torch.save(model, file)
        for helper in self._helpers:
            helper.load(Path(file.name))
        self._model = model


class _Helper:
    """A process that calls the methods of the model that it has loaded last."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._loading = 0
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def load(self, file: Path) -> None:
        """Begin to load a model."""
        self._send((None, file))
        self._loading += 1

    def is_ready(self) -> bool:
        """Say whether the model is loaded."""
        while self._loading and self._end.poll():
            self._receive()
            self._loading -= 1
        return not self._loading

    def wait(self) -> None:
        """Return when the model is loaded."""
        while not self.is_ready():
            self._end.poll(None)

    def call(self, name: str, arguments: tuple[Any, ...]) -> Tensor:
        """Return what the model's method returns."""
        self._send((name, [each.numpy() if isinstance(each, Tensor) else each for each in arguments]))
        return torch.from_numpy(self._receive())

    def end(self) -> None:
        """Have the process end, and wait for that."""
        self._end.close()
        self._process.join()

    def _send(self, request: object) -> None:
        try:
            self._end.send(request)
        except OSError:
            raise self._died() from None

    def _receive(self) -> Any:  # noqa: ANN401 -- as it was sent
        try:
            outcome = self._end.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _died(self) -> SettingsError:
        self._process.join()
        return SettingsError(
            f"A process that computed on a core of its own has ended (exit code {self._process.exitcode}), perhaps for "
            "lack of memory: set OMP_NUM_THREADS to fewer cores, or 1."
        )


def _serve(end: Connection) -> None:
    """Load models and call their methods, as asked, until nobody is there to ask."""
    # Ctrl-C is for the process that asks; this one ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()
    model: object = None
    while True:
        try:
            name, given = end.recv()
        except (EOFError, OSError):
            return
        outcome: object = None
        try:
            if name is None:
                # Written a moment ago by the process that started this one, into a folder that is its own.
                model = torch.load(given, mmap=True, weights_only=False)
            else:
                arguments = [torch.from_numpy(each) if isinstance(each, np.ndarray) else each for each in given]
                outcome = getattr(model, name)(*arguments).numpy()
        except Exception as error:  # noqa: BLE001 -- raised where the call was asked for
            outcome = error
        end.send(outcome)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
