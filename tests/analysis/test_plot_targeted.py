"""Targeted attacks and their judge."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage
from torch import Tensor

from analysis.metrics.fashion import WEIGHTS, FashionNetwork, FashionRecipe, save_fashion
from analysis.metrics.judges import load_judge
from generation.checkpoints import Metadata, save_network, sha256_of
from generation.datasets import LabelledImages
from generation.errors import CheckpointError
from generation.guidance.classifier import build_classifier
from generation.pictures.heldout import Named
from generation.pictures.targeted import attack_for, draw_targets, measure_targeted, scaled_radius, targeted_sheet
from generation.presets import Image, Preset, load_preset
from tests.generation.conftest import TINY, named_weights, write_idx

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("channels", "size", "radius"),
    # 100 sqrt(1024 / 49152) = 100 / sqrt(48), and 100 sqrt(3072 / 49152) = 100 / 4.
    [(3, 128, 100.0), (1, 32, 14.433757), (3, 32, 25.0), (3, 256, 200.0)],
)
def test_the_radius_grows_with_the_root_of_the_number_of_values(channels: int, size: int, radius: float) -> None:
    assert scaled_radius(Image(size=size, channels=channels, classes=10)) == pytest.approx(radius, rel=1e-6)


def test_a_step_is_two_and_a_half_radii_over_seven() -> None:
    attack = attack_for(Image(size=128, channels=3, classes=1000))
    assert (attack.epsilon, attack.steps) == (100, 7)
    assert attack.step_size == pytest.approx(250 / 7)
    other = attack_for(Image(size=128, channels=3, classes=1000), epsilon=8, steps=4)
    assert (other.epsilon, other.step_size) == (8, 5)


def test_targets_are_any_class_but_the_true_one_whatever_the_batch() -> None:
    labels = torch.arange(300) % 4
    targets = draw_targets(labels, 4, range(300), seed=1)
    assert not (targets == labels).any()
    counts = torch.bincount(labels * 4 + targets, minlength=16).reshape(4, 4)
    # 75 images of each class, 25 expected of each other one.
    assert (counts.diagonal() == 0).all()
    assert counts[~torch.eye(4, dtype=torch.bool)].min() > 10
    assert torch.equal(draw_targets(labels[7:9], 4, [7, 8], seed=1), targets[7:9])


def by_brightness(sign: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Class 1 where the mean is above mid-grey (or below, with -1); a gradient of one value."""

    def classify(x: Tensor, timestep: Tensor) -> Tensor:
        mean = sign * x.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)

    return classify


@pytest.fixture(scope="module")
def greys() -> LabelledImages:
    """Ten images of 4x4, all of a grey between 64 and 191; class 1 is the bright half."""
    level = torch.linspace(64, 191, 10).round().to(torch.uint8)
    return LabelledImages("greys", level[:, None, None, None].expand(10, 1, 4, 4).contiguous(), (level > 127).long())


def judge(images: Tensor) -> Tensor:
    mean = images.float().mean((1, 2, 3)) - 127.5
    return torch.stack([-mean, mean], 1)


def test_the_judge_reads_what_each_classifier_made_and_what_there_was(greys: LabelledImages) -> None:
    # A radius of 4 moves each of 16 values by 1 of 2: past mid-grey, whence ever.
    shares = measure_targeted(
        [Named("contrary", by_brightness(-1)), Named("right", by_brightness(1))],
        judge,
        greys,
        attack_for(Image(size=4, channels=1, classes=2), epsilon=4.0),
        rows=range(10),
        classes=2,
        seed=0,
        batch_size=4,
        device=CPU,
        on_batch=lambda _count: None,
    )
    assert [share.value for share in shares.judged] == [0, 1]
    assert [share.value for share in shares.own] == [1, 1]
    assert (shares.difference.value, shares.difference.images) == (1, 10)
    assert (shares.untouched.value, shares.judge.value) == (0, 1)
    # Wilson's interval of 0 of 10 ends at 3.8415 / 13.8415.
    assert shares.as_dict()["judged_as_target"]["contrary"]["high"] == pytest.approx(0.277533, abs=1e-5)


def test_changed_images_stay_within_the_radius_and_take_every_step(greys: LabelledImages) -> None:
    attack = attack_for(Image(size=4, channels=1, classes=2), epsilon=0.8, steps=2, step_size=0.3)
    x_0 = torch.zeros(1, 1, 4, 4)
    changed = attack(Named("right", by_brightness(1)), x_0, torch.tensor([1]))
    # Two steps of 0.3, each spread over 16 values: 0.6 / 4.
    assert torch.allclose(changed, torch.full_like(x_0, 0.15), atol=1e-6)
    far = attack_for(Image(size=4, channels=1, classes=2), epsilon=0.8, steps=5, step_size=0.3)
    assert torch.allclose(far(Named("right", by_brightness(1)), x_0, torch.tensor([1])), torch.full_like(x_0, 0.2))


