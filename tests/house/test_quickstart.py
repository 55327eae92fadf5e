"""`make run`'s command, end to end: each test speaks to real processes with a data folder of its own."""

import contextlib
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from .site import environment, free_port, quickstart, serving

PAIRS = 2
SERVED_WITHIN_S = 10.0
"""Of processor time, which another program's load does not lengthen."""


def rows(data: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(data / "db.sqlite3")) as connection:
        return connection.execute(query).fetchall()


def files(data: Path) -> dict[Path, int]:
    """Return when each file of the pairs was last written, in ns."""
    return {path: path.stat().st_mtime_ns for path in (data / "pairs").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder that one quickstart has filled, and what that printed."""
    data = tmp_path_factory.mktemp("quickstart") / "data"
    done = quickstart(data, "--pairs", str(PAIRS), "--no-serve", "--port", "9123")
    assert done.returncode == 0, done.stdout + done.stderr
    return data, done.stdout


def test_the_first_run_opens_a_study_on_the_pairs_it_made(first_run: tuple[Path, str]) -> None:
    data, _ = first_run
    assert rows(data, "select slug, status from survey_study") == [("demo", "open")]
    assert rows(data, "select count(*) from survey_pair") == [(PAIRS,)]
    assert rows(data, "select count(*) from generation_generatedimage") == [(2 * PAIRS,)]


def test_the_links_name_the_port_that_was_asked_for(first_run: tuple[Path, str]) -> None:
    _, printed = first_run
    assert re.search(r"^ *Survey +http://127\.0\.0\.1:9123/s/demo/$", printed, re.MULTILINE)
    assert re.search(r"^ *Report +http://127\.0\.0\.1:9123/report/demo/$", printed, re.MULTILINE)
    assert re.search(r"^ *Pairs +http://127\.0\.0\.1:9123/runs/demo/$", printed, re.MULTILINE)


def test_the_printed_password_is_the_staff_users(first_run: tuple[Path, str]) -> None:
    data, printed = first_run
    match = re.search(r"User staff, password (\S+)", printed)
    assert match is not None
    [(stored,)] = rows(data, "select password from auth_user where username = 'staff' and is_staff")
    assert PBKDF2PasswordHasher().verify(match[1], str(stored))


def test_a_second_run_makes_nothing_and_tells_no_password(first_run: tuple[Path, str]) -> None:
    data, _ = first_run
    before = files(data)
    done = quickstart(data, "--pairs", str(PAIRS), "--no-serve")
    assert done.returncode == 0, done.stderr
    assert files(data) == before
    assert rows(data, "select count(*) from survey_study") == [(1,)]
    assert rows(data, "select count(*) from auth_user") == [(1,)]
    assert "User staff" not in done.stdout


def test_images_that_have_gone_are_missed_before_a_rater_misses_them(first_run: tuple[Path, str]) -> None:
    data, _ = first_run
    pairs = data / "pairs"
    pairs.rename(data / "elsewhere")
    try:
        done = quickstart(data, "--no-serve")
    finally:
        (data / "elsewhere").rename(pairs)
    assert done.returncode != 0
    assert "not in" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_told_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = quickstart(tmp_path / "data", "--port", str(port))
    assert done.returncode != 0
    assert done.stderr.splitlines() == [f"CommandError: Port {port} is taken; serve on another: make run PORT=9000"]
    assert not (tmp_path / "data" / "pairs").exists()


@pytest.mark.parametrize("arguments", [("--port", "0"), ("--port", "70000"), ("--pairs", "0"), ("--workers", "-1")])
def test_a_number_out_of_range_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, str]) -> None:
    done = quickstart(tmp_path / "data", *arguments)
    assert done.returncode != 0
    assert arguments[1] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_the_site_would_refuse_is_told_with_its_setting(tmp_path: Path) -> None:
    done = quickstart(tmp_path / "data", "--host", "192.0.2.7")
    assert done.returncode != 0
    assert "SAMESEED_HOSTS=192.0.2.7" in done.stderr


@pytest.fixture
def server(first_run: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A quickstart that serves: its process and the site's address."""
    data, _ = first_run
    with serving(data, free_port()) as (process, site):
        yield process, site


def seconds_of_children() -> float:
    """Return the processor time of all processes that have been started and waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_later_run_serves_soon_with_styles_and_stops_cleanly(server: tuple[subprocess.Popen[str], str]) -> None:
    process, site = server
    before = seconds_of_children()
    with urllib.request.urlopen(f"{site}/static/admin/css/base.css", timeout=30) as response:
        assert response.status == 200
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "Traceback" not in printed
    assert seconds_of_children() - before < SERVED_WITHIN_S


def both_workers(process: subprocess.Popen[str]) -> list[str]:
    """Return the ids of a server's two workers; the first may answer before the second is there."""
    for _ in range(200):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if len(children) == 2:
            return children
        time.sleep(0.05)
    pytest.fail("the server did not start two workers within ten seconds")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what Linux says of a process's memory")
def test_no_web_process_has_torch_in_memory(server: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = server
    for pid in [str(process.pid), *both_workers(process)]:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


ASK_EVERY_PAGE = """
import sys
import config.wsgi
from django.contrib.auth import get_user_model
from django.test import Client
client = Client(headers={"host": "localhost"})
client.force_login(get_user_model().objects.get(username="staff"))
for address in ("/s/demo/", "/report/demo/", "/admin/"):
    response = client.get(address)
    assert response.status_code == 200, (address, response.status_code)
assert not {"torch", "torchvision"} & sys.modules.keys(), "torch is loaded"
"""


def test_no_page_loads_torch(first_run: tuple[Path, str]) -> None:
    data, _ = first_run
    command = [sys.executable, "-c", ASK_EVERY_PAGE]
    done = subprocess.run(
        command, env=environment(data), cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
