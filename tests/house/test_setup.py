"""What a newcomer's first minutes rest on: the Makefile, the pins, the migrations, the tree."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution, distributions
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP: Path = settings.BASE_DIR


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `make setup` reads."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(TOP / name, tmp_path)
    shutil.copytree(TOP / "tools", tmp_path / "tools")
    return tmp_path


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=checkout, capture_output=True, text=True, timeout=60, check=False)


def test_make_alone_lists_its_targets(checkout: Path) -> None:
    printed = make(checkout).stdout
    assert all(f"make {target} " in printed for target in ("setup", "run", "test"))


def test_an_old_python_is_refused_in_a_line_that_names_the_remedy(checkout: Path) -> None:
    old = checkout / "old-python"
    old.write_text('#!/bin/sh\ncase "$2" in *version_info*) exit 1 ;; *) echo 3.9.2 ;; esac\n')
    old.chmod(0o755)
    done = make(checkout, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"sameseed: {old} is Python 3.9.2, 3.11 or newer is needed: make setup PYTHON=python3.12"]
    assert not (checkout / ".venv").exists()


def test_a_missing_python_is_told(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=python3.99")
    assert done.returncode != 0
    assert "no python3.99 here" in done.stderr


def required(names: list[str]) -> set[str]:
    """Return the canonical names of everything that these requirements install here, themselves included."""
    installed = {canonicalize_name(found.metadata["Name"]) for found in distributions()}
    seen: set[tuple[str, str]] = set()
    queue = [Requirement(name) for name in names]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen or name not in installed:
                continue
            seen.add((name, extra))
            further = (Requirement(line) for line in distribution(name).requires or [])
            queue += [one for one in further if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_every_package_that_the_project_needs_is_pinned() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    pins = re.findall(r"^([\w.-]+)==\S+$", (TOP / "constraints.txt").read_text(), re.MULTILINE)
    needed = required([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    assert needed - {canonicalize_name(pin) for pin in pins} == set()


@pytest.mark.django_db
def test_the_migrations_make_what_the_models_say() -> None:
    printed = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=printed)
    assert "No changes" in printed.getvalue()


def test_no_tracked_file_names_a_folder_of_somebodys_machine() -> None:
    git = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=False)
    if git.returncode:
        pytest.skip("not a git checkout")
    folders = re.compile(rb"/(?:root|work|home/\w+|Users/\w+)/")
    tracked = [TOP / name for name in git.stdout.decode().split("\0") if name]
    assert [path for path in tracked if path.is_file() and folders.search(path.read_bytes())] == []
