"""The loop in parts: batches read ahead, gradients accumulated and joined, numbers that are none."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from generation.datasets import load_dataset
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import SettingsError
from generation.guidance.classifier import build_classifier
from generation.presets import Preset
from generation.training.acceleration import build_accelerator
from generation.training.batches import AHEAD, read_ahead, share_of
from generation.training.classifier import ClassifierObjective
from generation.training.loop import Batch, Recipe, Trainer, TrainingDivergedError
from generation.training.session import Session, train

RECIPE = Recipe(3, 7, 1e-3, None, 0.0, 0.9, 0)


@given(st.integers(1, 9), st.integers(0, 40))
def test_shares_are_the_whole_batch_and_nearly_equal(processes: int, extra: int) -> None:
    batch_size = processes + extra
    shares = [range(batch_size)[share_of(process, processes, batch_size)] for process in range(processes)]
    assert [row for share in shares for row in share] == list(range(batch_size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_batches_are_read_in_order_and_not_far_ahead() -> None:
    read: list[int] = []

    def remember(step: int) -> int:
        read.append(step)
        return step

    batches = read_ahead(remember, range(5, 50))
    assert next(batches) == 5
    deadline = time.monotonic() + 5
    while len(read) < 1 + AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert read == list(range(5, 6 + AHEAD))
    assert list(batches) == list(range(6, 50))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_an_error_in_reading_comes_when_its_batch_is_due() -> None:
    def fail_at_2(step: int) -> int:
        if step == 2:
            raise ValueError(step)
        return step

    batches = read_ahead(fail_at_2, range(9))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(batches)


@pytest.mark.parametrize("parts", [2, 3, 7, 20])
def test_gradients_of_a_batch_in_parts_are_those_of_the_whole(tiny: Preset, data: Path, parts: int) -> None:
    images = load_dataset(data, tiny.image, "train")
    process = Process(build_schedule(tiny.schedule), learn_sigma=False)
    moments, seen = [], []
    for accumulation_steps in (1, parts):
        torch.manual_seed(0)
        recipe = dataclasses.replace(RECIPE, iterations=1, accumulation_steps=accumulation_steps)
        trainer = Trainer(build_classifier(tiny), recipe, build_accelerator("cpu"))
        trainer.run(images, ClassifierObjective(process, tiny.attack), lambda _, m: not seen.append(m))  # type: ignore[func-returns-value]
        moments.append([state["exp_avg"] for state in trainer.optimizer.state_dict()["state"].values()])
    assert seen[1] == pytest.approx(seen[0], rel=1e-5)
    for whole, accumulated in zip(*moments, strict=True):
        torch.testing.assert_close(accumulated, whole, atol=1e-8, rtol=1e-4)


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    script = str(Path(__file__).with_name("two_processes.py"))
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_train_as_one_does(tiny_path: Path, data: Path, tmp_path: Path, weights: dict[str, Path]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    one, two = (
        [str(tiny_path), str(data), str(tmp_path / name), str(weights["robust"].parent)] for name in ("one", "two")
    )
    started = [start(two, **shared, RANK=rank, LOCAL_RANK=rank, LOCAL_WORLD_SIZE="2") for rank in ("0", "1")]
    started.append(start(one))
    outputs = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    # The first process alone speaks.
    assert "Trained 6 iterations" in outputs[0][0]
    assert outputs[1] == ("", "")
    for kind in ("robust", "diffusion"):
        ours, theirs = (torch.load(tmp_path / folder / f"{kind}.state.pt") for folder in ("one", "two"))
        assert ours["step"] == theirs["step"] == 6
        moments = zip(*(state["optimizer"]["state"].values() for state in (ours, theirs)), strict=True)
        for name, (our, their) in zip(ours["network"], moments, strict=True):
            torch.testing.assert_close(their["exp_avg"], our["exp_avg"], atol=1e-6, rtol=1e-3, msg=name)
            # Adam divides a gradient that is zero but for rounding by its own size: there is nothing to compare.
            tangible = our["exp_avg"].abs() > 1e-4
            weight, other = ours["network"][name], theirs["network"][name]
            apart = (other - weight).abs()[tangible]
            # Six iterations at a rate of 1e-3 move a weight by up to 6e-3. A gradient that was next to zero in an early
            # one and not in the last moved its weight by its rounding's sign then.
            assert (apart > 2e-4).sum() <= len(apart) / 1000, name
            assert (apart < 2e-3).all(), name


def test_a_batch_smaller_than_the_number_of_processes_is_refused(tiny: Preset) -> None:
    class Many:
        num_processes = 8

    with pytest.raises(SettingsError, match="A batch of 7 cannot be shared by 8 processes"):
        Trainer(build_classifier(tiny), RECIPE, Many())


@dataclasses.dataclass
class Blowing:
    """A loss whose gradient is no number in some iterations, though the loss is."""

    bad: set[int]
    iteration: int = 0
    timesteps: int = 10

    def __call__(self, network: nn.Module, batch: Batch, /) -> tuple[Tensor, dict[str, Tensor]]:
        weight = next(network.parameters()).sum()
        if self.iteration in self.bad:
            # The root's slope at 0 is infinite.
            weight = (weight - weight.detach()).abs().sqrt()
        self.iteration += 1
        return weight, {}


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tiny: Preset, data: Path) -> None:
    trainer = Trainer(build_classifier(tiny), RECIPE, build_accelerator("cpu"))
    with pytest.raises(TrainingDivergedError, match="gradient norm is nan at iteration 1"):
        trainer.run(load_dataset(data, tiny.image, "train"), Blowing({1}), lambda *_: True)
    assert trainer.step == 1
    assert all(tensor.isfinite().all() for tensor in trainer.network.state_dict().values())


def test_float16s_scaler_skips_such_a_step_and_the_average_too(
    tiny: Preset, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a processor accelerate gives no scaler; torch has one.
    accelerator = build_accelerator("cpu")
    accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu", init_scale=4.0), True
    monkeypatch.setattr(accelerator.state, "_mixed_precision", "fp16")
    monkeypatch.setattr(type(accelerator), "autocast", lambda _: torch.autocast("cpu", enabled=False))
    trainer = Trainer(build_classifier(tiny), dataclasses.replace(RECIPE, iterations=30), accelerator)
    weights: list[float] = []

    def on_step(_step: int, _metrics: dict[str, float]) -> bool:
        weights.append(float(next(iter(trainer.average.values())).sum()))
        return len(weights) < 3

    images = load_dataset(data, tiny.image, "train")
    trainer.run(images, Blowing({1}), on_step)
    assert weights[0] == weights[1] != weights[2]
    assert trainer.state()["scaler"]["scale"] == 2.0
    # What is not a number at any scale is an error in the end.
    with pytest.raises(TrainingDivergedError, match="gradient norm is nan"):
        trainer.run(images, Blowing(set(range(100))), lambda *_: True)
    assert accelerator.scaler.get_scale() < 2.0**-10


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(tiny: Preset, data: Path, tmp_path: Path) -> None:
    session = Session(tmp_path, "vanilla", tiny, save_every=1)
    with pytest.raises(TrainingDivergedError, match="at iteration 2: resume from the last checkpoint with a lower"):
        train(
            session,
            build_classifier(tiny),
            RECIPE,
            load_dataset(data, tiny.image, "train"),
            Blowing({2}),
            accelerator=build_accelerator("cpu"),
            resume=False,
            on_step=lambda *_: True,
        )
    assert torch.load(session.state)["step"] == 2
    assert all(tensor.isfinite().all() for tensor in load_file(session.checkpoint).values())


def test_weights_that_are_no_numbers_are_not_saved(tiny: Preset) -> None:
    trainer = Trainer(build_classifier(tiny), RECIPE, build_accelerator("cpu"))
    with torch.no_grad():
        next(trainer.network.parameters())[0, 0] = float("inf")
    with pytest.raises(TrainingDivergedError, match=r"time_embed.0.weight is not finite after iteration 0"):
        trainer.state()
