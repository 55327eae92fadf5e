"""SQLite for many writers: in turn, and on the disk when a commit returns."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from config.sqlite import syncing
from config.sqlite.base import DatabaseWrapper
from config.sqlite.syncing import Syncer

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8


def connect(path: Path, **options: object) -> BaseDatabaseWrapper:
    """Open a database of its own as the site does."""
    settings = connections["default"].settings_dict | {
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 0.001,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            **options,
        },
    }
    return DatabaseWrapper(settings, alias="own")


def begin(connection: BaseDatabaseWrapper) -> None:
    connection.ensure_connection()
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)


def end(connection: BaseDatabaseWrapper) -> None:
    connection.commit()
    connection.set_autocommit(True)


def test_writers_wait_for_their_turn_and_not_by_chance(tmp_path: Path) -> None:
    """SQLite itself would wait a millisecond, and give up."""
    first = connect(tmp_path / "db.sqlite3")
    first.cursor().execute("CREATE TABLE t (n INTEGER)")
    begin(first)
    done: list[int] = []

    def write(number: int) -> None:
        own = connect(tmp_path / "db.sqlite3")
        begin(own)
        own.cursor().execute("INSERT INTO t VALUES (%s)", [number])
        end(own)
        done.append(number)
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert done == []
    end(first)
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(done) == list(range(THREADS))
    assert first.cursor().execute("SELECT count(*) FROM t").fetchone() == (THREADS,)
    first.close()


def test_a_turn_ends_when_a_transaction_fails_or_its_connection_closes(tmp_path: Path) -> None:
    one, other = connect(tmp_path / "db.sqlite3"), connect(tmp_path / "db.sqlite3")
    begin(one)
    one.rollback()
    one.set_autocommit(True)
    begin(other)
    other.close()
    begin(one)
    end(one)
    one.close()


def test_a_process_that_is_killed_gives_its_turn_back(tmp_path: Path) -> None:
    program = (
        "import fcntl, os, sys; turn = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); "
        "fcntl.flock(turn, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "db.sqlite3-turn")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        own = connect(tmp_path / "db.sqlite3")
        begin(own)
        end(own)
        own.close()


def test_a_commit_returns_when_it_is_on_the_disk_and_its_turn_is_over_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = connect(tmp_path / "db.sqlite3", sync_together=True)
    one.cursor().execute("CREATE TABLE t (n INTEGER)")
    sizes: list[int] = []
    real = os.fdatasync

    def record(file: int) -> None:
        other = connect(tmp_path / "db.sqlite3")
        begin(other)  # it would wait for ever if the turn were not over
        end(other)
        other.close()
        sizes.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(os, "fdatasync", record)
    begin(one)
    one.cursor().execute("INSERT INTO t VALUES (1)")
    before = (tmp_path / "db.sqlite3-wal").stat().st_size
    end(one)
    assert len(sizes) == 1
    assert sizes[0] > before, "what was committed had been written when it was synced"
    one.close()


def test_a_sync_that_has_begun_before_the_call_does_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first of nine waits for the disk eight more come: they share the second."""
    started, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def slow(path: str) -> None:
        calls.append(path)
        started.set()
        go_on.wait(timeout=30)

    monkeypatch.setattr(syncing, "_sync_file", slow)
    syncer = Syncer("file")
    threads = [threading.Thread(target=syncer.sync) for _ in range(THREADS + 1)]
    threads[0].start()
    assert started.wait(timeout=30)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.1)
    assert calls == ["file"]
    go_on.set()
    for thread in threads:
        thread.join(timeout=30)
    assert calls == ["file", "file"]


def test_a_disk_that_fails_fails_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: int) -> None:
        raise OSError("the disk is full")

    one = connect(tmp_path / "db.sqlite3", sync_together=True)
    monkeypatch.setattr(os, "fdatasync", fail)
    begin(one)
    with pytest.raises(OSError, match="the disk is full"):
        one.commit()
    one.close()


def test_the_site_uses_it() -> None:
    if connections["default"].vendor == "sqlite":
        with transaction.atomic():
            assert isinstance(connections["default"], DatabaseWrapper)
            assert connections["default"]._turn is not None
        assert connections["default"]._turn is None
