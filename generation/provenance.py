"""What documents a run beside the settings that decide it: who computed it, with which code, and when.

A run may be made in several sessions, since it can be stopped and resumed, under another revision of the code or on
another machine. Each session is recorded. While a run is unfinished its sessions stand in a file among its images.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from generation.checkpoints import write_atomically

SESSIONS = "sessions.json"
TOP = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "numpy", "pillow", "safetensors", "accelerate")

Session = dict[str, Any]


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return a device's kind and name; of a processor also the number of threads, which decides how sums round."""
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "host": platform.node()}
    return {"type": device.type, "name": _processor(), "threads": torch.get_num_threads(), "host": platform.node()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), "") or platform.processor() or platform.machine()


def describe_code(top: Path = TOP) -> dict[str, Any]:
    """Return the code's version, git revision, and whether tracked files differ from that; None where git can't say.

    Args:
        top: the project's folder; a repository that it merely lies in is not asked.
    """
    version = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    revision = _git(top, "rev-parse", "HEAD") if _git(top, "rev-parse", "--show-prefix") == "" else None
    changed = _git(top, "status", "--porcelain", "--untracked-files=no") if revision else None
    return {"version": version, "revision": revision, "dirty": None if changed is None else bool(changed)}


def _git(top: Path, *arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(top), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_software() -> dict[str, str]:
    """Return the versions of Python and of the libraries that have a hand in the pixels, and the platform."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return {"python": platform.python_version(), **versions, "platform": platform.platform()}


def new_session(devices: Sequence[dict[str, Any]]) -> Session:
    """Return the record of a session that begins now.

    Args:
        devices: each process's, as `describe_device` tells it.
    """
    return {
        "started_at": _now(),
        "finished_at": None,
        "code": describe_code(),
        "processes": len(devices),
        "devices": list(devices),
        "software": describe_software(),
        "notes": [],
    }


def finished(session: Session, notes: Sequence[str] = ()) -> Session:
    """Return the record of a session that ends now, with what was worth noting in it."""
    return {**session, "finished_at": _now(), "notes": list(notes)}


def begin_session(folder: Path, devices: Sequence[dict[str, Any]]) -> None:
    """Record among a folder's images that a session begins; see `new_session`."""
    _write(folder, [*read_sessions(folder), new_session(devices)])


def end_session(folder: Path, notes: Sequence[str]) -> None:
    """Record that the last session came to the end, and what was worth noting in it."""
    sessions = read_sessions(folder)
    _write(folder, [*sessions[:-1], *(finished(session, notes) for session in sessions[-1:])])


def read_sessions(folder: Path) -> list[Session]:
    """Return an unfinished run's sessions, the first one first; none where there is no record that can be read."""
    try:
        sessions = json.loads((folder / SESSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return sessions if isinstance(sessions, list) else []


def forget_sessions(folder: Path) -> None:
    """Remove the record, once it stands somewhere else."""
    (folder / SESSIONS).unlink(missing_ok=True)


def _write(folder: Path, sessions: Sequence[Session]) -> None:
    text = json.dumps(sessions, indent=2) + "\n"
    write_atomically(folder / SESSIONS, lambda path: path.write_text(text, encoding="utf-8"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
