import argparse
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generation.checkpoints import (
    Metadata,
    load_classifier,
    load_diffusion,
    read_metadata,
    save_network,
    write_atomically,
)
from generation.diffusion.unet import UNet
from generation.errors import CheckpointError
from generation.presets import Preset, load_preset, preset_from_dict
from tests.generation.conftest import PARITY


def test_a_checkpoint_loads_frozen_and_in_evaluation_mode(weights: dict[str, Path], tiny: Preset) -> None:
    network = load_diffusion(weights["diffusion"], tiny)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    saved = load_file(weights["diffusion"])
    assert all(torch.equal(tensor, saved[name]) for name, tensor in network.state_dict().items())


def test_a_published_pt_loads_as_weights_only(tmp_path: Path, adm16: Preset, unet: UNet) -> None:
    path = tmp_path / "published.pt"
    torch.save(unet.state_dict(), path)
    assert all(
        torch.equal(tensor, unet.state_dict()[name])
        for name, tensor in load_diffusion(path, adm16).state_dict().items()
    )


def test_half_precision_weights_become_float32(tmp_path: Path, adm16: Preset, unet: UNet) -> None:
    path = tmp_path / "half.pt"
    torch.save({name: tensor.half() for name, tensor in unet.state_dict().items()}, path)
    assert {tensor.dtype for tensor in load_diffusion(path, adm16).state_dict().values()} == {torch.float32}


ROOT = Path(__file__).resolve().parents[2]
Weights = dict[str, Tensor]


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_pickled_code_is_refused_before_it_runs(tmp_path: Path, tiny: Preset, writer: str) -> None:
    path, crater = tmp_path / "bomb.pt", tmp_path / "crater"
    if writer == "torch":
        torch.save({"out.0.weight": Bomb(crater)}, path)
    else:
        path.write_bytes(pickle.dumps({"out.0.weight": Bomb(crater)}))
    with pytest.raises(CheckpointError, match=r"refused|no whole checkpoint"):
        load_diffusion(path, tiny)
    assert not crater.exists()


def test_what_was_pickled_is_named(tmp_path: Path, tiny: Preset) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"out.0.weight": torch.zeros(1), "args": argparse.Namespace(lr=1e-4)}, path)
    with pytest.raises(CheckpointError, match=r"might run code \(argparse.Namespace\)"):
        load_diffusion(path, tiny)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3, "loss": 0.5},
        lambda weights: {"model": weights, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}},
        lambda weights: {"model": weights, "betas": {"linear": torch.ones(3)}},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"ema": {f"_orig_mod.module.{name}": tensor for name, tensor in weights.items()}},
        lambda weights: {name: tensor.half().double() for name, tensor in weights.items()},
        lambda weights: {name: nn.Parameter(tensor) for name, tensor in weights.items()},
        lambda weights: {
            name: tensor.transpose(0, -1).contiguous().transpose(0, -1) for name, tensor in weights.items()
        },
    ],
)
def test_the_usual_wrappers_of_weights_are_taken_off(
    tmp_path: Path, adm16: Preset, unet: UNet, wrap: Callable[[Weights], Any], *, legacy: bool
) -> None:
    path = tmp_path / "wrapped.pt"
    weights = {name: tensor.half().float() for name, tensor in unet.state_dict().items()}
    torch.save(wrap(weights), path, _use_new_zipfile_serialization=not legacy)
    loaded = load_diffusion(path, adm16).state_dict()
    assert all(torch.equal(loaded[name], tensor) and loaded[name].is_contiguous() for name, tensor in weights.items())


def test_what_was_taken_off_is_said(
    tmp_path: Path, adm16: Preset, unet: UNet, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"net": {f"module.{name}": tensor for name, tensor in unet.state_dict().items()}}, tmp_path / "a.pt")
    load_diffusion(tmp_path / "a.pt", adm16)
    assert caplog.messages == [f"{tmp_path / 'a.pt'}: took its part 'net', without 'module.' before every name."]