def test_the_sheet_has_a_row_for_each_classifier_and_a_column_for_each_class(greys: LabelledImages) -> None:
    sheet = targeted_sheet(
        [Named("contrary", by_brightness(-1)), Named("right", by_brightness(1))],
        greys,
        attack_for(Image(size=4, channels=1, classes=2), epsilon=4.0),
        rows=[9],
        targets=[0, 1],
        names=["dark", "bright"],
        device=CPU,
    )
    assert (list(sheet.labels), list(sheet.headings)) == (["bright\ncontrary", "right"], ["image", "dark", "bright"])
    means = [[None if image is None else math.floor(image.mean()) for image in row] for row in sheet.rows]
    # 191 is 0.498 in [-1, 1]; a step of 1 either way, cut off at white.
    assert means == [[191, 255, 63], [None, 63, 255]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("t10k", 6)):
        labels = np.arange(count) % 3
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", labels[:, None, None] * np.full((1, 8, 8), 90))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", labels)
    return tmp_path


@pytest.fixture
def tiny(tmp_path: Path) -> Preset:
    (tmp_path / "tiny.toml").write_text(TINY)
    return load_preset(tmp_path / "tiny.toml")


@pytest.fixture
def weights(tmp_path: Path, tiny: Preset) -> dict[str, Path]:
    paths = {}
    for kind in ("vanilla", "robust", "third"):
        network = build_classifier(tiny)
        paths[kind] = tmp_path / f"{kind}.safetensors"
        metadata = Metadata("vanilla", tiny.as_dict(), tiny.image.class_names, 0, "none")
        save_network(paths[kind], named_weights(network, f"{kind}."), metadata)
    return paths


def plot(folder: Path, weights: dict[str, Path], **options: Any) -> None:
    call_command(
        "plot_targeted",
        str(folder / "tiny.toml"),
        data=folder,
        vanilla=weights["vanilla"],
        robust=weights["robust"],
        output=folder / "out",
        **{"examples": 2, **options},
    )


def test_the_command_writes_picture_and_numbers(folder: Path, weights: dict[str, Path]) -> None:
    plot(folder, weights, judge=str(weights["third"]), targets=["bag", "hat"])
    with PillowImage.open(folder / "out" / "targeted.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    report = json.loads((folder / "out" / "targeted.json").read_text())
    assert report["attack"]["epsilon"] == pytest.approx(100 * math.sqrt(64 / 49152))
    assert report["judge"]["sha256"] == sha256_of(weights["third"])
    assert report["judged_as_target"]["robust"]["images"] == 6
    with (folder / "out" / "targeted.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["what"] for line in lines][:3] == [
        "vanilla: judged as the target",
        "vanilla: read as the target by itself",
        "robust: judged as the target",
    ]
    assert float(lines[0]["share"]) == report["judged_as_target"]["vanilla"]["share"]


def test_without_a_judge_the_share_is_left_out_and_said_so(
    folder: Path, weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plot(folder, weights)
    assert "left out: give --judge" in capsys.readouterr().out
    assert [path.name for path in (folder / "out").iterdir()] == ["targeted.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge": "fashion"}, "knows 32x32 grey images of Fashion-MNIST's classes only"),
        ({"judge": "robust"}, "is one of the classifiers that it is to judge"),
        ({"targets": ["shoe, left", "cap"]}, "No class 'cap'"),
        ({"targets": ["hat+bag"]}, "single classes"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(
    folder: Path, weights: dict[str, Path], options: dict[str, Any], message: str
) -> None:
    if options.get("judge") == "robust":
        options = {"judge": str(weights["robust"])}
    with pytest.raises(CommandError, match=message):
        plot(folder, weights, **options)


def test_the_shipped_judge_reads_fashions_classes() -> None:
    preset = load_preset("fashion32")
    read, digest = load_judge("fashion", preset, [], class_order=None, device=CPU)
    assert digest == sha256_of(WEIGHTS)
    images = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    images[0, :, 4:28, 11:21] = 200  # a tall bar is no shoe,
    images[1, :, 20:27, 3:29] = 200  # and a low one is
    names = [preset.image.class_names[index] for index in read(images).argmax(1).tolist()]
    assert names[0] in {"trouser", "dress", "T-shirt/top", "shirt"}
    assert names[1] in {"sneaker", "sandal", "bag", "ankle boot"}


def test_a_feature_network_is_no_third_classifier(tmp_path: Path, tiny: Preset) -> None:
    network = FashionNetwork()
    data = LabelledImages("none", torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    save_fashion(tmp_path / "features.safetensors", network, FashionRecipe(), data, 0)
    with pytest.raises(CheckpointError, match="does not fit preset tiny"):
        load_judge(str(tmp_path / "features.safetensors"), tiny, [], class_order=None, device=CPU)
