"""One process or several: who makes which batch, and who speaks for all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from generation.errors import SettingsError

T = TypeVar("T")


class Processes(Protocol):
    """The processes that work on a plan together; of one alone, see `Alone`.

    Attributes:
        rank: this process's number; process 0 alone writes settings, manifest and database, and prints.
        size: how many there are.
    """

    @property
    def rank(self) -> int: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    def from_first(self, make: Callable[[], T]) -> T:
        """Return, in every process, what `make` returns in the first, as JSON has it; only the first calls it."""

    def deal(self, count: int) -> Iterator[int]:
        """Yield this process's share of 0 ... count - 1, ascending: each number goes to one process."""

    def gather(self, value: T) -> list[T]:
        """Return every process's value, as JSON has it and by rank, once all have come so far; to the first alone."""


class Alone:
    """A single process: nothing of torch.distributed is touched."""

    rank = 0
    size = 1

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what `make` returns."""
        return make()

    def deal(self, count: int) -> Iterator[int]:
        """Yield every number."""
        yield from range(count)

    def gather(self, value: T) -> list[T]:
        """Return the value in a list."""
        return [value]


ALONE = Alone()

# What accelerate launch and torchrun tell the processes that they start, by which libraries would join them.
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


def leave_launch() -> int:
    """Forget that this process was launched together with others, for work that each does by itself.

    Returns:
        Its number among those of its machine; 0 for a process alone.
    """
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    for name in LAUNCHED:
        os.environ.pop(name, None)
    return rank


@contextmanager
def refusing_failed_meeting() -> Iterator[None]:
    """Say what to do when accelerate, called inside, cannot bring the launched processes together.

    Raises:
        SettingsError: no launcher's settings, no such address, a taken port, or nobody else came in time.
    """
    try:
        yield
    except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
        raise SettingsError(
            f"The processes cannot meet ({first_line(error)}): launch them with accelerate launch or torchrun, and "
            "let MASTER_ADDR and MASTER_PORT name the first one's machine."
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
