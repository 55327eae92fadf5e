"""The site as a newcomer runs it: `quickstart` in processes of its own, with a data folder of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings


def environment(data: Path) -> dict[str, str]:
    """Return the environment of a newcomer whose data folder is `data`."""
    set_by_tests = ("SAMESEED_", "DATABASE_URL", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(set_by_tests)}
    # Two pairs are too little work to share out: threads that wait for each other cost more on a busy machine.
    return {**kept, "SAMESEED_DATA": str(data), "OMP_NUM_THREADS": "1"}


def quickstart(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "quickstart", *arguments]
    return subprocess.run(command, env=environment(data), capture_output=True, text=True, timeout=300, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(data: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve what a data folder holds: gunicorn's main process, and the site's address once it answers."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "quickstart", "--port", str(port)]
    with subprocess.Popen(
        command,
        env=environment(data),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its workers can be ended with it
    ) as process:
        site = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{site}/s/demo/", process)
            yield process, site
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """End the server and its workers at once, as a power cut would; it may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(address: str, process: subprocess.Popen[str]) -> None:
    """Return once the address answers 200."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()[0]
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as response:
            assert response.status == 200
            return
        time.sleep(0.05)
    pytest.fail(f"{address} did not answer in time")
