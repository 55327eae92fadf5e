"""A processor's cores side by side, each computing some images by itself.

Splitting every convolution among the cores makes them wait for each other hundreds of times a step, and small networks
have little to split. Images do not depend on each other within a step, so that a core can take some of them all the way
through the networks, and wait once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from types import TracebackType
from typing import Self, TypeVar

import torch

T = TypeVar("T")

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
    """Threads that each compute with one core; `with Lanes(n) as lanes` ends them at the block's end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = None if count == 1 else ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            # A lane's number of threads is also that of threads yet to be started, until somebody says otherwise.
            torch.set_num_threads(self.count)

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the tasks return, in their order; the first that failed raises its error here."""
        if self._pool is None:
            return [task() for task in tasks]
        futures = [self._pool.submit(task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
