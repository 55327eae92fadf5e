"""Who made what, with which code: recorded for each session, and never a reason not to go on."""

import json
import platform
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from django.test import Client

from generation.folders import ImageFolder
from generation.models import GenerationRun
from generation.provenance import describe_code, describe_device

Generate = Any


@pytest.fixture
def generate(tiny_path: Path, weights: dict[str, Path]) -> Generate:
    def run(output: Path, **options: Any) -> None:
        settings = {"count": 4, "seed": 3, "batch_size": 2, **weights, **options}
        call_command("generate_pairs", str(tiny_path), output=output, stdout=StringIO(), **settings)

    return run


@pytest.fixture
def interrupted(generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pairs, of which two were made."""
    write = ImageFolder.write

    def interrupting(store: ImageFolder, batch: range, pixels: Any) -> None:
        write(store, batch, pixels)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "write", interrupting)
        with pytest.raises(CommandError, match="Interrupted"):
            generate(tmp_path / "set")
    return tmp_path / "set"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.django_db
def test_a_run_stores_what_decided_it_and_what_documents_it(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set", precision="bf16")
    run = GenerationRun.objects.get(name="set", arm="vanilla")
    assert (run.preset, run.settings["precision"], run.settings["seed"]) == ("tiny", "bfloat16", 3)
    assert len(run.settings["diffusion_sha256"]) == len(run.settings["classifier_sha256"]) == 64
    (session,) = run.sessions
    assert session["devices"] == [describe_device(torch.device("cpu"))]
    assert session["devices"][0]["threads"] == torch.get_num_threads()
    assert session["processes"] == 1
    assert session["code"] == describe_code()
    assert session["software"]["python"] == platform.python_version()
    assert session["software"]["torch"] == torch.__version__
    assert {"numpy", "pillow", "accelerate", "platform"} <= set(session["software"])
    assert session["started_at"] <= session["finished_at"]


@pytest.mark.django_db
def test_a_resume_under_another_revision_works_and_is_recorded(generate: Generate, interrupted: Path) -> None:
    path = interrupted / "sessions.json"
    sessions = json.loads(path.read_text())
    assert sessions[0]["finished_at"] is None
    sessions[0]["code"] = {"version": "0.0.9", "revision": "f" * 40, "dirty": True}
    path.write_text(json.dumps(sessions))
    generate(interrupted)
    first, second = GenerationRun.objects.get(name="set", arm="robust").sessions
    assert (first["code"]["revision"], first["finished_at"]) == ("f" * 40, None)
    assert second["code"] == describe_code()
    assert not path.exists()


@pytest.mark.django_db
def test_a_resumed_run_computes_with_as_many_threads_as_it_began_with(generate: Generate, interrupted: Path) -> None:
    path = interrupted / "sessions.json"
    sessions = json.loads(path.read_text())
    sessions[0]["devices"][0]["threads"] = 2
    path.write_text(json.dumps(sessions))
    before = torch.get_num_threads()
    try:
        generate(interrupted)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.django_db
@pytest.mark.parametrize("damage", [None, "{", "{}"])
def test_a_record_that_is_gone_or_broken_does_not_stop_a_resume(
    generate: Generate, interrupted: Path, damage: str | None
) -> None:
    path = interrupted / "sessions.json"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    generate(interrupted)
    (session,) = GenerationRun.objects.get(name="set", arm="robust").sessions
    assert session["finished_at"] is not None


@pytest.mark.django_db
def test_more_pairs_add_a_session_and_none_adds_none(generate: Generate, tmp_path: Path) -> None:
    generate(tmp_path / "set", count=2)
    generate(tmp_path / "set", count=4)
    generate(tmp_path / "set", count=4)
    assert len(GenerationRun.objects.get(name="set", arm="robust").sessions) == 2


def test_code_is_told_by_git_revision_and_whether_it_was_changed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    assert describe_code(tmp_path) == {"version": "1.2", "revision": None, "dirty": None}
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "begin")
    head = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("of my own")
    assert describe_code(tmp_path) == {"version": "1.2", "revision": head, "dirty": False}
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.3"\n')
    assert describe_code(tmp_path) == {"version": "1.3", "revision": head, "dirty": True}


def test_a_repository_around_the_project_is_not_taken_for_its_own(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "begin")
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    assert describe_code(tmp_path / "vendored")["revision"] is None


@pytest.mark.django_db
def test_the_admin_shows_both_readably(generate: Generate, tmp_path: Path, admin_client: Client) -> None:
    generate(tmp_path / "set")
    run = GenerationRun.objects.get(name="set", arm="robust")
    run.sessions[0]["code"] = {"version": "0.1.0", "revision": "0123456789abcdef", "dirty": True}
    run.sessions[0]["notes"] = ["a <b>note</b>"]
    run.save()
    page = admin_client.get(f"/admin/generation/generationrun/{run.pk}/change/").content.decode()
    for name, value in (
        ("preset.image.size", "8"),
        ("preset.diffusion.channel_mult", "1, 1"),
        ("diffusion_sha256", run.settings["diffusion_sha256"]),
        ("code.revision", "0123456789abcdef"),
        ("devices 1.type", "cpu"),
        ("software.torch", torch.__version__),
        ("notes", "a &lt;b&gt;note&lt;/b&gt;"),
    ):
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in page
    listed = admin_client.get("/admin/generation/generationrun/").content.decode()
    assert "0.1.0 (0123456789, changed)" in listed


@pytest.mark.django_db
def test_the_admin_shows_runs_from_before_sessions_were_recorded(admin_client: Client) -> None:
    run = GenerationRun.objects.create(name="old", arm="robust", preset="tiny", directory="x", settings={"seed": 1})
    page = admin_client.get(f"/admin/generation/generationrun/{run.pk}/change/").content.decode()
    assert "not recorded" in page
    assert admin_client.get("/admin/generation/generationrun/").status_code == 200
