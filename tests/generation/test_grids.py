from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from generation.errors import SettingsError
from generation.grids import image_grid


def grey(path: Path, value: int, size: int = 2) -> Path:
    PillowImage.fromarray(np.full((size, size), value, dtype=np.uint8)).save(path)
    return path


def test_images_stand_in_their_rows_and_columns_enlarged_without_blur(tmp_path: Path) -> None:
    black, white = grey(tmp_path / "black.png", 0), grey(tmp_path / "white.png", 255)
    sheet = np.asarray(image_grid([[black, white], [white]], zoom=3))
    # Two images of 6 pixels with margins of 2 around each: 2 + 6 + 2 + 6 + 2.
    assert sheet.shape == (18, 18, 3)
    assert (sheet[2:8, 2:8] == 0).all()
    assert (sheet[2:8, 10:16] == 255).all()
    assert (sheet[10:16, 2:8] == 255).all()
    assert (sheet[10:16, 10:16] == 128).all()


def test_no_images_and_mixed_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no images"):
        image_grid([])
    with pytest.raises(SettingsError, match=r"b\.png differs in size"):
        image_grid([[grey(tmp_path / "a.png", 0), grey(tmp_path / "b.png", 0, size=3)]])
