"""`run_sweep` from a file to its tables: on a tiny preset, stopped, taken up again, and shared."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from PIL import Image as Pillow

from analysis.sweeps.jobs import Job, Observer, work
from analysis.sweeps.store import Store
from generation.archives import ArchiveParts
from generation.processes import leave_launch
from generation.training.loop import Trainer

Run = Any

HEAD = """
title = "Hats & bags, 50% off_season"
preset = "{preset}"
data = "{data}"
{more}
[metrics]
names = ["fid", "precision", "recall"]
features = "{features}"
[sampling]
count = 8
batch_size = 4
[networks]
diffusion = "{diffusion}"
vanilla = "{vanilla}"
robust = "{robust}"
"""
SCALES = 'kind = "scales"' + HEAD + "[grid]\nscales = [0, 200]\n"
ARMS = 'kind = "arms"' + HEAD + "[grid]\nvanilla_scales = [50]\nrobust_scales = [100]\n"
ITERATIONS = 'kind = "iterations"' + HEAD.replace('diffusion = "{diffusion}"\n', "") + "[grid]\niterations = [4, 2]\n"
ATTACKS = 'kind = "attacks"' + HEAD.replace('robust = "{robust}"\n', "").replace('vanilla = "{vanilla}"\n', "")
ATTACKS += '[grid]\nthreat_models = ["l2 0.5"]\nattack_steps = [1, 2]\nscale = 100\n'
ATTACKS += "[training.classifier]\niterations = 2\n"


class Killed(BaseException):
    """Like SIGKILL, it is nobody's to catch."""


