"""Images divided among a processor's cores."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generation.diffusion.frozen import freeze
from generation.diffusion.lanes import PIECE_PIXELS, Lanes, pieces
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset

# Of a trajectory, as the reference counts it.
ROUNDING = 1e-3


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@given(st.integers(1, 200), st.sampled_from([8**2, 32**2, 128**2]), st.integers(1, 40))
def test_pieces_cover_every_image_once_are_nearly_equal_and_small(count: int, pixels: int, at_least: int) -> None:
    parts = pieces(count, pixels, at_least)
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) >= min(at_least, count)
    assert max(sizes) == 1 or max(sizes) * pixels <= PIECE_PIXELS


def test_eight_images_of_32_pixels_are_one_piece_and_are_divided_where_more_lanes_ask() -> None:
    assert pieces(8, 32**2, 1) == [slice(0, 8)]
    assert pieces(8, 32**2, 2) == [slice(0, 4), slice(4, 8)]
    assert pieces(3, 32**2, 8) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert pieces(2, 128**2, 1) == [slice(0, 1), slice(1, 2)]


def test_lanes_return_results_in_order_and_raise_the_first_error() -> None:
    with Lanes(2) as lanes:
        assert lanes.run([partial(abs, value) for value in range(7)]) == list(range(7))
        with pytest.raises(ZeroDivisionError):
            lanes.run([lambda: 1, lambda: 1 // 0, lambda: 2])


def test_a_lane_computes_with_one_thread_and_leaves_other_threads_theirs(threads: None) -> None:
    torch.set_num_threads(3)
    with Lanes(3) as lanes:
        assert lanes.run([torch.get_num_threads] * 6) == [1] * 6
    assert torch.get_num_threads() == 3
    told: list[int] = []
    later = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert told == [3]


def sample(preset: Preset, unet: object, guidances: list[Guidance], pairs: int) -> Tensor:
    process = Process(respaced(build_schedule(preset.schedule), "4"), learn_sigma=True)
    noise = PairNoise(5, range(pairs), (3, 16, 16))
    *_, last = reverse_steps(unet, process, guidances, torch.arange(pairs) % 10, noise.draw)  # type: ignore[arg-type]
    return last.x


def test_frozen_networks_walk_where_the_networks_walk_with_any_number_of_threads(
    adm16: Preset, unet: UNet, vanilla: TimeClassifier, robust: TimeClassifier, threads: None
) -> None:
    scales = {vanilla: 5.0, robust: 8.0}
    expected = sample(adm16, unet, [Guidance(), *(Guidance(each, scale) for each, scale in scales.items())], 5)
    guidances = [Guidance(), *(Guidance(freeze(each), scale) for each, scale in scales.items())]
    frozen = freeze(unet)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found = sample(adm16, frozen, guidances, 5)
        torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)


def test_the_number_of_threads_changes_no_bit_where_there_are_as_many_full_pieces(
    adm16: Preset, unet: UNet, vanilla: TimeClassifier, threads: None
) -> None:
    full = PIECE_PIXELS // 16**2
    frozen, guidances = freeze(unet), [Guidance(freeze(vanilla), 5.0)]
    images = []
    for count in (1, 2, 1):
        torch.set_num_threads(count)
        images.append(sample(adm16, frozen, guidances, 2 * full))
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_a_callable_that_is_no_frozen_network_sees_whole_batches_in_the_calling_thread(
    adm16: Preset, threads: None
) -> None:
    torch.set_num_threads(2)
    calls: list[tuple[int, int]] = []

    def unet(x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
        calls.append((len(x_t), threading.get_ident()))
        return torch.cat([x_t, torch.zeros_like(x_t)], dim=1)

    sample(adm16, unet, [Guidance()], 3)
    assert calls == [(3, threading.get_ident())] * 4


def test_an_error_in_a_lane_is_raised_where_sampling_was_asked_for(adm16: Preset, unet: UNet, threads: None) -> None:
    torch.set_num_threads(2)
    frozen = freeze(unet)
    frozen.classes = None  # so that it refuses labels
    with pytest.raises(ValueError, match="takes no label"):
        sample(adm16, frozen, [Guidance()], 4)
