import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

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


def test_another_order_of_classes_is_refused(weights: dict[str, Path], tiny: Preset) -> None:
    table = tiny.as_dict()
    table["image"]["class_names"] = ["bag", "hat", "shoe, left"]
    with pytest.raises(CheckpointError, match="give both the same order"):
        load_classifier(weights["robust"], preset_from_dict(table))


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
