import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from analysis.metrics.protocols import PROTOCOLS, bicubic, legacy_bilinear


def test_adm_takes_pixel_i_at_i_times_the_ratio_of_sizes() -> None:
    # Along a ramp of 0, 1, ..., 7 the value is the place: i · 8 / 299, and 7 beyond the last pixel.
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    expected = (torch.arange(299) * 8 / 299).clamp_max(7)

    resized = legacy_bilinear(ramp)

    torch.testing.assert_close(resized[0, 0, 0], expected)
    torch.testing.assert_close(legacy_bilinear(ramp.transpose(2, 3))[0, 0, :, 5], expected)


def test_pytorch_fid_aligns_pixels_centres() -> None:
    ramp = torch.arange(8, dtype=torch.uint8).expand(1, 3, 8, 8)
    centres = ((torch.arange(299) + 0.5) * 8 / 299 - 0.5).clamp(0, 7)

    torch.testing.assert_close(PROTOCOLS["pytorch-fid"].batch(ramp)[0, 0, 0], 2 * centres / 255 - 1)


def test_shrinking_without_antialiasing_skips_pixels_and_clean_does_not() -> None:
    # A checkerboard is an even grey to who averages.
    board = ((np.indices((598, 598)).sum(0) % 2) * 255).astype(np.uint8)[:, :, None].repeat(3, 2)
    tensor = torch.from_numpy(board).permute(2, 0, 1)[None]

    assert legacy_bilinear(tensor.float()).std() == 0
    assert np.abs(bicubic(board)[8:-8, 8:-8] - 127.5).max() < 1
    assert float(legacy_bilinear(tensor.float()).mean()) in (0.0, 255.0)


def test_clean_is_pils_bicubic_in_float_without_rounding() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = Pillow.fromarray(image[:, :, 1].astype(np.float32)).resize((299, 299), Pillow.Resampling.BICUBIC)

    resized = bicubic(image)

    np.testing.assert_array_equal(resized[:, :, 1], np.asarray(expected).clip(0, 255))
    assert not np.array_equal(resized, resized.round())


@pytest.mark.parametrize(
    ("name", "low", "high"), [("adm", -1, 127 / 128), ("clean", -1, 127 / 128), ("pytorch-fid", -1, 1)]
)
def test_black_and_white_reach_the_network_as_the_protocol_says(name: str, low: float, high: float) -> None:
    protocol = PROTOCOLS[name]
    each = protocol.each or (lambda image: image)
    for pixel, expected in ((0, low), (255, high)):
        image = each(np.full((299, 299, 3), pixel, np.uint8))
        reached = protocol.batch(torch.from_numpy(image).permute(2, 0, 1)[None])
        torch.testing.assert_close(reached, torch.full((1, 3, 299, 299), float(expected)))
