"""A training as a user has it: what it leaves behind, how it stops, what it measures on the way."""

import dataclasses
import json
import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event
from torch import Tensor

from generation.checkpoints import read_metadata
from generation.datasets import LabelledImages, load_dataset
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.diffusion.unet import build_unet
from generation.guidance.classifier import build_classifier
from generation.management.options import Interruption
from generation.presets import Preset
from generation.training.acceleration import build_accelerator
from generation.training.diffusion import DiffusionObjective
from generation.training.log import MetricsLog
from generation.training.loop import Batch, Recipe, Trainer
from generation.training.validation import (
    buckets_of,
    classifier_validation,
    diffusion_validation,
    table,
    validate,
)
from tests.generation.conftest import named_weights

RECIPE = Recipe(6, 8, 1e-3, 6, 0.0, 0.9, 0)


def train(preset: Path, data: Path, output: Path, kind: str = "vanilla", **options: Any) -> None:
    if kind == "diffusion":
        call_command("train_diffusion", str(preset), data=data, output=output, **options)
    else:
        call_command("train_classifier", str(preset), kind=kind, data=data, output=output, **options)


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Read TensorBoard's files as its format is documented: length, its sum, an event, its sum."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
            content = content[16 + length :]


def test_the_record_has_means_of_the_iterations_and_the_validations(
    tiny_path: Path, data: Path, tmp_path: Path
) -> None:
    train(tiny_path, data, tmp_path / "each", kind="robust", log_every=1, validate_every=3)
    train(tiny_path, data, tmp_path / "fours", kind="robust", log_every=4, validate_every=0)
    each, fours = entries(tmp_path / "each"), entries(tmp_path / "fours")
    assert [(entry["phase"], entry["step"]) for entry in each] == [
        *(("training", step) for step in (1, 2, 3)),
        ("validation", 3),
        *(("training", step) for step in (4, 5, 6)),
        ("validation", 6),
    ]
    steps = [entry for entry in each if entry["phase"] == "training"]
    assert [entry["step"] for entry in fours] == [4, 6]
    for name in ("loss", "accuracy", "fooled", "gradient_norm", "learning_rate"):
        assert fours[0][name] == pytest.approx(np.mean([entry[name] for entry in steps[:4]]))
        assert fours[1][name] == pytest.approx(np.mean([entry[name] for entry in steps[4:]]))
    assert steps[3]["learning_rate"] == pytest.approx(1e-3 * (1 - 3 / 6))
    assert each[3].keys() >= {"clean", "attacked", "clean/0-49", "attacked/600-999"}
    shown = {(tag, step): value for tag, step, value in scalars(tmp_path / "each" / "tensorboard" / "robust")}
    assert shown["training/loss", 2] == pytest.approx(steps[1]["loss"])
    assert shown["validation/clean/0-49", 3] == pytest.approx(each[3]["clean/0-49"])


def test_a_resumed_trainings_record_is_that_of_an_uninterrupted_one(
    tiny_path: Path, data: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"log_every": 1, "validate_every": 2, "save_every": 2}
    train(tiny_path, data, tmp_path / "whole", **options)
    broken = tmp_path / "broken"
    train(tiny_path, data, broken, kind="robust", **options)
    robust = entries(broken)
    train(tiny_path, data, broken, **options)
    # As if it had been killed after iteration 5, writing a line: what was saved is from iteration 4.
    state = torch.load(broken / "vanilla.state.pt")
    train(tiny_path, data, tmp_path / "four", iterations=4, **options)
    (tmp_path / "four" / "vanilla.state.pt").rename(broken / "vanilla.state.pt")
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "vanilla", "st')
    train(tiny_path, data, broken, resume=True, **options)
    found = entries(broken)
    assert [entry for entry in found if entry["kind"] == "robust"] == robust
    assert [(e["step"], e["phase"]) for e in found if e["kind"] == "vanilla"] == [
        (e["step"], e["phase"]) for e in entries(tmp_path / "whole")
    ]
    assert torch.load(broken / "vanilla.state.pt")["step"] == state["step"]


