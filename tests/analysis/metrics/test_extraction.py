"""Features made by several processes are those of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.core.management import call_command

from analysis.metrics.images import open_images
from tests.analysis.metrics.pictures import noise_images, write_folder

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start a command in two processes, of one thread each as the tests themselves: sums round alike."""
    return subprocess.Popen(
        [*LAUNCH, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def test_two_processes_measure_what_one_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of 4, of which the last is short, of a folder and of an .npz."""
    write_folder(tmp_path / "reference", noise_images(42, seed=0))
    write_folder(tmp_path / "a", noise_images(30, seed=1))
    np.savez_compressed(tmp_path / "b.npz", noise_images(31, seed=2, shift=20), np.zeros(31, np.int64))
    command = ["compute_metrics", "--generated", str(tmp_path / "a"), str(tmp_path / "b.npz"), "--reference"]
    command += [str(tmp_path / "reference"), "--batch-size", "4", "--device", "cpu"]
    run = start(command)
    call_command(*command)
    one, two = json.loads(capsys.readouterr().out), json.loads(finished(run))
    assert one == two
    assert [arm["count"] for arm in two["arms"].values()] == [30, 31]


def test_two_processes_write_the_reference_of_one_and_tell_it_once(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "reference", noise_images(9, seed=0))
    command = ["make_reference", str(images), "--batch-size", "2", "--device", "cpu", "--output"]
    run = start([*command, str(tmp_path / "two.npz")])
    call_command(*command, str(tmp_path / "one.npz"))
    assert finished(run).count("9 images") == 1
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert one.files == two.files
    for name in ("arr_0", "mu", "sigma"):
        np.testing.assert_array_equal(one[name], two[name])


def test_an_image_that_cannot_be_read_is_told_once_by_whoever_met_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", noise_images(20, seed=1))
    broken = (folder / "0013.png").read_bytes()
    (folder / "0013.png").write_bytes(broken[: len(broken) // 2])
    place = str(folder)
    run = start(["compute_metrics", "--generated", place, "--reference", place, "--batch-size", "2", "--device", "cpu"])
    _, err = run.communicate(timeout=200)
    assert run.returncode != 0
    assert err.count("0013.png cannot be read as an image") == 1


@pytest.mark.parametrize("name", ["plain", "compressed"])
def test_batches_of_an_archive_can_be_passed_over(tmp_path: Path, name: str) -> None:
    images = noise_images(11, seed=3, size=8, channels=3)
    (np.savez if name == "plain" else np.savez_compressed)(tmp_path / "a.npz", images)
    found = open_images(tmp_path / "a.npz")
    batches = list(found.batches(4, [4, 8]))  # type: ignore[union-attr]
    assert [start for start, _ in batches] == [4, 8]
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), images[4:])
