"""Images divided among a processor's cores."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generation.batches import WORTH_PROCESSES, BatchMaker, Networks
from generation.diffusion.frozen import freeze
from generation.diffusion.lanes import PIECE_PIXELS, Lanes, pieces
from generation.diffusion.process import Process
from generation.diffusion.sampler import reverse_steps
from generation.diffusion.schedule import build_schedule, respaced
from generation.diffusion.unet import UNet
from generation.errors import SettingsError
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import Guidance
from generation.noise import PairNoise
from generation.presets import Preset
from tests.generation.test_archives import plan_of

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


@dataclass(frozen=True)
class Model:
    """What lanes are to call."""

    weight: float

    def times(self, x: Tensor) -> Tensor:
        return self.weight * x

    def rows(self, count: int, x: Tensor | None) -> Tensor:
        return torch.zeros(count) if x is None else x[:count]

    def where(self) -> Tensor:
        return torch.tensor([os.getpid(), torch.get_num_threads()])

    def divide(self, by: int) -> Tensor:
        return torch.tensor(1 // by)

    def die(self, caller: int) -> Tensor:
        if os.getpid() != caller:
            os._exit(3)
        time.sleep(0.05)  # so that the others get their turn
        return torch.zeros(1)


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with Lanes(3) as lanes:
        lanes.run(Model(2.0), [])
        lanes.wait()
        yield lanes


def test_lanes_return_results_in_order_with_tensors_numbers_and_nothing_as_arguments(lanes: Lanes) -> None:
    halves = [torch.full((2, 3), float(value), dtype=torch.float32) for value in range(7)]
    found = lanes.run(Model(2.0), [("times", (half,)) for half in halves])
    assert [each.tolist() for each in found] == [(2 * half).tolist() for half in halves]
    found = lanes.run(Model(2.0), [("rows", (2, torch.arange(5))), ("rows", (1, None))] * 3)
    assert [each.tolist() for each in found] == [[0, 1], [0.0]] * 3


def test_every_lane_is_a_process_that_computes_with_one_thread_and_leaves_the_caller_its_own(
    lanes: Lanes, threads: None
) -> None:
    torch.set_num_threads(3)
    seen: set[int] = set()
    for _ in range(500):
        found = [each.tolist() for each in lanes.run(Model(2.0), [("where", ())] * 30)]
        assert {count for _, count in found} == {1}
        seen |= {process for process, _ in found}
        if len(seen) == 3:
            break
    assert os.getpid() in seen
    assert len(seen) == 3
    assert torch.get_num_threads() == 3


def test_another_model_takes_the_place_of_the_first(lanes: Lanes) -> None:
    for weight in (2.0, 5.0, 2.0):
        found = lanes.run(Model(weight), [("times", (torch.ones(1),))] * 20)
        assert [float(each) for each in found] == [weight] * 20
        lanes.wait()


def test_the_first_error_is_raised_and_the_lanes_go_on(lanes: Lanes) -> None:
    with pytest.raises(ZeroDivisionError):
        lanes.run(Model(2.0), [("divide", (0,))] * 9)
    assert [int(each) for each in lanes.run(Model(2.0), [("divide", (1,))] * 9)] == [1] * 9


def test_a_process_that_dies_is_an_error_that_says_what_to_do() -> None:
    with Lanes(2) as lanes:
        lanes.run(Model(2.0), [])
        lanes.wait()
        with pytest.raises(SettingsError, match=r"exit code 3.*set OMP_NUM_THREADS to fewer cores"):
            lanes.run(Model(2.0), [("die", (os.getpid(),))] * 40)


def test_without_processes_and_after_the_end_the_calling_thread_does_everything(threads: None) -> None:
    before = multiprocessing.active_children()
    ended = Lanes(2)
    ended.run(Model(2.0), [])
    ended.close()
    for lanes in (Lanes(1), Lanes(4, processes=False), ended):
        lanes.wait()
        found = lanes.run(Model(2.0), [("where", ())] * 5)
        assert [each.tolist() for each in found] == [[os.getpid(), 1]] * 5
    assert multiprocessing.active_children() == before


def sample(preset: Preset, unet: object, guidances: list[Guidance], pairs: int, lanes: Lanes | None = None) -> Tensor:
    process = Process(respaced(build_schedule(preset.schedule), "4"), learn_sigma=True)
    noise = PairNoise(5, range(pairs), (3, 16, 16))
    label = torch.arange(pairs) % 10
    *_, last = reverse_steps(unet, process, guidances, label, noise.draw, lanes=lanes)  # type: ignore[arg-type]
    return last.x


def test_frozen_networks_walk_where_the_networks_walk_in_any_number_of_lanes(
    adm16: Preset, unet: UNet, vanilla: TimeClassifier, robust: TimeClassifier, lanes: Lanes
) -> None:
    scales = {vanilla: 5.0, robust: 8.0}
    expected = sample(adm16, unet, [Guidance(), *(Guidance(each, scale) for each, scale in scales.items())], 5)
    guidances = [Guidance(), *(Guidance(freeze(each), scale) for each, scale in scales.items())]
    frozen = freeze(unet)
    for each in (None, Lanes(1), Lanes(2, processes=False), lanes):
        found = sample(adm16, frozen, guidances, 5, each)
        torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)


def test_who_computes_a_piece_changes_no_bit(adm16: Preset, unet: UNet, vanilla: TimeClassifier, lanes: Lanes) -> None:
    frozen, guidances = freeze(unet), [Guidance(freeze(vanilla), 5.0)]
    alone = sample(adm16, frozen, guidances, 7, Lanes(3, processes=False))
    sample(adm16, frozen, guidances, 7, lanes)
    lanes.wait()
    for _ in range(3):
        assert torch.equal(sample(adm16, frozen, guidances, 7, lanes), alone)


def test_the_number_of_lanes_changes_no_bit_where_there_are_as_many_full_pieces(
    adm16: Preset, unet: UNet, vanilla: TimeClassifier
) -> None:
    full = PIECE_PIXELS // 16**2
    frozen, guidances = freeze(unet), [Guidance(freeze(vanilla), 5.0)]
    one, two = (sample(adm16, frozen, guidances, 2 * full, Lanes(count, processes=False)) for count in (1, 2))
    assert torch.equal(one, two)


def test_a_callable_that_is_no_frozen_network_sees_whole_batches_in_the_calling_thread(
    adm16: Preset, lanes: Lanes
) -> None:
    calls: list[tuple[int, int]] = []

    def unet(x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
        calls.append((len(x_t), threading.get_ident()))
        return torch.cat([x_t, torch.zeros_like(x_t)], dim=1)

    sample(adm16, unet, [Guidance()], 3, lanes)
    assert calls == [(3, threading.get_ident())] * 4


def test_an_error_in_a_lane_is_raised_where_sampling_was_asked_for(adm16: Preset, unet: UNet, lanes: Lanes) -> None:
    frozen = freeze(unet)
    frozen.classes = None  # so that it refuses labels
    with pytest.raises(ValueError, match="takes no label"):
        sample(adm16, frozen, [Guidance()], 4, lanes)


def test_a_long_run_takes_a_process_for_each_core_and_a_short_one_none(
    tiny: Preset, tmp_path: Path, threads: None
) -> None:
    torch.set_num_threads(2)
    (tmp_path / "w").write_bytes(b"")
    few = (WORTH_PROCESSES - 1) // (4 * tiny.image.size**2)  # the plan has one arm and 4 steps
    started = []
    for count in (few, few + 1):
        plan = plan_of(tiny, tmp_path / "w", count=count, batch_size=8)
        maker = BatchMaker(plan, Networks(lambda x_t, _timestep, _label: x_t, (Guidance(),)), torch.device("cpu"))
        assert maker.lanes is not None
        before = len(multiprocessing.active_children())
        maker.lanes.run(Model(2.0), [])
        started.append(len(multiprocessing.active_children()) - before)
        maker.lanes.close()
    assert started == [0, 1]
