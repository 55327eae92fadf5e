"""Waiting for the disk together: who has written while one waits shares the next wait. Pure."""

import os
import threading
from functools import cache


class Syncer:
    """Brings what has been written to a file onto the disk, for all threads of a process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._running = False

    def sync(self) -> None:
        """Return when all that was written before the call is on the disk.

        Raises:
            OSError: It could not be brought there.
        """
        with self._changed:
            wanted = self._begun + 1  # one that runs already may have begun before the last write
            while self._done < wanted:
                if self._running:
                    self._changed.wait()
                else:
                    self._run()

    def _run(self) -> None:
        """Sync for all who wait; they may write on meanwhile."""
        self._running = True
        self._begun += 1
        number = self._begun
        self._changed.release()
        try:
            _sync_file(self.path)
        except BaseException:
            self._changed.acquire()
            raise
        else:
            self._changed.acquire()
            self._done = number
        finally:
            self._running = False
            self._changed.notify_all()


def _sync_file(path: str) -> None:
    # Opened anew each time, for SQLite may have begun another file.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
    finally:
        os.close(file)


@cache
def syncer_of(path: str) -> Syncer:
    """Return this process's syncer of the file."""
    return Syncer(path)
