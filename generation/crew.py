"""Several processes that share one run, on one machine or many, however they were launched.

accelerate says which process this is and lets all of them meet; the key-value store at their meeting point deals the
work out, carries what one process tells the others, and shows who is still there. No tensor is exchanged, so that
processes may be of different speed, and none waits for another before the end.
"""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, Self, TypeVar

import torch
from torch.distributed import DistError

# Documented, but not marked as exported.
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # isort: skip

from generation.devices import choose_device
from generation.errors import GenerationError, SettingsError
from generation.processes import ALONE, Processes, first_line, refusing_failed_meeting

T = TypeVar("T")

# As torchrun and accelerate, PMI (MPICH, Intel MPI), Open MPI and MVAPICH2 say how many processes they launched.
SIZE_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
BEAT_SECONDS = 2.0
LOST_SECONDS = 60.0
POLL_SECONDS = 0.1
PATIENCE = timedelta(minutes=5)


class PeerFailedError(GenerationError):
    """Another process has failed, and has said why itself."""


class Crew:
    """One of several processes that share a run; see `Processes`.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        connect: Callable[[], Store],
        *,
        beat: float = BEAT_SECONDS,
        lost: float = LOST_SECONDS,
    ) -> None:
        """Join.

        Args:
            rank: this process's number.
            size: how many there are.
            connect: opens a connection to the store that all share.
            beat: seconds between signs of life.
            lost: seconds without one after which a process is lost.
        """
        self.rank, self.size = rank, size
        self._store = connect()
        self._lost = lost
        self._seen = {peer: ("", time.monotonic()) for peer in range(size) if peer != rank}
        self._counts = {"dealt": 0, "told": 0, "gathered": 0}
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._live, args=(connect(), beat), daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._heart.join()

    def from_first(self, make: Callable[[], T]) -> T:
        """Return, in every process, what `make` returns in the first, as JSON has it; only the first calls it.

        Raises:
            PeerFailedError: another process has failed.
            GenerationError: another process is lost.
        """
        key = self._key("told")
        if self.rank == 0:
            self._ask(lambda: self._store.set(key, json.dumps(make())))
        self._wait_for([key])
        told: T = json.loads(self._ask(lambda: self._store.get(key)))
        return told

    def deal(self, count: int) -> Iterator[int]:
        """Yield this process's share of 0 ... count - 1, ascending: each number goes to whoever asks next.

        Raises:
            PeerFailedError: another process has failed.
            GenerationError: another process is lost.
        """
        key = self._key("dealt")
        while True:
            self._check_peers()
            place = int(self._ask(lambda: self._store.add(key, 1))) - 1
            if place >= count:
                return
            yield place

    def gather(self, value: T) -> list[T]:
        """Return every process's value, as JSON has it and by rank, once all have come so far.

        Only the first process waits, and only it gets them; the others get an empty list.

        Raises:
            PeerFailedError: another process has failed.
            GenerationError: another process is lost.
        """
        key = self._key("gathered")
        self._ask(lambda: self._store.set(f"{key}/{self.rank}", json.dumps(value)))
        if self.rank:
            return []
        keys = [f"{key}/{rank}" for rank in range(self.size)]
        self._wait_for(keys)
        return [json.loads(text) for text in self._ask(lambda: self._store.multi_get(keys))]

    def fail(self, reason: str) -> bool:
        """Let the others know that this process fails; say whether it is the first, whose reason is the one to tell."""
        mine = f"{self.rank} {reason}"
        try:
            return bool(self._store.compare_set("failed", "", mine).decode() == mine)
        except DistError:
            return True

    def _key(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}/{self._counts[kind]}"

    def _wait_for(self, keys: Sequence[str]) -> None:
        while not self._ask(lambda: self._store.check(list(keys))):
            self._check_peers()
            time.sleep(POLL_SECONDS)

    def _check_peers(self) -> None:
        if self._ask(lambda: self._store.check(["failed"])):
            raise PeerFailedError("Another process has failed.")
        now = time.monotonic()
        for peer, (sign, since) in self._seen.items():
            latest = self._sign_of(peer)
            if latest != sign or latest == "left":
                self._seen[peer] = (latest, now)
            elif now - since > self._lost:
                raise GenerationError(
                    f"Process {peer} has given no sign of life for {self._lost:.0f} seconds: find out why; the same "
                    "command then goes on, with any number of processes."
                )

    def _sign_of(self, peer: int) -> str:
        key = f"alive/{peer}"
        if not self._ask(lambda: self._store.check([key])):
            return ""
        return str(self._ask(lambda: self._store.get(key)).decode())

    def _live(self, store: Store, beat: float) -> None:
        """Give a sign of life every now and then; a thread with a connection of its own does it."""
        count = 0
        try:
            while not self._left.is_set():
                count += 1
                store.set(f"alive/{self.rank}", str(count))
                self._left.wait(beat)
            store.set(f"alive/{self.rank}", "left")
        except DistError:
            return

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except DistError as error:
            raise GenerationError(
                f"Process {self.rank} cannot reach the first process any more, or the launcher ({first_line(error)}): "
                "the same command goes on where this one stopped."
            ) from error


@contextmanager
def joined_processes(device_name: str) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that were launched together, if there are several; a process alone has nothing to join.

    What fails within is told by one process: the others end in PeerFailedError.

    Args:
        device_name: `auto`, `cpu` or `cuda`; of several CUDA devices each process on a machine gets the next.

    Yields:
        The processes, and this one's device.

    Raises:
        SettingsError: no such device, or the processes cannot meet.
        PeerFailedError: another process has failed.
    """
    if launched_size() < 2:
        yield ALONE, choose_device(device_name)
        return
    cpu = device_name == "cpu" or not torch.cuda.is_available()
    with _meeting(cpu=cpu) as (rank, size, device), Crew(rank, size, _connect) as crew, _stopping():
        try:
            choose_device(device_name)
            yield crew, device
        except PeerFailedError:
            raise
        except BaseException as error:
            if not crew.fail(f"{type(error).__name__}: {error}"):
                raise PeerFailedError("Another process has failed.") from error
            if isinstance(error, GenerationError) and rank:
                raise type(error)(f"Process {rank}, on {platform.node()}: {error}") from error
            raise


