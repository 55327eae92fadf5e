"""`--dry-run`: the plan and what it will take, measured, and nothing written."""

import re
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from torch import Tensor

from generation.batches import BatchMaker, Networks
from generation.errors import SettingsError
from generation.estimates import Estimate, _measure
from generation.guidance.score import Guidance
from generation.management.dry_run import duration, size
from generation.models import GeneratedImage, GenerationRun
from generation.presets import Preset
from tests.generation.test_archives import plan_of
from tests.generation.test_batches import CPU, Cramped

Run = Any


@pytest.fixture
def run(tiny_path: Path, weights: dict[str, Path]) -> Run:
    def call(command: str, output: Path, **options: Any) -> str:
        out = StringIO()
        settings = {"count": 5, "seed": 3, "batch_size": 2, **weights, **options}
        call_command(command, str(tiny_path), output=output, stdout=out, **settings)
        return out.getvalue()

    return call


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.django_db
def test_pairs_are_planned_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    before = files(tmp_path)
    told = run("generate_pairs", tmp_path / "deep" / "set", dry_run=True, classes=["hat", "bag"], name="mine")
    assert files(tmp_path) == before
    assert not GenerationRun.objects.exists()
    for line in (
        r"^preset +tiny, 8x8 pixels$",
        r"^count +5 pairs, seed 3$",
        r"^arm +robust: robust.safetensors \(.+ kB\), scale 1$",
        r"^arm +vanilla: vanilla.safetensors \(.+ kB\), scale 0.5$",
        r"^classes +2: hat, bag$",
        r"^sampler +ddpm, respacing 4, float32$",
        r"^writes +10 PNGs and manifest.csv in .*/deep/set, 640 bytes before they are compressed$",
        r"^writes +10 rows of 2 runs named 'mine'$",
        r"^batches +3 of 2, 4 steps each$",
        r"^device +.+, 1 thread; 1 process$",
        r"^memory +weights .+ MB; this run at the peak .+B, measured$",
        r"^time +about .+, at .+ seconds a step of 2, measured here over 3$",
        r"^A dry run: nothing was written.$",
    ):
        assert re.search(line, told, re.MULTILINE), line


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_samples_are_planned_and_nothing_is_written(run: Run, tmp_path: Path, name: str) -> None:
    before = files(tmp_path)
    told = run("generate_samples", tmp_path / name, dry_run=True, guidance="unguided", sampler="ddim", steps="1")
    assert files(tmp_path) == before
    assert "5 samples, seed 3" in told
    assert "unguided: no classifier" in told
    assert "ddim with eta 0, respacing 1, float32" in told
    assert "measured here over 1" in told


@pytest.mark.django_db
def test_what_is_there_already_is_counted_and_kept(run: Run, tmp_path: Path) -> None:
    run("generate_pairs", tmp_path / "set", count=4)
    before = files(tmp_path)
    assert "3 of 2, 4 steps each; 2 of them are there already" in run("generate_pairs", tmp_path / "set", dry_run=True)
    assert "about 0 seconds" in run("generate_pairs", tmp_path / "set", count=4, dry_run=True)
    assert files(tmp_path) == before
    assert GeneratedImage.objects.count() == 8


def test_a_finished_archive_needs_nothing(run: Run, tmp_path: Path) -> None:
    run("generate_samples", tmp_path / "out.npz", guidance="robust")
    before = files(tmp_path)
    told = run("generate_samples", tmp_path / "out.npz", guidance="robust", dry_run=True)
    assert "is finished, with 5 samples: nothing to make" in told
    assert files(tmp_path) == before


@pytest.mark.django_db
def test_what_would_be_refused_is_refused(run: Run, tmp_path: Path) -> None:
    run("generate_pairs", tmp_path / "set")
    for options, message in (
        ({"seed": 4, "name": "four"}, r"made with another seed \(3, now 4\)"),
        ({"count": 3}, "holds more than 3 already"),
        ({"robust": Path("absent.pt")}, "No checkpoint absent.pt"),
        ({"name": "a b"}, "use at most 80 letters"),
    ):
        with pytest.raises(CommandError, match=message):
            run("generate_pairs", tmp_path / "set", dry_run=True, **options)
    with pytest.raises(CommandError, match="name 'set' is taken"):
        run("generate_pairs", tmp_path / "other", seed=4, name="set", dry_run=True)


class Slow:
    """A U-Net that takes 20 ms a call, and 200 ms the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
        time.sleep(0.02 if self.calls else 0.2)
        self.calls += 1
        return torch.cat([x_t, torch.zeros_like(x_t)], dim=1)


def maker_of(preset: Preset, unet: Any, file: Path) -> BatchMaker:
    file.write_bytes(b"")
    return BatchMaker(plan_of(preset, file, count=8, batch_size=8), Networks(unet, (Guidance(),)), CPU)


def test_steps_are_timed_after_one_to_warm_up(tiny: Preset, tmp_path: Path) -> None:
    unet = Slow()
    at_once, seconds = _measure(maker_of(tiny, unet, tmp_path / "w"), range(8))
    assert (at_once, len(seconds), unet.calls) == (8, 3, 4)
    assert 0.02 <= min(seconds) < 0.2


def test_a_batch_that_does_not_fit_is_measured_in_parts(tiny: Preset, tmp_path: Path) -> None:
    at_once, _ = _measure(maker_of(tiny, Cramped(3, torch.OutOfMemoryError), tmp_path / "w"), range(8))
    assert at_once == 2
    with pytest.raises(SettingsError, match="too little memory for a single pair"):
        _measure(maker_of(tiny, Cramped(0), tmp_path / "w"), range(8))


def test_the_time_is_that_of_the_busiest_process() -> None:
    """10 batches for 3 processes: 4 for one; in 2 parts of 4; 50 steps of half a second each."""
    measured = Estimate(
        missing=10, steps=50, at_once=4, step_seconds=0.5, timed_steps=3, weights=0, peak=0, capacity=None
    )
    assert measured.seconds(batch_size=8, processes=3) == 4 * 2 * 50 * 0.5
    assert measured.seconds(batch_size=8, processes=1) == 10 * 2 * 50 * 0.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (5399, "90 minutes"), (5400, "1.5 hours"),
     (200_000, "2.3 days")],
)  # fmt: skip
def test_times_are_told_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (2_400_000_000, "2.4 GB")]
)
def test_sizes_are_told_in_the_unit_that_suits_them(count: int, text: str) -> None:
    assert size(count) == text
