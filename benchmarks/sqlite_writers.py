"""How many transactions a second does SQLite take from eight writers: Django's own backend against the site's, in turn.

.venv/bin/python -m benchmarks.sqlite_writers

Two processes of four threads each, as gunicorn's workers are; each transaction is eight updates and some Python. Both
are on the disk when a commit returns (`synchronous=FULL`, and `sync_together`).
"""

import multiprocessing
import os
import tempfile
import threading
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

PROCESSES, THREADS, SECONDS, ROUNDS, ROWS = 2, 4, 4.0, 3, 8


def connect(kind: str, path: str) -> "BaseDatabaseWrapper":
    """Open the database by either backend."""
    from django.db import connections  # noqa: PLC0415
    from django.db.backends.sqlite3.base import DatabaseWrapper as Djangos  # noqa: PLC0415

    from config.sqlite.base import DatabaseWrapper as Ours  # noqa: PLC0415

    own = kind == "in turn"
    pragma = f"PRAGMA journal_mode=WAL; PRAGMA synchronous={'NORMAL' if own else 'FULL'};"
    options: dict[str, Any] = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragma}
    options |= {"sync_together": True} if own else {}
    settings = connections["default"].settings_dict | {"NAME": path, "OPTIONS": options}
    return (Ours if own else Djangos)(settings, alias="own")


def write(kind: str, path: str, latencies: list[float]) -> None:
    """Be one thread."""
    connection = connect(kind, path)
    connection.ensure_connection()
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        began = time.monotonic()
        connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        cursor = connection.cursor()
        for row in range(ROWS):
            cursor.execute("UPDATE t SET n = n + 1 WHERE id = %s", [row])
        sum(range(20_000))
        connection.commit()
        connection.set_autocommit(True)
        latencies.append(1000 * (time.monotonic() - began))
        sum(range(40_000))


def work(kind: str, path: str, results: "Queue[list[float]]") -> None:
    """Be one process."""
    latencies: list[float] = []
    threads = [threading.Thread(target=write, args=(kind, path, latencies)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(latencies)


def measure(kind: str) -> None:
    """Run once and print a line."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "db.sqlite3")
        cursor = connect(kind, path).cursor()
        cursor.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
        cursor.executemany("INSERT INTO t VALUES (%s, 0)", [(row,) for row in range(ROWS)])
        results: Queue[list[float]] = multiprocessing.Queue()
        processes = [multiprocessing.Process(target=work, args=(kind, path, results)) for _ in range(PROCESSES)]
        for process in processes:
            process.start()
        found = sorted(latency for _ in processes for latency in results.get())
        for process in processes:
            process.join()
    cells = [kind, f"{len(found) / SECONDS:.0f}"]
    cells += [f"{found[min(len(found) - 1, int(share * len(found)))]:.0f}" for share in (0.5, 0.95, 0.99)]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure both in turn."""
    import django  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SAMESEED_DATA": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        django.setup()
        print("| backend | transactions per second | median ms | p95 | p99 |\n| --- | --- | --- | --- | --- |")
        for _ in range(ROUNDS):
            for kind in ("Django's", "in turn"):
                measure(kind)


if __name__ == "__main__":
    main()
