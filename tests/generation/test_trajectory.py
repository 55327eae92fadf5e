from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.conf import settings
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage
from torch import Tensor

from generation.batches import BatchMaker, load_networks
from generation.errors import SettingsError
from generation.gallery import pair_picture
from generation.models import GeneratedImage, GenerationRun
from generation.pictures.trajectory import Trajectory, evenly_spaced, trace_pairs
from generation.replays import replayed_plan

pytestmark = pytest.mark.django_db

ARMS = ["robust", "unguided", "vanilla"]


@pytest.mark.parametrize(
    ("steps", "columns", "expected"),
    [
        (50, 8, [49, 42, 35, 28, 21, 14, 7, 0]),
        (250, 4, [249, 166, 83, 0]),
        (4, 8, [3, 2, 1, 0]),
        (10, 1, [0]),
    ],
)
def test_steps_are_evenly_spaced_from_the_first_to_the_last(steps: int, columns: int, expected: list[int]) -> None:
    assert evenly_spaced(steps, columns) == expected


@pytest.fixture
def made(tiny_path: Path, weights: dict[str, Path], tmp_path: Path) -> Any:
    """Make five pairs of all arms, in batches of two."""

    def make(**options: Any) -> Path:
        folder = tmp_path / "set"
        call_command(
            "generate_pairs", str(tiny_path), output=folder, name="set", stdout=StringIO(),
            **{"count": 5, "seed": 3, "batch_size": 2, "arms": ARMS, **weights, **options},
        )  # fmt: skip
        return folder

    return make


def trace(weights: dict[str, Path], pairs: list[int]) -> list[Trajectory]:
    recorded = {run.arm: run.settings for run in GenerationRun.objects.filter(name="set")}
    plan = replayed_plan("set", recorded, 5, list(weights.values()))
    device = torch.device("cpu")
    maker = BatchMaker(plan, load_networks(plan, device), device)
    return list(trace_pairs(maker, pairs, columns=3, on_step=lambda: None))


def stored(folder: Path, pair: int) -> Tensor:
    images = []
    for arm in ARMS:
        with PillowImage.open(folder / arm / f"{pair:06d}.png") as image:
            images.append(torch.from_numpy(np.asarray(image).copy())[None])
    return torch.stack(images)


def test_the_pairs_own_images_are_met_again(made: Any, weights: dict[str, Path]) -> None:
    folder = made()
    trajectories = trace(weights, [4, 1, 0])
    assert [trajectory.pair for trajectory in trajectories] == [0, 1, 4]
    for trajectory in trajectories:
        assert trajectory.arms == tuple(ARMS)
        assert trajectory.class_name == GeneratedImage.objects.filter(pair_index=trajectory.pair)[0].class_name
        assert torch.equal(trajectory.images, stored(folder, trajectory.pair))
        # The last step of an arm without guidance goes to the predicted x_0 itself.
        assert torch.equal(trajectory.x_0[1, -1], trajectory.images[1])
        assert trajectory.x_0.shape == (3, 3, 1, 8, 8)
        assert trajectory.timesteps == (999, 666, 0)
        assert [gradient is None for gradient in trajectory.gradients] == [False, True, False]


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp2m"])
def test_samplers_that_guide_x_0_end_with_the_last_prediction(
    made: Any, weights: dict[str, Path], sampler: str
) -> None:
    folder = made(sampler=sampler)
    for trajectory in trace(weights, [2, 3]):
        assert torch.equal(trajectory.x_0[:, -1], trajectory.images)
        assert torch.equal(trajectory.images, stored(folder, trajectory.pair))


def test_combinations_of_classes_are_made_again_as_well(made: Any, weights: dict[str, Path]) -> None:
    folder = made(classes=["bag", "hat+bag"])
    names = set()
    for trajectory in trace(weights, [0, 1]):
        names.add(trajectory.class_name)
        assert torch.equal(trajectory.images, stored(folder, trajectory.pair))
    assert names == {"bag", "hat + bag"}


def test_the_command_writes_where_the_pages_look_and_says_that_the_images_were_met(
    made: Any, weights: dict[str, Path]
) -> None:
    made()
    out = StringIO()
    call_command("plot_trajectory", "set", pairs=[3], columns=2, zoom=1, stdout=out, **weights)
    assert "the images are the stored ones" in out.getvalue()
    digests = list(GeneratedImage.objects.filter(pair_index=3).order_by("run__arm").values_list("sha256", flat=True))
    for picture in ("trajectory", "gradients"):
        path = pair_picture(Path(settings.DATA_DIR) / "pictures", "set", 3, digests, picture)
        with PillowImage.open(path) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_images_that_are_not_met_are_told_of(
    made: Any, weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made()
    path = folder / "vanilla" / "000000.png"
    with PillowImage.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0] ^= 3
    PillowImage.fromarray(pixels).save(path)
    out = StringIO()
    call_command("plot_trajectory", "set", pairs=[0], columns=2, output=tmp_path / "out", stdout=out, **weights)
    assert "not quite the stored ones" in out.getvalue()
    assert "1 of 64 pixels of arm vanilla differ" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "set-000000-gradients.png",
        "set-000000-trajectory.png",
    ]


def test_what_cannot_be_drawn_is_one_clear_line(made: Any, weights: dict[str, Path]) -> None:
    made()
    with pytest.raises(CommandError, match="No pairs are named 'other'"):
        call_command("plot_trajectory", "other", pairs=[0])
    with pytest.raises(CommandError, match="There is no pair 5: the set has 5"):
        call_command("plot_trajectory", "set", pairs=[5], **weights)
    with pytest.raises(CommandError, match="none of the shipped: give its file with --robust"):
        call_command("plot_trajectory", "set", pairs=[0], **{**weights, "robust": weights["vanilla"]})
    GenerationRun.objects.update(settings={"imported": True})
    with pytest.raises(CommandError, match="'set' was imported"):
        call_command("plot_trajectory", "set", pairs=[0], **weights)


def test_settings_that_this_version_would_not_make_are_refused(made: Any, weights: dict[str, Path]) -> None:
    made()
    recorded = {run.arm: run.settings for run in GenerationRun.objects.filter(name="set")}
    recorded["robust"]["strength"] = 2
    with pytest.raises(SettingsError, match="differs in its strength"):
        replayed_plan("set", recorded, 5, list(weights.values()))
