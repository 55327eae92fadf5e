"""Several processes that share a run: real ones, and the rules that they follow, in threads."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from django.conf import settings
from django.core.management import call_command
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # documented, but not marked as exported

from generation.crew import Crew, PeerFailedError, launched_size
from generation.errors import GenerationError
from generation.models import GeneratedImage, GenerationRun

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "manage.py"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


@pytest.fixture
def connect() -> Callable[[], Store]:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return lambda: TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False)


def in_threads(size: int, connect: Callable[[], Store], work: Callable[[Crew], Any], **options: Any) -> list[Any]:
    """Run `work` in a crew of that size; return what each member returns or raises."""
    results: list[Any] = [None] * size

    def member(rank: int) -> None:
        try:
            with Crew(rank, size, connect, **options) as crew:
                results[rank] = work(crew)
        except GenerationError as error:
            results[rank] = error

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize(("size", "count"), [(1, 5), (2, 0), (2, 1), (3, 100), (5, 12)])
def test_every_batch_is_dealt_once_and_each_share_ascends(connect: Callable[[], Store], size: int, count: int) -> None:
    def work(crew: Crew) -> tuple[list[int], list[int]]:
        return list(crew.deal(count)), list(crew.deal(7))

    shares = in_threads(size, connect, work)
    assert sorted(place for first, _ in shares for place in first) == list(range(count))
    assert sorted(place for _, second in shares for place in second) == list(range(7))
    assert all(first == sorted(first) for first, _ in shares)


def test_a_slow_process_gets_less(connect: Callable[[], Store]) -> None:
    def work(crew: Crew) -> int:
        share = 0
        for _ in crew.deal(30):
            time.sleep(0.1 if crew.rank else 0.005)
            share += 1
        return share

    fast, slow = in_threads(2, connect, work)
    assert fast > slow


def test_what_the_first_decides_all_hear_and_what_all_say_the_first_hears(connect: Callable[[], Store]) -> None:
    def work(crew: Crew) -> tuple[Any, Any, Any]:
        told = crew.from_first(lambda: {"rank": crew.rank, "starts": [0, 8]})
        return told, crew.gather(crew.rank * 10), crew.from_first(lambda: None)

    assert in_threads(3, connect, work) == [
        ({"rank": 0, "starts": [0, 8]}, [0, 10, 20], None),
        ({"rank": 0, "starts": [0, 8]}, [], None),
        ({"rank": 0, "starts": [0, 8]}, [], None),
    ]


def test_one_failure_ends_all_and_one_alone_tells_why(connect: Callable[[], Store]) -> None:
    def work(crew: Crew) -> None:
        if crew.rank == 1:
            assert crew.fail("SettingsError: no room")
            return
        while not list(crew.deal(1)):
            time.sleep(0.01)
        crew.gather(0)
        crew.from_first(lambda: crew.gather(1))

    first, second, third = in_threads(3, connect, work)
    assert second is None
    assert isinstance(first, PeerFailedError)
    assert isinstance(third, PeerFailedError)


def test_only_the_first_of_two_failures_is_told(connect: Callable[[], Store]) -> None:
    assert sorted(in_threads(2, connect, lambda crew: crew.fail("broken"))) == [False, True]


def test_a_process_without_a_sign_of_life_is_lost_and_named(connect: Callable[[], Store]) -> None:
    with Crew(0, 3, connect, beat=0.05, lost=0.5) as crew, Crew(2, 3, connect, beat=0.05):
        connect().set("alive/1", "1")
        start = time.monotonic()
        with pytest.raises(
            GenerationError, match=r"Process 1 has given no sign of life .* the same command then goes on"
        ):
            crew.gather("here")
        assert time.monotonic() - start >= 0.5


def test_a_process_that_has_done_its_share_is_not_lost(connect: Callable[[], Store]) -> None:
    with Crew(1, 2, connect, beat=0.05) as other:
        other.gather("there")
    with Crew(0, 2, connect, beat=0.05, lost=0.2) as crew:
        shares = []
        for place in crew.deal(3):
            time.sleep(0.3)
            shares.append(place)
        assert shares == [0, 1, 2]
        assert crew.gather("here") == ["here", "there"]


def test_a_store_that_is_gone_is_one_clear_line() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = server.port
    crew = Crew(1, 2, lambda: TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False))
    with crew:
        del server
        with pytest.raises(GenerationError, match="Process 1 cannot reach the first process any more"):
            crew.from_first(lambda: None)


@pytest.mark.parametrize(
    ("environment", "size"),
    [({}, 1), ({"WORLD_SIZE": "4"}, 4), ({"OMPI_COMM_WORLD_SIZE": "3"}, 3), ({"WORLD_SIZE": "1"}, 1)],
)
def test_the_launcher_says_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], size: int
) -> None:
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched_size() == size


@pytest.fixture
def arguments(tiny_path: Path, weights: dict[str, Path]) -> list[str]:
    return [str(tiny_path), "--device", "cpu"] + [
        text for kind, path in weights.items() for text in (f"--{kind}", str(path))
    ]


def environment() -> dict[str, str]:
    """One thread a process, as the tests themselves compute: sums round alike."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(pattern))}


