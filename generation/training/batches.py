"""Which images each iteration takes, read ahead of it."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np

from generation import noise

T = TypeVar("T")

# Batches in memory beside the one that is trained on.
AHEAD = 2


def batch_indices(seed: int, step: int, batch_size: int, images: int) -> np.ndarray:
    """Return which images iteration `step` takes: (batch_size,) int64.

    Every epoch passes over all images once, in an order of its own; a batch may end one epoch and begin the next.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // images
    chosen = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen[epochs == epoch] = _order(seed, int(epoch), images)[positions[epochs == epoch] % images]
    return chosen


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return noise.stream(seed, noise.BATCHES, epoch).permutation(images)


def share_of(process: int, processes: int, batch_size: int) -> slice:
    """Return a process's rows of the whole batch; the shares differ by at most one row."""
    return slice(process * batch_size // processes, (process + 1) * batch_size // processes)


def read_ahead(read: Callable[[int], T], steps: range) -> Generator[T]:
    """Yield `read(step)` for each step, while a thread reads the next ones.

    Raises:
        Exception: whatever `read` raises, when its step's turn has come.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    waiting: deque[Future[T]] = deque()
    try:
        for step in steps:
            waiting.append(pool.submit(read, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
