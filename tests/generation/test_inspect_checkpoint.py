import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file, save_file

from generation.checkpoints import Metadata, save_network
from generation.presets import Preset, load_preset
from generation.tensorfiles import open_tensors
from tests.generation.conftest import PARITY, TINY
from tests.generation.test_checkpoints import Bomb


def inspect(path: Path, **options: Any) -> str:
    out = StringIO()
    call_command("inspect_checkpoint", str(path), stdout=out, **options)
    return out.getvalue()


def inspect_json(path: Path, **options: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(inspect(path, json=True, **options))
    return values


@pytest.fixture(scope="module")
def cifar10_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the published training code writes it."""
    path = tmp_path_factory.mktemp("published") / "model200000.pt"
    shapes = json.loads((PARITY / "cifar10_classifier.tensors.json").read_text())
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return path


def test_a_published_file_is_told_from_its_tensors(cifar10_classifier: Path) -> None:
    said = inspect_json(cifar10_classifier)
    # 2.07 M parameters, says ../parity/README.md.
    assert round(said["parameters"] / 1e6, 2) == 2.07
    assert said["parameters_of_type"] == {"float32": said["parameters"]}
    assert (said["network"], said["fits"], said["nearest"]) == ("classifier", ["cifar10"], "fashion32")
    assert said["sha256"] == hashlib.sha256(cifar10_classifier.read_bytes()).hexdigest()
    assert said["bytes"] == cifar10_classifier.stat().st_size
    assert (said["step"], said["step_in_name"], said["kind"], said["class_names"]) == (None, 200000, None, [])
    assert said["architectures"][0]["channel_mult"] == [1, 2, 2, 4]
    text = inspect(cifar10_classifier)
    assert "model200000.pt: a time-dependent classifier\n" in text
    assert "its name says 200000" in text
    assert "which order they are in cannot be told from the tensors" in text
    assert "attention_resolutions [16, 8]" in text


def test_where_no_preset_fits_the_first_tensor_that_differs_is_named(weights: dict[str, Path]) -> None:
    tensors = load_file(weights["robust"])
    bare = weights["robust"].with_name("bare.safetensors")
    save_file(tensors, bare)
    text = inspect(bare)
    assert "fits          no preset\n" in text
    # Both classifiers are 32 wide at the stem; tiny's images have one channel, as fashion32's; at its first halving
    # fashion32 goes on with 64 channels.
    assert (
        "differs       from fashion32: input_blocks.3.0.in_layers.2.weight is [32, 32, 3, 3] in the file, [64, 32"
        in text
    )


def test_the_preset_that_is_asked_for_is_compared(weights: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("classes = 3", "classes = 2").replace('"bag"]', "]"))
    said = inspect_json(weights["robust"], preset=str(other))
    assert said["differs"][str(other)] == "out.2.c_proj.weight is [3, 32, 1] in the file, [2, 32, 1] in the preset"
    assert f"from {other}: out.2.c_proj.weight" in inspect(weights["robust"], preset=str(other))
    assert said["fits"] == ["its own (tiny)"]


def test_what_a_checkpoint_says_of_itself_is_passed_on(weights: dict[str, Path], tiny: Preset) -> None:
    metadata = Metadata("robust", tiny.as_dict(), ("bag", "hat", "shoe, left"), 41, "bright", initial="ab" * 32)
    save_network(weights["robust"], load_file(weights["robust"]), metadata)
    said = inspect_json(weights["robust"])
    assert (said["kind"], said["step"], said["dataset"], said["initial"]) == ("robust", 41, "bright", "ab" * 32)
    assert said["class_names"] == ["bag", "hat", "shoe, left"]
    assert said["preset"]["name"] == "tiny"
    text = inspect(weights["robust"])
    assert "robust.safetensors: a robust classifier\n" in text
    assert "class names   bag, hat, shoe, left\n" in text


def test_a_preset_of_another_version_is_passed_on_unread(weights: dict[str, Path], tiny: Preset) -> None:
    table = {**tiny.as_dict(), "weather": {"rain": 1}}
    save_network(weights["robust"], load_file(weights["robust"]), Metadata("robust", table, (), 1, None))
    said = inspect_json(weights["robust"])
    assert said["preset"]["weather"] == {"rain": 1}
    assert said["fits"] == []


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("bird car cat deer dog frog horse plane ship truck", "folders"),
        ("airplane automobile bird cat deer dog frog horse ship truck", "torchvision"),
    ],
)
def test_the_orders_of_class_names_are_told_apart(
    cifar10_classifier: Path, tmp_path: Path, names: str, order: str
) -> None:
    path = tmp_path / "named.safetensors"
    tensors = dict(open_tensors(cifar10_classifier).read())
    save_network(path, tensors, Metadata("vanilla", load_preset("cifar10").as_dict(), tuple(names.split()), 1, None))
    assert inspect_json(path)["class_orders"] == [f"cifar10: {order}"]
    assert f"(cifar10: {order})" in inspect(path)


def test_a_value_that_is_not_finite_is_named(weights: dict[str, Path]) -> None:
    tensors = load_file(weights["diffusion"])
    tensors["out.2.bias"][0] = float("nan")
    save_file(tensors, weights["diffusion"])
    assert inspect_json(weights["diffusion"])["not_finite"] == "out.2.bias"
    assert "not all finite: out.2.bias" in inspect(weights["diffusion"])


def test_a_part_and_a_prefix_are_told(weights: dict[str, Path], tmp_path: Path) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in load_file(weights["diffusion"]).items()}
    path = tmp_path / "two.pt"
    torch.save({"model": tensors, "ema": tensors}, path)
    with pytest.raises(CommandError, match="holds more than one network, in 'model', 'ema'"):
        inspect(path)
    said = inspect_json(path, part="ema")
    assert (said["part"], said["removed_prefix"], said["network"]) == ("ema", "module.", "unet")
    assert "its part 'ema', without 'module.' before every name" in inspect(path, part="ema")
    with pytest.raises(CommandError, match="has no part 'average' of named tensors: it has 'model', 'ema'"):
        inspect(path, part="average")


def test_a_foreign_network_is_described_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pt"
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7), "bn1.num_batches_tracked": torch.tensor(3)}, path)
    said = inspect_json(path)
    assert (said["network"], said["architectures"], said["fits"], said["nearest"]) == (None, [], [], None)
    assert said["parameters_of_type"] == {"float32": 588, "int64": 1}
    assert "no U-Net or classifier of this family; its first tensor is conv1.weight [4, 3, 7, 7]" in inspect(path)


def test_pickled_code_is_refused_before_it_runs(tmp_path: Path) -> None:
    path, crater = tmp_path / "bomb.pt", tmp_path / "crater"
    torch.save({"time_embed.0.weight": Bomb(crater)}, path)
    with pytest.raises(CommandError, match=r"bomb.pt is refused: .* might run code \(posix.mkdir\)"):
        inspect(path)
    with pytest.raises(CommandError, match=r"bomb.pt is refused"):
        call_command("convert_checkpoint", str(path), str(tmp_path / "out.safetensors"), preset="cifar10")
    assert not crater.exists()


@pytest.mark.parametrize(
    "name", ["folder", "absent.pt", "empty.pt", "empty.safetensors", "text.pt", "none.safetensors"]
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "none.safetensors":
        save_file({}, path)
    elif name != "absent.pt":
        path.write_text("" if name.startswith("empty") else "a letter")
    with pytest.raises(CommandError, match=str(path)) as caught:
        inspect(path)
    assert "\n" not in str(caught.value)