@pytest.mark.django_db(transaction=True)
def test_two_processes_make_the_bytes_of_one_and_the_first_alone_writes_rows(
    tmp_path: Path, arguments: list[str]
) -> None:
    command = ["generate_pairs", *arguments, "--count", "9", "--batch-size", "2", "--seed", "3", "--output"]
    call_command(*command, str(tmp_path / "one"))
    database = settings.DATABASES["default"]["NAME"]
    done = subprocess.run(
        [*LAUNCH, *command, str(tmp_path / "two")],
        env={**environment(), "DATABASE_URL": f"sqlite:///{database}"},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("9 pairs named 'two'") == 1
    assert content(tmp_path / "two", "*.*") == content(tmp_path / "one", "*.*")
    assert GeneratedImage.objects.filter(run__name="two").count() == 18
    run = GenerationRun.objects.get(name="two", arm="robust")
    assert [session["processes"] for session in run.sessions] == [2]


def test_a_killed_process_ends_all_and_any_number_goes_on(tmp_path: Path, arguments: list[str]) -> None:
    command = ["generate_samples", *arguments, "--guidance", "vanilla", "--count", "6", "--batch-size", "1"]
    command += ["--steps", "40", "--output"]
    output = tmp_path / "two.npz"
    launcher = subprocess.Popen(
        [*ACCELERATE, "manage.py", *command, str(output)],
        env=environment(),
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = tmp_path / "two.npz.parts"
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.npy")):
        assert time.monotonic() < deadline
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.05)
    victim = next(
        child for child in psutil.Process(launcher.pid).children(recursive=True) if child.environ().get("RANK") == "1"
    )
    os.kill(victim.pid, signal.SIGKILL)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert said.count("CommandError: Stopped by the launcher") == 1
    assert "the same command goes on where this one stopped" in said
    assert 1 <= len(list(parts.glob("*.npy"))) < 6
    assert not output.exists()
    call_command(*command, str(output))
    call_command(*command, str(tmp_path / "one.npz"))
    assert output.read_bytes() == (tmp_path / "one.npz").read_bytes()


def test_what_fails_in_all_processes_is_told_once(tmp_path: Path, arguments: list[str]) -> None:
    command = ["generate_samples", *arguments, "--guidance", "robust", "--count", "9", "--classes", "shirt"]
    done = subprocess.run(
        [*LAUNCH, *command, "--output", str(tmp_path / "out")],
        env=environment(),
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("CommandError:") == 1
    assert done.stderr.count("No class 'shirt' in preset tiny: it has hat") == 1


def test_a_process_alone_touches_nothing_of_torch_distributed(tmp_path: Path, arguments: list[str]) -> None:
    call_command(
        "generate_samples", *arguments, "--guidance", "robust", "--count", "1", "--output", str(tmp_path / "o")
    )
    assert not torch.distributed.is_initialized()