LOAD_AND_MEASURE = """
import re, sys
from pathlib import Path
from generation.checkpoints import load_diffusion
from generation.plans import pretrained_checkpoint
from generation.presets import load_preset

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

# What the first load brings along is no copy of it.
load_diffusion(pretrained_checkpoint(load_preset("fashion32"), "diffusion"), load_preset("fashion32"))
before = peak()
for path in sys.argv[1:]:
    load_diffusion(Path(path), load_preset("cifar10"))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where the peak of a process's memory is read")
def test_loading_takes_the_memory_of_one_copy(tmp_path: Path) -> None:
    shapes = json.loads((PARITY / "cifar10_diffusion.tensors.json").read_text())
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    torch.save(weights, tmp_path / "single.pt")
    torch.save({name: tensor.half() for name, tensor in weights.items()}, tmp_path / "half.pt")
    save_file(weights, tmp_path / "single.safetensors")
    files = [str(tmp_path / name) for name in ("half.pt", "single.safetensors", "single.pt")]
    measured = subprocess.run(
        [sys.executable, "-c", LOAD_AND_MEASURE, *files], capture_output=True, text=True, check=True, cwd=ROOT
    )
    copy = 4 * sum(tensor.numel() for tensor in weights.values())
    assert copy < int(measured.stdout) < 1.25 * copy


def test_several_networks_in_a_file_are_not_chosen_between(tmp_path: Path, adm16: Preset, unet: UNet) -> None:
    torch.save({"model": unet.state_dict(), "ema": unet.state_dict()}, tmp_path / "two.pt")
    with pytest.raises(
        CheckpointError, match=r"more than one network, in 'model', 'ema': .* convert_checkpoint --part"
    ):
        load_diffusion(tmp_path / "two.pt", adm16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold named tensors and nothing else"),
        ({"a": torch.zeros(1), "b": 2}, "must hold named tensors and nothing else"),
        ({1: torch.zeros(1)}, "must hold named tensors and nothing else"),
        ({"state": {0: {"step": torch.zeros(1)}}, "param_groups": [{"lr": 1.0}]}, "optimizer's state, no network"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "a, which is no plain tensor"),
        ({"a": torch.zeros(2, device="meta")}, "a, which is no plain tensor"),
        ({"a": torch.zeros(3)}, r"lacks time_embed.0.weight \[128, 32\]"),
    ],
)
def test_what_is_no_network_is_refused_with_the_reason(
    tmp_path: Path, tiny: Preset, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=message):
        load_diffusion(tmp_path / "odd.pt", tiny)


def test_weights_that_are_whole_numbers_are_refused(tmp_path: Path, adm16: Preset, unet: UNet) -> None:
    torch.save({name: tensor.int() for name, tensor in unet.state_dict().items()}, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"time_embed.0.weight as torch.int32: weights must be floating-point"):
        load_diffusion(tmp_path / "whole.pt", adm16)


def test_a_torchscript_program_is_refused(tmp_path: Path, tiny: Preset) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as file:
        file.writestr("script/constants.pkl", pickle.dumps(()))
        file.writestr("script/data.pkl", pickle.dumps({}))
        file.writestr("script/version", "3")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        load_diffusion(tmp_path / "script.pt", tiny)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_no_damage_to_a_file_ends_in_anything_but_weights_or_one_clear_error(
    damaged: dict[str, bytes], tmp_path: Path, tiny: Preset, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(sorted(damaged)))
    content = bytearray(damaged[suffix])
    for _ in range(data.draw(st.integers(1, 3))):
        # Most of a file is weights, where damage goes unseen: aim at both ends.
        at = data.draw(st.integers(0, 3000) | st.integers(len(content) - 3000, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    message = ""
    try:
        load_classifier(path, tiny)
    except CheckpointError as error:
        message = str(error)
    assert not message or (str(path) in message and "\n" not in message)


@pytest.fixture
def damaged(weights: dict[str, Path], tmp_path: Path) -> dict[str, bytes]:
    tensors = load_file(weights["robust"])
    contents = {".safetensors": weights["robust"].read_bytes()}
    for suffix, legacy in ((".pt", False), (".legacy.pt", True)):
        path = tmp_path / f"whole{suffix}"
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
        contents[suffix] = path.read_bytes()
    return contents


@pytest.mark.parametrize("name", ["absent.pt", "absent.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, tiny: Preset, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"No checkpoint .*{name}"):
        load_classifier(tmp_path / name, tiny)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_safetensors_file_is_refused(weights: dict[str, Path], tiny: Preset, keep: int) -> None:
    path = weights["robust"]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        load_classifier(path, tiny)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_pt_is_refused(tmp_path: Path, adm16: Preset, unet: UNet, keep: int) -> None:
    path = tmp_path / "torn.pt"
    torch.save(unet.state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        load_diffusion(path, adm16)


def test_a_file_of_something_else_is_refused(tmp_path: Path, tiny: Preset) -> None:
    path = tmp_path / "list.pt"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="must hold named tensors and nothing else"):
        load_diffusion(path, tiny)


def test_the_first_tensor_of_another_shape_is_named(weights: dict[str, Path]) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"does not fit preset cifar10: time_embed.0.weight is \[128, 32\] in the file, \[512, 128\]",
    ):
        load_diffusion(weights["diffusion"], preset_without_names("cifar10"))


def preset_without_names(name: str) -> Preset:
    table = load_preset(name).as_dict()
    for key in ("class_names", "synonyms", "class_orders"):
        table["image"].pop(key, None)
    return preset_from_dict(table)


def test_a_missing_and_a_surplus_tensor_are_named(weights: dict[str, Path], tiny: Preset, tmp_path: Path) -> None:
    tensors = load_file(weights["vanilla"])
    surplus, lacking = tmp_path / "surplus.safetensors", tmp_path / "lacking.safetensors"
    save_file({**tensors, "extra": torch.zeros(1)}, surplus)
    with pytest.raises(CheckpointError, match="extra has no place in it"):
        load_classifier(surplus, tiny)
    del tensors["out.2.c_proj.bias"]
    save_file(tensors, lacking)
    with pytest.raises(CheckpointError, match=r"lacks out.2.c_proj.bias \[3\]"):
        load_classifier(lacking, tiny)


def test_a_checkpoint_carries_its_preset_classes_step_and_data(weights: dict[str, Path], tiny: Preset) -> None:
    metadata = read_metadata(weights["robust"])
    assert metadata is not None
    assert preset_from_dict(metadata.preset) == tiny
    assert (metadata.kind, metadata.class_names, metadata.step) == ("robust", ("hat", "shoe, left", "bag"), 0)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(CheckpointError, match="No space left on device"):
        write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert path.read_text() == "old"


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, tiny: Preset) -> None:
    (tmp_path / "file").write_text("")
    metadata = Metadata("robust", tiny.as_dict(), (), 0, "none")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_network(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)}, metadata)
