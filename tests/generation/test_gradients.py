import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.conf import settings
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from torch import Tensor

from generation.checkpoints import sha256_of
from generation.datasets import LabelledImages
from generation.datasets.masks import foreground, foreground_masks
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.gallery import classifiers_folder
from generation.guidance.classifier import TimeClassifier
from generation.pictures.gradients import (
    default_timesteps,
    energy_share,
    gradient_sheet,
    measure_energy,
    min_max,
)
from generation.pictures.heldout import Named, choose_examples, choose_rows
from generation.pictures.intervals import mean_of
from generation.presets import Schedule
from tests.generation.conftest import write_idx


def test_the_smallest_value_becomes_black_and_the_largest_white_over_all_channels() -> None:
    gradient = torch.tensor([[[[-3.0, 1.0]], [[0.0, 5.0]]], [[[2.0, 2.0]], [[2.0, 4.0]]]])
    # (g + 3) / 8, and (g - 2) / 2.
    expected = torch.tensor([[[[0.0, 0.5]], [[0.375, 1.0]]], [[[0.0, 0.0]], [[0.0, 1.0]]]])
    assert torch.equal(min_max(gradient), expected)


def test_a_gradient_of_one_value_is_mid_grey() -> None:
    assert torch.equal(min_max(torch.full((1, 1, 2, 2), 7.0)), torch.full((1, 1, 2, 2), 0.5))


@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_neither_the_scale_nor_the_level_of_a_gradient_matters(scale: float, level: float) -> None:
    gradient = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    assert torch.allclose(min_max(scale * gradient + level), min_max(gradient), atol=1e-9)


def test_the_share_of_energy_is_that_of_the_squares() -> None:
    gradient = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]], [[0.0, -4.0], [0.0, 2.0]]]])
    on_object = torch.tensor([[[True, False], [False, True]]])
    # 9 and 1 + 4 of 9 + 16 + 1 + 4.
    assert energy_share(gradient, on_object).tolist() == [14 / 30]


def test_the_smallest_gradients_have_shares_and_zero_has_none() -> None:
    gradient = torch.tensor([[[[1e-30, 1e-30]]], [[[0.0, 0.0]]]])
    half, nothing = energy_share(gradient, torch.tensor([[[True, False]]] * 2)).tolist()
    assert half == pytest.approx(0.5)
    assert math.isnan(nothing)


def test_the_object_is_what_is_not_black() -> None:
    images = torch.tensor([[[[0, 1], [0, 0]], [[0, 0], [9, 0]]]], dtype=torch.uint8)
    assert foreground(images).tolist() == [[[False, True], [True, False]]]


def test_the_interval_is_students() -> None:
    mean = mean_of(np.array([0.1, 0.2, 0.3, 0.4]))
    # The deviation is 0.12910, of the mean 0.06455; Student's 97.5 % of 3 degrees of freedom is 3.18245.
    assert mean.images == 4
    assert [mean.low, mean.value, mean.high] == pytest.approx([0.25 - 0.205426, 0.25, 0.25 + 0.205426], abs=1e-5)
    alone = mean_of(np.array([0.5]))
    assert (alone.value, math.isnan(alone.low)) == (0.5, True)


def test_timesteps_are_in_proportion_to_the_schedule() -> None:
    assert default_timesteps(1000) == [0, 50, 100, 200, 300, 500, 700, 900]
    assert default_timesteps(10) == [0, 1, 2, 3, 5, 7, 9]


SIZE = 4


