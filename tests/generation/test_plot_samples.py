from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from generation.models import GeneratedImage, GenerationRun
from generation.pictures.sheets import EDGE, GROUP_MARGIN, MARGIN

pytestmark = pytest.mark.django_db

CLASSES = ("hat", "bag")


@pytest.fixture(autouse=True)
def first(tmp_path: Path) -> None:
    """Six pairs of flat greys: an image's level tells its arm (0 or 100) and its pair."""
    for place, arm in enumerate(("robust", "vanilla")):
        run = GenerationRun.objects.create(name="first", arm=arm, preset="p", directory=str(tmp_path / "set"))
        (tmp_path / "set" / arm).mkdir(parents=True)
        for index in range(6):
            file = f"{arm}/{index}.png"
            PillowImage.fromarray(np.full((4, 4), 100 * place + index, dtype=np.uint8)).save(tmp_path / "set" / file)
            GeneratedImage.objects.create(
                run=run, pair_index=index, class_index=index % 2, class_name=CLASSES[index % 2], seed=0, file=file,
                sha256="0" * 64,
            )  # fmt: skip


def draw(path: Path, **options: Any) -> np.ndarray:
    call_command("plot_samples", "first", output=path, zoom=1, no_labels=True, **options)
    with PillowImage.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        return np.asarray(image)[EDGE:-EDGE, EDGE:-EDGE, 0]


def levels(pixels: np.ndarray, tops: list[int]) -> list[list[int]]:
    return [[int(pixels[top, left]) for left in range(0, pixels.shape[1], 4 + MARGIN)] for top in tops]


def test_an_arm_has_a_row_for_each_class_and_a_column_for_each_seed(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "out.png", arm=["vanilla"], columns=2)
    assert levels(pixels, [0, 4 + MARGIN]) == [[100, 102], [101, 103]]


def test_arms_stand_under_one_another_each_column_of_one_seed(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "out.png", arm=["robust", "vanilla"])
    second = 2 * 4 + MARGIN + GROUP_MARGIN
    tops = [0, 4 + MARGIN, second, second + 4 + MARGIN]
    assert levels(pixels, tops) == [[0, 2, 4], [100, 102, 104], [1, 3, 5], [101, 103, 105]]


def test_classes_can_be_chosen_by_name(tmp_path: Path) -> None:
    assert levels(draw(tmp_path / "out.png", arm=["robust"], classes=["BAG"]), [0]) == [[1, 3, 5]]


def test_chosen_pairs_stand_side_by_side_in_the_order_given(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "out.png", arm=["vanilla", "robust"], pairs=[4, 1])
    assert levels(pixels, [0, 4 + MARGIN]) == [[104, 101], [4, 1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": ["unguided"]}, r"'unguided' are named 'first' \(its arms: robust, vanilla\)"),
        ({"arm": ["robust"], "classes": ["shoe"]}, "No images of class 'shoe'"),
        ({"arm": ["robust"], "pairs": [2, 6]}, "No pair 6 is named 'first'"),
        ({"arm": ["robust"], "pairs": [2], "classes": ["bag"]}, "exclude each other"),
        ({"arm": ["robust"], "output": Path("/proc/no/such.png")}, "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("plot_samples", "first", **{"output": tmp_path / "out.png", **options})