def test_an_infinite_number_is_no_number_in_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, "robust", 0)
    log.write("training", 1, {"loss": 1.5, "gradient_norm": float("inf")})
    log.close()
    assert entries(tmp_path) == [{"kind": "robust", "step": 1, "phase": "training", "loss": 1.5, "gradient_norm": None}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(
    tiny_path: Path,
    data: Path,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(tiny_path, data, tmp_path / "whole")
    iterate = Trainer._iterate

    def with_a_signal(self: Trainer, *args: Any) -> Any:
        if self.step == 2:
            signal.raise_signal(number)
        return iterate(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_iterate", with_a_signal)
        train(tiny_path, data, tmp_path / "broken")
    assert "Stopped at iteration 3; " in capsys.readouterr().out
    metadata = read_metadata(tmp_path / "broken" / "vanilla.safetensors")
    assert metadata is not None
    assert metadata.step == 3
    train(tiny_path, data, tmp_path / "broken", resume=True)
    whole, broken = (load_file(tmp_path / name / "vanilla.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(broken[name], tensor) for name, tensor in whole.items())


def test_a_second_ctrl_c_kills_but_not_under_a_launcher_that_passes_on_the_first(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, ignored))
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.asked
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_no_iterations_validate_and_write_nothing(
    tiny_path: Path, data: Path, tmp_path: Path, weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_path, data, tmp_path / "out", iterations=0, initial=weights["vanilla"])
    assert not (tmp_path / "out").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["After iteration 0:", "  timesteps       clean    attacked"]
    assert [line.split()[0] for line in lines[3:]] == ["0-49", "50-299", "300-599", "600-999", "all"]
    # A training that is there is measured where it stands.
    train(tiny_path, data, tmp_path / "out", kind="diffusion", validate_every=0)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    capsys.readouterr()
    train(tiny_path, data, tmp_path / "out", kind="diffusion", iterations=0, resume=True)
    assert "After iteration 6:\n  timesteps        loss         mse\n" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before


def test_without_held_out_images_a_training_says_so_and_one_that_only_validates_is_an_error(
    tiny_path: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tmp_path / "held out"
    held_out.mkdir()
    for path in data.glob("t10k*"):
        path.rename(held_out / path.name)
    train(tiny_path, data, tmp_path / "out", iterations=1)
    assert "No validation: " in (out := capsys.readouterr().out)
    assert "name held-out images with --validation" in out
    with pytest.raises(
        CommandError, match=r"has no t10k-images-idx3-ubyte\.gz: name held-out images with --validation"
    ):
        train(tiny_path, data, tmp_path / "other", iterations=0)
    train(tiny_path, data, tmp_path / "other", iterations=0, validation=held_out)
    assert "After iteration 0:" in capsys.readouterr().out


def test_a_full_disk_leaves_the_old_checkpoint_and_one_clear_line(tiny_path: Path, data: Path, tmp_path: Path) -> None:
    train(tiny_path, data, tmp_path, iterations=3)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("vanilla.*")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this, as none can on a disk that is full.
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(CommandError, match=r"vanilla.state.pt cannot be written .*: free space, or choose another"):
            train(tiny_path, data, tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("vanilla.*")} == before
    assert not list(tmp_path.glob(".vanilla*"))
    train(tiny_path, data, tmp_path, resume=True)
    assert torch.load(tmp_path / "vanilla.state.pt")["step"] == 6


@pytest.mark.parametrize(
    ("option", "message"), [({"epsilon": 0.7}, "its attack differs"), ({"batch_size": 4}, "its batch_size differs")]
)
def test_a_state_of_other_settings_is_refused(
    tiny_path: Path, data: Path, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    train(tiny_path, data, tmp_path / "out", kind="robust", iterations=1)
    with pytest.raises(CommandError, match=message):
        train(tiny_path, data, tmp_path / "out", kind="robust", resume=True, **option)


def test_a_state_of_other_images_is_refused_and_one_of_before_they_were_counted_is_not(
    tiny_path: Path, data: Path, tmp_path: Path
) -> None:
    train(tiny_path, data, tmp_path / "out", iterations=1)
    path = tmp_path / "out" / "vanilla.state.pt"
    state = torch.load(path)
    torch.save({**state, "identity": {**state["identity"], "images": 23}}, path)
    with pytest.raises(CommandError, match="its images differs"):
        train(tiny_path, data, tmp_path / "out", resume=True)
    torch.save({**state, "identity": {k: v for k, v in state["identity"].items() if k != "images"}}, path)
    train(tiny_path, data, tmp_path / "out", resume=True)


@pytest.fixture
def held_out(data: Path, tiny: Preset) -> LabelledImages:
    return load_dataset(data, tiny.image, "test")


def steps_of(batch: Batch) -> dict[str, Tensor]:
    return {"step": batch.step.double().mean(), "noise": batch.noise.double().square().mean()}


def test_each_bucket_sees_every_image_at_its_timesteps_whatever_the_batch_size(held_out: LabelledImages) -> None:
    buckets = buckets_of(1000)
    assert buckets == [(0, 49), (50, 299), (300, 599), (600, 999)]
    options: dict[str, Any] = {"buckets": buckets, "accelerator": build_accelerator("cpu"), "seed": 0}
    found = validate(steps_of, held_out, batch_size=4, **options)
    for first, last in buckets:
        assert first <= found[f"step/{first}-{last}"] <= last
    # The mean over all timesteps: a bucket counts by its width.
    widths = zip(buckets, (0.05, 0.25, 0.3, 0.4), strict=True)
    assert found["step"] == pytest.approx(sum(found[f"step/{a}-{b}"] * width for (a, b), width in widths))
    assert validate(steps_of, held_out, batch_size=5, **options) == pytest.approx(found)
    assert validate(steps_of, held_out, batch_size=5, **{**options, "seed": 1})["noise"] != found["noise"]


def test_short_schedules_have_fewer_buckets() -> None:
    assert buckets_of(10) == [(0, 2), (3, 5), (6, 9)]
    assert buckets_of(1) == [(0, 0)]


def test_a_classifier_that_always_says_the_same_is_right_for_that_class_attacked_or_not(
    held_out: LabelledImages, tiny: Preset
) -> None:
    network = build_classifier(tiny)
    # Its last layer starts from zero: every image gets these logits, and no gradient.
    state = network.state_dict()
    state["out.2.c_proj.weight"].zero_()
    state["out.2.c_proj.bias"].copy_(torch.tensor([0.0, 1.0, 0.5]))
    accelerator = build_accelerator("cpu")
    trainer = Trainer(network, RECIPE, accelerator)
    measure = classifier_validation(Process(build_schedule(tiny.schedule), learn_sigma=False), tiny.attack)(trainer)
    found = validate(measure, held_out, buckets=[(0, 999)], accelerator=accelerator, seed=0, batch_size=4)
    # Two of the six images are of each class.
    assert found == pytest.approx({"clean/0-999": 1 / 3, "clean": 1 / 3, "attacked/0-999": 1 / 3, "attacked": 1 / 3})
    assert all(parameter.grad is None for parameter in network.parameters())
    assert table(found, [(0, 999)]).splitlines()[1] == "      0-999       33.3%       33.3%"


def test_a_diffusion_is_measured_with_its_averaged_weights(held_out: LabelledImages, tiny: Preset) -> None:
    accelerator = build_accelerator("cpu")
    objective = DiffusionObjective(Process(build_schedule(tiny.schedule), learn_sigma=True), conditional=True)
    options: dict[str, Any] = {"buckets": [(0, 999)], "accelerator": accelerator, "seed": 0, "batch_size": 6}
    trainer = Trainer(build_unet(tiny), RECIPE, accelerator)
    trainer.average = named_weights(trainer.network, "diffusion.")
    trainer.network.eval()
    found = validate(diffusion_validation(objective)(trainer), held_out, **options)
    plain = Trainer(build_unet(tiny), dataclasses.replace(RECIPE, ema_rate=None), accelerator)
    plain.network.load_state_dict(trainer.average)
    plain.network.eval()
    expected = validate(diffusion_validation(objective)(plain), held_out, **options)
    assert found == pytest.approx(expected)
    assert found["mse"] > 1.1


def test_kept_weights_are_those_that_a_training_of_so_many_iterations_ends_with(
    tiny_path: Path, data: Path, tmp_path: Path
) -> None:
    """At a constant rate, as the tiny preset has it, a training knows nothing of its end."""
    train(tiny_path, data, tmp_path / "whole", kind="diffusion", keep=[2, 6], validate_every=0)
    train(tiny_path, data, tmp_path / "two", kind="diffusion", iterations=2, validate_every=0)
    names = ("diffusion-000002.safetensors", "diffusion-000006.safetensors")
    assert sorted(path.name for path in (tmp_path / "whole").glob("*-0*")) == list(names)
    metadata = read_metadata(tmp_path / "whole" / names[0])
    assert metadata is not None
    assert metadata.step == 2
    for name, folder in zip(names, ("two", "whole"), strict=True):
        kept, ended = load_file(tmp_path / "whole" / name), load_file(tmp_path / folder / "diffusion.safetensors")
        assert all(torch.equal(kept[key], ended[key]) for key in ended)