@pytest.fixture(scope="module")
def halves() -> LabelledImages:
    """Twelve images of which the left half is grey, on black; two classes in turn."""
    images = torch.zeros(12, 1, SIZE, SIZE, dtype=torch.uint8)
    images[..., : SIZE // 2] = 200
    return LabelledImages("halves", images, torch.arange(12) % 2)


def linear(weight: Tensor) -> Any:
    """Two classes whose logits differ by a weighted sum of pixels: every gradient is the weight, times a number."""

    def classify(x: Tensor, timestep: Tensor) -> Tensor:
        score = (x * weight).sum((1, 2, 3))
        return torch.stack([score, -score], 1)

    return classify


def test_the_measured_share_is_that_of_the_weights(halves: LabelledImages) -> None:
    # Left columns 2, right columns 1: 4 parts of energy of 5. And on the object alone.
    uneven = torch.full((SIZE, SIZE), 0.001)
    uneven[:, :2] = 0.002
    object_only = torch.zeros(SIZE, SIZE)
    object_only[:, :2] = 0.001
    energy = measure_energy(
        [Named("uneven", linear(uneven)), Named("object", linear(object_only))],
        halves,
        foreground_masks(halves),
        Process(build_schedule(Schedule()), learn_sigma=False),
        rows=range(12),
        timesteps=[500, 0],
        seed=0,
        batch_size=5,
        on_batch=lambda _count: None,
    )
    assert [at.timestep for at in energy.at] == [0, 500]
    assert (energy.area.value, energy.area.images) == (0.5, 12)
    for at in energy.at:
        assert [share.value for share in at.shares] == pytest.approx([0.8, 1.0], abs=1e-6)
        assert at.difference.value == pytest.approx(0.2, abs=1e-6)
        assert at.left_out == 0


def test_images_without_any_gradient_are_left_out_for_all_and_counted(halves: LabelledImages) -> None:
    def indifferent(x: Tensor, timestep: Tensor) -> Tensor:
        # Knows nothing of images whose first pixel is below 0 after the noise.
        score = x.mean((1, 2, 3)) * (x[:, 0, 0, 0] > 0)
        return torch.stack([score, -score], 1)

    energy = measure_energy(
        [Named("all", linear(torch.ones(SIZE, SIZE) / 100)), Named("some", indifferent)],
        halves,
        foreground_masks(halves),
        Process(build_schedule(Schedule()), learn_sigma=False),
        rows=range(12),
        timesteps=[900],
        seed=0,
        batch_size=12,
        on_batch=lambda _count: None,
    )
    at = energy.at[0]
    assert 0 < at.left_out < 12
    assert [share.images for share in at.shares] == [12 - at.left_out] * 2
    assert at.difference.images == 12 - at.left_out


def test_the_sheet_has_each_classifiers_gradients_under_the_others(
    vanilla: TimeClassifier, robust: TimeClassifier
) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8))
    data = LabelledImages("colours", images, torch.tensor([3, 1, 0, 2]))
    sheet = gradient_sheet(
        [Named("vanilla", vanilla), Named("robust", robust)],
        data,
        Process(build_schedule(Schedule()), learn_sigma=False),
        rows=[1, 3],
        timesteps=[0, 600],
        names=["a", "b", "c", "d"],
        seed=0,
    )
    assert list(sheet.labels) == ["b\nvanilla", "robust", "c\nvanilla", "robust"]
    assert list(sheet.headings) == ["image", "t = 0", "t = 600"]
    assert sheet.group == 2
    for number, row in enumerate(sheet.rows):
        image, *gradients = row
        if number % 2:
            assert image is None
        else:
            assert image is not None
            # To [-1, 1] and back loses at most a level.
            assert np.abs(image.astype(int) - images[[1, 3][number // 2]].permute(1, 2, 0).numpy()).max() <= 1
        for gradient in gradients:
            assert gradient is not None
            assert (gradient.shape, gradient.min(), gradient.max()) == ((16, 16, 3), 0, 255)
    assert not np.array_equal(sheet.rows[0][1], sheet.rows[1][1])  # type: ignore[arg-type]


def test_fewer_images_are_among_more_and_examples_are_of_different_classes(halves: LabelledImages) -> None:
    assert set(choose_rows(100, 10, seed=3)) < set(choose_rows(100, 20, seed=3))
    assert choose_rows(5, None, seed=3) == [0, 1, 2, 3, 4]
    rows = choose_examples(halves, 2, seed=1)
    assert halves.labels[rows].tolist() == [0, 1]
    assert len(set(choose_examples(halves, 12, seed=1))) == 12


def plot(preset: Path, data: Path, weights: dict[str, Path], **options: Any) -> None:
    call_command(
        "plot_gradients", str(preset), data=data, vanilla=weights["vanilla"], robust=weights["robust"], **options
    )


def test_the_command_writes_picture_plot_and_numbers_where_the_pages_look(
    tiny_path: Path, data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    plot(tiny_path, data, weights, timesteps=[0, 500], examples=2, zoom=2)
    root = Path(settings.DATA_DIR) / "pictures"
    folder = classifiers_folder(root, sha256_of(weights["vanilla"]), sha256_of(weights["robust"]))
    with PillowImage.open(folder / "gradients.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    report = json.loads((folder / "gradient-energy.json").read_text())
    assert [classifier["sha256"] for classifier in report["classifiers"]] == [
        sha256_of(weights[kind]) for kind in ("vanilla", "robust")
    ]
    # Images of 4x4 pixels that are nowhere black, on 8x8: but for a few whose noise was 0.
    assert report["area"]["mean"] == pytest.approx(0.25, abs=0.02)
    assert report["area"]["images"] == 6
    assert [at["timestep"] for at in report["timesteps"]] == [0, 500]
    with (folder / "gradient-energy.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["timestep"], line["what"]) for line in lines] == [
        ("", "pixels on the object"),
        *((t, what) for t in ("0", "500") for what in ("vanilla", "robust", "robust less vanilla")),
    ]
    assert float(lines[1]["mean"]) == report["timesteps"][0]["shares"]["vanilla"]["mean"]
    assert (folder / "gradient-energy.svg").read_text().startswith("<?xml")


def test_masks_decide_where_the_object_is(
    tiny_path: Path, data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    masks = np.zeros((6, 8, 8), dtype=np.uint8)
    masks[:, 0, 0] = 1
    np.save(tmp_path / "masks.npy", masks)
    plot(tiny_path, data, weights, masks=tmp_path / "masks.npy", timesteps=[0], output=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "gradient-energy.json").read_text())
    assert report["area"]["mean"] == 1 / 64


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Two held-out images of each of three classes, 8x16: the left half bright."""
    for name in ("hat", "shoe, left", "bag"):
        for split in ("train", "val"):
            folder = tmp_path / "own" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = np.full((8, 16), 40 + number, dtype=np.uint8)
                pixels[:, :8] = 250
                PillowImage.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "own"


def test_without_masks_the_share_is_left_out_and_said_so(
    tiny_path: Path, class_folders: Path, weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot(tiny_path, class_folders, weights, timesteps=[0], output=tmp_path / "out")
    assert "left out: give --masks" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gradients.png"]


def test_a_folder_of_masks_is_cut_as_the_images_are(
    tiny_path: Path, class_folders: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    for path in (class_folders / "val").rglob("*.png"):
        mask = np.zeros((8, 16), dtype=np.uint8)
        mask[:, 4:6] = 255
        (tmp_path / "masks" / path.parent.name).mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(mask).save(tmp_path / "masks" / path.parent.name / path.name)
    plot(tiny_path, class_folders, weights, timesteps=[0], masks=tmp_path / "masks", output=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "gradient-energy.json").read_text())
    # The middle 8 of 16 columns are cut out, of which two are the object's.
    assert report["area"]["mean"] == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": [1000]}, "the preset's last one is 999"),
        ({"rows": [6]}, "No held-out image 6"),
        ({"masks": Path("/none.npy")}, "holds no masks"),
        ({"masks": Path("/none.npy"), "skip_corrupt": True}, "exclude each other"),
        ({"robust": "vanilla"}, "are the same network"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(
    tiny_path: Path, data: Path, weights: dict[str, Path], options: dict[str, Any], message: str
) -> None:
    if "robust" in options:
        weights = {**weights, "robust": weights["vanilla"]}
        options = {}
    with pytest.raises(CommandError, match=message):
        plot(tiny_path, data, weights, **options)


def test_masks_of_another_shape_are_refused(
    tiny_path: Path, data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    np.save(tmp_path / "masks.npy", np.zeros((6, 4, 4)))
    with pytest.raises(CommandError, match=r"must be \(6, 8, 8\)"):
        plot(tiny_path, data, weights, masks=tmp_path / "masks.npy")
    write_idx(data / "masks.gz", np.zeros((6, 8, 8)))
    with pytest.raises(CommandError, match="holds no masks"):
        plot(tiny_path, data, weights, masks=data / "masks.gz")