def launched_size() -> int:
    """Return how many processes the launcher started, as it says in the environment."""
    texts = (os.environ.get(name, "") for name in SIZE_VARIABLES)
    return next((int(text) for text in texts if text.isdecimal()), 1)


@contextmanager
def _meeting(*, cpu: bool) -> Iterator[tuple[int, int, torch.device]]:
    """Let accelerate bring the processes together; yield this one's rank, their number, and this one's device."""
    # It takes a second to load, and a process alone needs nothing of it.
    from accelerate import PartialState  # noqa: PLC0415

    with refusing_failed_meeting():
        state = PartialState(cpu=cpu, backend="gloo", timeout=PATIENCE)
    try:
        if state.num_processes != launched_size():
            raise SettingsError(
                f"{launched_size()} processes were launched, but accelerate finds {state.num_processes}: launch them "
                "with accelerate launch or torchrun."
            )
        yield state.process_index, state.num_processes, state.device
    finally:
        state.destroy_process_group()


def _connect() -> Store:
    """Open a connection to the store at the processes' meeting point; a restarted launch has keys of its own."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=PATIENCE)
    return PrefixStore(f"sameseed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


@contextmanager
def _stopping() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does: launchers send it to those that are left when one is lost.

    After Ctrl-C they send it too, to processes that had the Ctrl-C from the terminal already: once is enough.
    """
    reasons = {signal.SIGINT: "", signal.SIGTERM: "Stopped by the launcher, as it does when another process is lost"}

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in reasons:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(reasons[signal.Signals(number)])

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in reasons}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
