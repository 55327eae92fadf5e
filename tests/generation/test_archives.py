"""Archives of samples: what is in them, and how much memory their making takes."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from PIL import Image as PillowImage

from generation.archives import ArchiveParts
from generation.folders import ImageFolder
from generation.plans import ArmPlan, SamplingPlan
from generation.presets import Preset
from generation.targets import all_classes, resolve_targets


def plan_of(
    preset: Preset, weights: Path, *, count: int, batch_size: int, classes: list[str] | None = None
) -> SamplingPlan:
    return SamplingPlan(
        preset=preset,
        count=count,
        seed=0,
        classes=resolve_targets(preset, classes) if classes else all_classes(preset.image),
        diffusion=weights,
        arms=(ArmPlan("unguided", None, 0.0),),
        respacing="4",
        sampler="ddpm",
        precision=torch.float32,
        batch_size=batch_size,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Stands for the U-Net: nothing here computes."""
    path = tmp_path / "weights"
    path.write_bytes(b"")
    return path


def test_colours_come_last_and_rows_come_first(adm16: Preset, file: Path, tmp_path: Path) -> None:
    """Red grows downwards, green to the right, blue with the sample."""
    plan = plan_of(adm16, file, count=3, batch_size=2)
    images = torch.zeros(1, 3, 3, 16, 16, dtype=torch.uint8)
    images[0, :, 0] = torch.arange(16)[:, None]
    images[0, :, 1] = torch.arange(16)[None, :]
    images[0, :, 2] = torch.arange(3)[:, None, None]
    parts, folder = ArchiveParts(plan, tmp_path / "parts"), ImageFolder(plan, tmp_path / "png", flat=True)
    for batch in (range(2), range(2, 3)):
        parts.write(batch, images[:, list(batch)])
        folder.write(batch, images[:, list(batch)])
    parts.pack(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        found = archive["arr_0"]
    assert found.shape == (3, 16, 16, 3)
    assert found[2, 5, 9].tolist() == [5, 9, 2]
    with PillowImage.open(tmp_path / "png" / "000002.png") as image:
        assert image.getpixel((9, 5)) == (5, 9, 2)


def test_a_combination_of_classes_is_counted_on_from_the_presets(tiny: Preset, file: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, file, count=4, batch_size=4, classes=["bag", "hat+bag"])
    parts = ArchiveParts(plan, tmp_path / "parts")
    parts.write(range(4), torch.zeros(1, 4, 1, 8, 8, dtype=torch.uint8))
    parts.pack(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        assert sorted(archive["arr_1"].tolist()) == [2, 2, 3, 3]


@pytest.mark.parametrize("damage", ["gone", "cut", "of another shape", "of another type", "pickled"])
def test_a_part_that_is_not_whole_does_not_count(tiny: Preset, file: Path, tmp_path: Path, damage: str) -> None:
    parts = ArchiveParts(plan_of(tiny, file, count=2, batch_size=2), tmp_path / "parts")
    parts.write(range(2), torch.zeros(1, 2, 1, 8, 8, dtype=torch.uint8))
    assert parts.holds(range(2))
    path = tmp_path / "parts" / "000000.npy"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "of another shape":
        np.save(path, np.zeros((2, 8, 8, 3), dtype=np.uint8))
    elif damage == "of another type":
        np.save(path, np.zeros((2, 8, 8, 1), dtype=np.float32))
    else:
        np.save(path, np.array([{}, {}]))
    assert not parts.holds(range(2))


def test_packing_takes_the_same_memory_however_many_samples_there_are(tiny: Preset, file: Path, tmp_path: Path) -> None:
    """64 MiB of parts pass through in blocks of 1 MiB."""
    large = dataclasses.replace(tiny, image=dataclasses.replace(tiny.image, size=256))
    plan = plan_of(large, file, count=1 << 10, batch_size=1 << 6)
    parts = ArchiveParts(plan, tmp_path / "parts")
    parts.folder.mkdir()
    for batch in plan.batches:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(batch), 256, 256, 1)}
        with (parts.folder / f"{batch.start:06d}.npy").open("wb") as part:
            npy.write_array_header_1_0(part, header)
            part.truncate(part.tell() + (len(batch) << 16))
        assert parts.holds(batch)
    tracemalloc.start()
    parts.pack(tmp_path / "out.npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out.npz").stat().st_size > 64 << 20
    assert peak < 8 << 20
