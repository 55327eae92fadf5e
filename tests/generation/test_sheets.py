from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from generation.errors import SettingsError
from generation.pictures.sheets import EDGE, GROUP_MARGIN, MARGIN, Pixels, Sheet, compose, write_sheet


def flat(value: int, size: int = 2) -> Pixels:
    return np.full((size, size), value, dtype=np.uint8)


def test_images_stand_in_their_rows_and_columns_enlarged_without_blur() -> None:
    pixels = compose(Sheet([[flat(0), flat(90)], [flat(90)]], zoom=3))
    # Two images of 6 dots with a margin of 4 between them: 6 + 4 + 6.
    assert pixels.shape == (16, 16, 3)
    assert (pixels[:6, :6] == 0).all()
    assert (pixels[:6, 10:] == 90).all()
    assert (pixels[10:, :6] == 90).all()
    assert (pixels[10:, 10:] == 255).all()
    assert (pixels[6:10] == 255).all()


def test_groups_of_rows_have_more_room_between_them() -> None:
    pixels = compose(Sheet([[flat(value)] for value in (0, 1, 2, 3)], group=2, zoom=1))
    tops = [0, 2 + MARGIN, 4 + MARGIN + GROUP_MARGIN, 6 + 2 * MARGIN + GROUP_MARGIN]
    assert [int(pixels[top, 0, 0]) for top in tops] == [0, 1, 2, 3]
    assert len(pixels) == tops[-1] + 2


@pytest.mark.parametrize(("size", "zoom"), [(32, 4), (28, 5), (128, 1), (256, 1)])
def test_small_images_are_enlarged_to_at_least_128_dots(size: int, zoom: int) -> None:
    assert compose(Sheet([[flat(0, size)]])).shape == (size * zoom, size * zoom, 3)


def test_the_file_is_for_print_and_keeps_every_pixel(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sheet = Sheet([[colours, None], [None, colours]], ["dress\nrobust", ""], ["t = 0", "a name much too long to fit"])
    write_sheet(sheet, tmp_path / "sheet.png")
    with PillowImage.open(tmp_path / "sheet.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        drawn = np.asarray(image)
    images = compose(sheet)
    height, width = images.shape[:2]
    assert (drawn[-EDGE - height : -EDGE, -EDGE - width : -EDGE] == images).all()
    # Letters beside the first row and above the first column, none beside the second.
    left = drawn[:, : -EDGE - width]
    assert (left[-EDGE - height : -EDGE - height // 2] < 100).any()
    assert (left[-EDGE - height // 2 :] > 250).all()
    assert (drawn[: -EDGE - height, -EDGE - width :] < 100).any()


def test_what_cannot_be_a_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no images"):
        compose(Sheet([]))
    with pytest.raises(SettingsError, match="2x2 and 3x3 pixels"):
        compose(Sheet([[flat(0), flat(0, 3)]]))
    with pytest.raises(SettingsError, match="65535 is the most"):
        write_sheet(Sheet([[flat(0)]] * 700, zoom=64), tmp_path / "sheet.png")