@pytest.fixture
def sweep(tmp_path: Path, tiny_path: Path, data: Path, weights: dict[str, Path], shades: Path) -> Run:
    def run(text: str = SCALES, *, output: str = "out", name: str = "mine", more: str = "", **options: Any) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text.format(preset=tiny_path, data=data, features=shades, more=more, **weights))
        call_command("run_sweep", str(path), output=tmp_path / output, stderr=io.StringIO(), **options)
        return tmp_path / output

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a finished sweep leaves it for the others."""
    return tmp_path_factory.mktemp("made") / "out"


@pytest.fixture
def done(sweep: Run, made: Path, tmp_path: Path) -> Path:
    """A finished sweep over scales. What decides its points is the same in every test, wherever it lies."""
    if not made.exists():
        shutil.copytree(sweep(), made)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    return Path(shutil.copytree(made, tmp_path / "out"))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def points(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "points").glob("*.json")}


def test_a_sweep_over_scales_is_tabled_drawn_and_compared(done: Path) -> None:
    out = done
    assert len(points(out)) == 3  # scale 0 is one point of both arms
    values = lines(out / "mine.csv")
    assert list(values[0]) == [
        *("arm", "minus", "guidance_scale", "metric", "value", "standard_error", "low", "high", "images"),
    ]
    fids = {(row["arm"], row["minus"], row["guidance_scale"]): row for row in values if row["metric"] == "fid"}
    assert [*fids] == [
        ("vanilla", "", "0"),
        ("vanilla", "", "200"),
        ("robust", "", "0"),
        ("robust", "", "200"),
        ("robust", "vanilla", "200"),
    ]
    assert fids["vanilla", "", "0"] == {**fids["robust", "", "0"], "arm": "vanilla"}
    robust, vanilla, difference = (
        fids[key] for key in (("robust", "", "200"), ("vanilla", "", "200"), ("robust", "vanilla", "200"))
    )
    assert float(difference["value"]) == pytest.approx(float(robust["value"]) - float(vanilla["value"]))
    assert float(difference["low"]) < float(difference["value"]) < float(difference["high"])
    result = json.loads((out / "mine.json").read_text())
    assert [each["matched"] for each in result["differences"]] == [True]
    assert result["sweep"]["sampling"]["count"] == 8
    with Pillow.open(out / "mine.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert (out / "mine.svg").read_text().startswith("<?xml")


def test_what_a_title_says_is_escaped_in_latex(done: Path) -> None:
    table = (done / "mine.tex").read_text()
    assert r"\caption{Hats \& bags, 50\% off\_season. 8 generated images" in table
    assert r"guidance scale & & 0 & 200 \\" in table
    assert r"robust@200 & vanilla@200 & $" in table


def test_a_finished_sweep_is_not_computed_again(sweep: Run, done: Path) -> None:
    out = done
    before, table = points(out), (out / "mine.csv").read_bytes()
    sweep()
    assert points(out) == before
    assert (out / "mine.csv").read_bytes() == table


@pytest.mark.parametrize("where", ["sampling", "measuring"])
def test_a_killed_sweep_goes_on_to_the_same_table(
    sweep: Run, done: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    calls = []

    def killed(self: Any, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed
        write(self, *arguments)

    owner: Any = ArchiveParts if where == "sampling" else Store
    write = owner.write
    with monkeypatch.context() as patch:
        patch.setattr(owner, "write", killed)
        with pytest.raises(Killed):
            sweep(output="killed")
    assert not (done.parent / "killed" / "mine.csv").exists()
    made = len(points(done.parent / "killed"))
    assert made == (0 if where == "sampling" else 1)
    out = sweep(output="killed")
    for ending in ("csv", "tex", "svg", "png"):
        assert (out / f"mine.{ending}").read_bytes() == (done / f"mine.{ending}").read_bytes(), ending


def test_a_killed_training_goes_on_to_the_same_table(sweep: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ITERATIONS + "[training]\nsave_every = 1\n"
    whole = sweep(text, output="whole")
    finish = Trainer._finish

    def killed(self: Trainer, sums: Any) -> Any:
        if self.step == 3:
            raise Killed
        return finish(self, sums)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", killed)
        with pytest.raises(Killed):
            sweep(text)
    out = sweep(text)
    assert (out / "mine.csv").read_bytes() == (whole / "mine.csv").read_bytes()
    fids = {row["training_iterations"]: row["value"] for row in lines(out / "mine.csv") if row["metric"] == "fid"}
    assert list(fids) == ["2", "4"]
    assert fids["2"] != fids["4"]


def test_a_changed_setting_is_measured_anew_and_the_old_points_are_kept(sweep: Run, done: Path) -> None:
    out = done
    first, table = points(out), (out / "mine.csv").read_bytes()
    sweep(SCALES.replace("count = 8", "count = 8\nseed = 5"))
    second = points(out)
    assert len(second) == 6
    assert first.items() <= second.items()
    assert (out / "mine.csv").read_bytes() != table
    sweep()
    assert points(out) == second
    assert (out / "mine.csv").read_bytes() == table


def test_another_metric_is_measured_on_the_same_images(sweep: Run, done: Path) -> None:
    out = done
    before = {path.name: path.stat().st_mtime_ns for path in (out / "samples").iterdir()}
    sweep(SCALES.replace('"recall"]', '"recall", "kid"]'))
    assert {path.name: path.stat().st_mtime_ns for path in (out / "samples").iterdir()} == before
    assert any(row["metric"] == "kid" for row in lines(out / "mine.csv"))


def test_images_are_dropped_where_the_sweep_says_so(sweep: Run) -> None:
    out = sweep(more="keep_samples = false")
    assert list((out / "samples").iterdir()) == []
    sweep(more="keep_samples = false")
    assert len(points(out)) == 3


def test_attacks_are_trained_and_compared_with_vanilla(sweep: Run) -> None:
    out = sweep(ATTACKS)
    assert len(list((out / "training").glob("robust-*"))) == 2
    assert len(list((out / "training").glob("vanilla-*"))) == 1
    rows = [row for row in lines(out / "mine.csv") if row["metric"] == "fid"]
    assert [(row["arm"], row["minus"], row["attack_steps"]) for row in rows] == [
        *[("vanilla", "", "1"), ("vanilla", "", "2"), ("l2 0.5", "", "1"), ("l2 0.5", "", "2")],
        *[("l2 0.5", "vanilla", "1"), ("l2 0.5", "vanilla", "2")],
    ]
    assert r"attack steps & & 1 & 2 \\" in (out / "mine.tex").read_text()


def test_arms_stand_at_the_best_scales_of_another_sweep(sweep: Run, done: Path) -> None:
    """With one scale to choose from the best is known."""
    text = ARMS + 'best_of = "scales.toml"\n'
    sweep(name="scales")
    out = sweep(text, name="table")
    assert (out / "scales.csv").read_bytes() == (out / "mine.csv").read_bytes()
    names = {row["arm"] for row in lines(out / "table.csv")}
    assert names == {"unguided", "vanilla 50", "robust 100", "vanilla 200", "robust 200"}
    differences = {(row["arm"], row["minus"]) for row in lines(out / "table.csv") if row["minus"]}
    assert {("robust 100", "vanilla 50"), ("robust 200", "vanilla 200"), ("robust 200", "unguided")} <= differences
    # Those of the first sweep are found: it had the same settings.
    assert len(points(out)) == 5


def test_a_dry_run_tells_what_is_to_do_and_writes_nothing(sweep: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = sweep(ATTACKS, dry_run=True)
    told = capsys.readouterr().out
    assert not out.exists()
    assert "training robust against l2 0.5 in 2 steps, 2 iterations" in told
    assert "3, of which 0 done; 8 images each, seed 0" in told
    assert "and the measuring" in told


def test_a_dry_run_tells_what_is_done(sweep: Run, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(dry_run=True)
    told = capsys.readouterr().out
    assert "3, of which 3 done" in told
    assert "to make" not in told


def test_two_processes_make_the_table_of_one(sweep: Run, done: Path) -> None:
    two = sweep(output="two", processes=2)
    assert (two / "mine.csv").read_bytes() == (done / "mine.csv").read_bytes()
    assert points(done).keys() == points(two).keys()


class Quiet:
    """An observer that nobody listens to."""

    def tell(self, note: str) -> None: ...

    def bar(self, name: str, total: int, unit: str) -> Any:
        raise NotImplementedError

    def goes_on(self) -> bool:
        return True


class Task:
    """A job that leaves a file, and says who did it."""

    def __init__(self, folder: Path, name: str, needs: tuple[str, ...] = ()) -> None:
        self.folder, self.name, self.key, self.needs = folder, name, name, needs

    def is_ready(self) -> bool:
        return all((self.folder / need).is_file() for need in self.needs)

    def is_done(self) -> bool:
        return (self.folder / self.name).is_file()

    def run(self, observer: Observer) -> None:
        time.sleep(0.02)
        with (self.folder / "log").open("a") as log:
            log.write(f"{self.name} {threading.current_thread().name}\n")
        (self.folder / self.name).write_text("")


def test_workers_share_jobs_without_doing_one_twice_and_wait_for_what_jobs_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.sweeps.jobs.POLL_SECONDS", 0.01)
    jobs: list[Job] = [Task(tmp_path, f"after-{number}", ("first",)) for number in range(12)]
    jobs.append(Task(tmp_path, "first"))
    store = Store(tmp_path)
    threads = [threading.Thread(target=work, args=(jobs, store, Quiet()), name=f"worker{n}") for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    log = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert log[0][0] == "first"
    assert sorted(name for name, _ in log) == sorted(job.name for job in jobs)
    assert len({worker for _, worker in log}) > 1


HOLDER = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_claim_ends_with_the_process_that_had_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claim("key") as mine:
        assert mine
    lock = str(tmp_path / "claims" / "key.lock")
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with store.claim("key") as mine:
            assert not mine
        with store.claim("another") as mine:
            assert mine
        holder.kill()
    with store.claim("key") as mine:
        assert mine


def test_processes_that_were_launched_together_work_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LOCAL_RANK", "3"), ("RANK", "11"), ("WORLD_SIZE", "16"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    assert leave_launch() == 3
    assert not {"LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()
    assert leave_launch() == 0


def test_shipped_sweeps_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("run_sweep", list=True)
    assert "fashion32-table1     Image quality on Fashion-MNIST, by guidance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('robust = "{robust}"', 'robust = "absent.pt"', "No checkpoint absent.pt"),
        ('data = "{data}"', "", "Sweep mine needs its data set: give --data FOLDER"),
        ('data = "{data}"', 'data = "absent"', "No folder absent"),
        ('features = "{features}"', 'features = "absent.pt"', "There are no features absent.pt"),
        ("[sampling]", 'reference = "absent.npz"\n[sampling]', "metrics.reference: there is no absent.npz"),
        ("count = 8", 'count = 8\nsampler = "ddpm"\neta = 0.5', "eta"),
        ("scales = [0, 200]", "scales = [0, 1e38]", "not finite: lower the guidance scale"),
    ],
)
def test_what_cannot_be_run_is_one_clear_line(sweep: Run, old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=message) as error:
        sweep(SCALES.replace(old, new))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "mine.csv").exists()


def test_a_point_that_cannot_be_read_is_named(sweep: Run, done: Path) -> None:
    out = done
    broken = next((out / "points").glob("*.json"))
    broken.write_text("{")
    with pytest.raises(CommandError, match=f"{broken.name} cannot be read .*: remove it"):
        sweep()


def test_a_sweep_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match=r"Which sweep\? Shipped are cifar10-table3"):
        call_command("run_sweep")
