"""Django's SQLite backend for many writers at once: they stand in line, and wait for the disk together.

SQLite lets one write at a time. Who finds it busy sleeps and tries again, longer and longer, so that of many writers
most sleep while nobody writes, and some are never lucky. Here a transaction waits for its turn at a lock of the
operating system's, beside the database: the next in line wakes at once, over all threads and processes. A process that
is killed gives its turn back. Who does without the line, such as another program, still finds SQLite's own lock.

With `synchronous=FULL` each transaction waits for the disk before the next one may begin. With the option
`sync_together`, which wants WAL and `synchronous=NORMAL`, a commit still returns when it is on the disk and no sooner,
but its turn is over before: transactions that end meanwhile share the next wait.
"""

import os
from typing import Any

from django.db.backends.sqlite3 import base

from .syncing import syncer_of

try:
    import fcntl
except ImportError:  # not a POSIX system: SQLite's own lock must do
    fcntl = None  # type: ignore[assignment]

Database = base.Database  # type: ignore[attr-defined]


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose transactions begin in turn."""

    _turn: int | None = None
    _sync_together = False

    def get_connection_params(self) -> dict[str, Any]:
        """Return what SQLite is opened with; `sync_together` is this backend's own."""
        params: dict[str, Any] = super().get_connection_params()
        self._sync_together = bool(params.pop("sync_together", False)) and not self.is_in_memory_db()
        return params

    def _start_transaction_under_autocommit(self) -> None:
        self._take_turn()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        finally:
            in_turn = self._turn is not None
            self._end_turn()
        if in_turn and self._sync_together:
            syncer_of(f"{self.settings_dict['NAME']}-wal").sync()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _take_turn(self) -> None:
        if fcntl is None or self._turn is not None or self.is_in_memory_db():
            return
        # Opened anew each time: a descriptor that a fork copies would share its lock.
        turn = os.open(f"{self.settings_dict['NAME']}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
        except BaseException:
            os.close(turn)
            raise
        self._turn = turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            os.close(turn)
