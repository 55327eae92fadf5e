"""A PostgreSQL server to test with: the one that answers, or one of our own from installed binaries."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

VARIABLE = "SAMESEED_TEST_POSTGRES"
USUAL = "postgres://postgres@127.0.0.1:5432/postgres"


@contextlib.contextmanager
def server() -> Iterator[str | None]:
    """Yield the URL of a server on which databases may be made; None if there are neither server nor binaries."""
    given = os.environ.get(VARIABLE)
    if given or _answers(USUAL):
        yield given or USUAL
    elif (binaries := _binaries()) is not None:
        with _own_server(binaries) as url:
            yield url
    else:
        yield None


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl, where Debian hides it or on the PATH."""
    hidden = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = shutil.which("initdb") or (hidden[-1] if hidden else None)
    return Path(found).resolve().parent if found else None


@contextlib.contextmanager
def _own_server(binaries: Path) -> Iterator[str]:
    """Run a server in a temporary folder; as root, as the user postgres, for it refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="sameseed-postgresql-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
