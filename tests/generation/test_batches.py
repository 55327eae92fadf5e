"""Batches: where memory runs out they are made in parts, from the same noise."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from generation.batches import BatchMaker, Networks
from generation.errors import SettingsError
from generation.guidance.score import Guidance
from generation.presets import Preset
from tests.generation.test_archives import plan_of

CPU = torch.device("cpu")


class Cramped:
    """A U-Net with room for `room` images, that predicts x_t itself as the noise, and remembers how many it took."""

    def __init__(self, room: int, error: type[Exception] | None = None) -> None:
        self.room, self.error, self.took = room, error, list[int]()

    def __call__(self, x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
        if len(x_t) > self.room:
            if self.error is not None:
                raise self.error("out of memory")
            torch.empty(1 << 55)  # the processor's own way to say so
        self.took.append(len(x_t))
        return torch.cat([x_t, torch.zeros_like(x_t)], dim=1)


def maker_of(preset: Preset, unet: Any, batch_size: int, notes: list[str], file: Path) -> BatchMaker:
    file.write_bytes(b"")
    plan = plan_of(preset, file, count=batch_size, batch_size=batch_size)
    return BatchMaker(plan, Networks(unet, (Guidance(),)), CPU, notes.append)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, None])
@pytest.mark.parametrize(("room", "parts"), [(8, [8]), (7, [4, 4]), (3, [2, 2, 2, 2]), (1, [1] * 8)])
def test_a_batch_too_large_for_the_memory_is_halved_and_said_so(
    tiny: Preset, tmp_path: Path, error: type[Exception] | None, room: int, parts: list[int]
) -> None:
    notes: list[str] = []
    whole = maker_of(tiny, Cramped(100), 8, notes, tmp_path / "w").make(range(8), lambda _done: None)
    assert notes == []
    unet = Cramped(room, error)
    maker = maker_of(tiny, unet, 8, notes, tmp_path / "w")
    made = maker.make(range(8), lambda _done: None)
    assert torch.equal(made, whole)
    # Each part goes through 4 steps.
    assert unet.took == [size for size in parts for _ in range(4)]
    halvings = {8: 0, 4: 1, 2: 2, 1: 3}[parts[0]]
    assert len(notes) == halvings
    if notes:
        assert notes[-1].endswith(f"going on with {parts[0]}, from the same noise.")


def test_later_batches_begin_with_what_has_fitted(tiny: Preset, tmp_path: Path) -> None:
    notes: list[str] = []
    unet = Cramped(2, torch.OutOfMemoryError)
    maker = maker_of(tiny, unet, 5, notes, tmp_path / "w")
    maker.make(range(5), lambda _done: None)
    assert unet.took == [2] * 8 + [1] * 4
    unet.took.clear()
    maker.make(range(5, 10), lambda _done: None)
    assert unet.took == [2] * 8 + [1] * 4
    assert len(notes) == 1


def test_progress_counts_pairs_and_ends_with_the_batch(tiny: Preset, tmp_path: Path) -> None:
    seen: list[float] = []
    maker_of(tiny, Cramped(2, torch.OutOfMemoryError), 4, [], tmp_path / "w").make(range(4), seen.append)
    assert seen == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]


def test_no_room_for_a_single_pair_is_an_error_that_says_what_to_do(tiny: Preset, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cpu has too little memory for a single pair: take a smaller preset"):
        maker_of(tiny, Cramped(0, torch.OutOfMemoryError), 4, [], tmp_path / "w").make(range(4), lambda _done: None)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny: Preset, tmp_path: Path) -> None:
    unet = Cramped(0, RuntimeError)
    maker = maker_of(tiny, unet, 4, [], tmp_path / "w")
    with pytest.raises(RuntimeError, match="out of memory"):
        maker.make(range(4), lambda _done: None)
