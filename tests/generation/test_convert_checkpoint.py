from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file, save_file

from generation.checkpoints import load_classifier, load_diffusion, read_metadata, sha256_of
from generation.presets import Preset, preset_from_dict
from tests.generation.conftest import TINY

ORDERS = (
    '[image.class_orders]\nours = ["hat", "shoe, left", "bag"]\ntheirs = ["bag", "hat", "shoe, left"]\n\n[diffusion]'
)


def convert(path: Path, output: Path, **options: Any) -> str:
    out = StringIO()
    call_command("convert_checkpoint", str(path), str(output), stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def published(weights: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The tiny networks as bare state dicts."""
    paths = {}
    for kind, path in weights.items():
        paths[kind] = tmp_path / f"{kind}.pt"
        torch.save(load_file(path), paths[kind])
    return paths


@pytest.fixture
def two_orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.toml"
    path.write_text(TINY.replace("[diffusion]", ORDERS, 1))
    return path


def test_tensors_come_through_unchanged_and_the_rest_is_written_down(
    published: dict[str, Path], tiny: Preset, tiny_path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "robust.safetensors"
    line = convert(published["robust"], output, preset=str(tiny_path), kind="robust", step=200000)
    assert line == f"{output}: robust, preset tiny\n"
    before, after = torch.load(published["robust"]), load_file(output)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    metadata = read_metadata(output)
    assert metadata is not None
    assert (metadata.kind, preset_from_dict(metadata.preset), metadata.step) == ("robust", tiny, 200000)
    assert metadata.class_names == ("hat", "shoe, left", "bag")
    assert (metadata.dataset, metadata.source) == (None, sha256_of(published["robust"]))


def test_what_was_converted_converts_again_without_being_told_anything(
    published: dict[str, Path], tiny_path: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    convert(published["diffusion"], once, preset=str(tiny_path), step=7)
    convert(once, twice)
    first, second = load_file(once), load_file(twice)
    assert all(torch.equal(first[name], second[name]) for name in first)
    metadata = read_metadata(twice)
    assert metadata is not None
    assert (metadata.kind, metadata.step, metadata.source) == ("diffusion", 7, sha256_of(once))


@pytest.mark.parametrize("told", [{"class_order": "theirs"}, {"class_names": ["bag", "HAT", "shoe, left"]}, {}])
def test_the_order_that_was_told_travels_along(
    published: dict[str, Path], two_orders: Path, tiny: Preset, tmp_path: Path, told: dict[str, Any]
) -> None:
    output = tmp_path / "told.safetensors"
    if not told:
        names = tmp_path / "names.txt"
        names.write_text("bag\nhat\nshoe, left\n")
        told = {"class_names": [str(names)]}
    convert(published["robust"], output, preset=str(two_orders), kind="robust", **told)
    x, t = torch.ones(1, 1, 8, 8), torch.tensor([10])
    with torch.no_grad():
        raw, named = load_classifier(published["robust"], tiny)(x, t), load_classifier(output, tiny)(x, t)
    # The preset's hat is the file's second class, its shoe the third, its bag the first.
    torch.testing.assert_close(named, raw[:, [1, 2, 0]])


def test_half_precision_is_half_the_size_and_loads_as_what_it_was_rounded_to(
    published: dict[str, Path], tiny: Preset, tiny_path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "half.safetensors"
    convert(published["diffusion"], output, preset=str(tiny_path), precision="fp16")
    assert {tensor.dtype for tensor in load_file(output).values()} == {torch.float16}
    loaded = load_diffusion(output, tiny).state_dict()
    assert all(torch.equal(loaded[n], t.half().float()) for n, t in torch.load(published["diffusion"]).items())


def test_a_part_of_a_file_becomes_a_file(
    published: dict[str, Path], tiny: Preset, tiny_path: Path, tmp_path: Path
) -> None:
    weights = torch.load(published["diffusion"])
    path, output = tmp_path / "training.pt", tmp_path / "average.safetensors"
    torch.save({"network": {n: t + 1 for n, t in weights.items()}, "average": weights, "step": 3}, path)
    convert(path, output, preset=str(tiny_path), part="average")
    assert all(torch.equal(t, weights[n]) for n, t in load_diffusion(output, tiny).state_dict().items())


def test_tensors_that_share_their_memory_are_written_one_by_one(
    published: dict[str, Path], tiny_path: Path, tmp_path: Path
) -> None:
    weights = torch.load(published["diffusion"])
    weights["time_embed.0.bias"] = weights["time_embed.2.bias"]
    torch.save(weights, published["diffusion"])
    convert(published["diffusion"], tmp_path / "tied.safetensors", preset=str(tiny_path))
    assert torch.equal(load_file(tmp_path / "tied.safetensors")["time_embed.0.bias"], weights["time_embed.2.bias"])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("robust", {"kind": "robust", "preset": None}, "carries no preset: say which with --preset"),
        ("robust", {}, "is a classifier and does not say which: give --kind robust or vanilla"),
        ("robust", {"kind": "diffusion"}, "is a classifier: --kind diffusion cannot be"),
        ("diffusion", {"kind": "vanilla"}, "is a U-Net: --kind vanilla cannot be"),
        ("robust", {"kind": "robust"}, "knows several orders: give --class-order ours or theirs"),
        ("robust", {"kind": "robust", "class_order": "hers"}, "No class order 'hers'"),
        (
            "robust",
            {"kind": "robust", "class_names": ["hat", "cap", "bag"]},
            "does not have the classes hat, shoe, left",
        ),
        ("robust", {"kind": "robust", "preset": "fashion32"}, r"does not fit preset fashion32: input_blocks.3.0"),
        ("robust", {"kind": "robust", "output": "robust.pt"}, r"robust.pt must end in .safetensors"),
        ("robust", {"kind": "robust", "output": "diffusion.safetensors"}, "diffusion.safetensors is there already"),
        ("diffusion", {"class_order": "ours", "step": 1, "part": "ema"}, "has no part 'ema'"),
    ],
)
def test_what_nobody_says_or_cannot_be_is_asked_for(
    published: dict[str, Path], two_orders: Path, tmp_path: Path, kind: str, options: dict[str, Any], message: str
) -> None:
    output = tmp_path / options.pop("output", "out.safetensors")
    preset = options.pop("preset", str(two_orders))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CommandError, match=message):
        convert(published[kind], output, preset=preset, **options)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("options", [{"kind": "vanilla"}, {"class_names": ["bag", "hat", "shoe, left"]}])
def test_what_a_file_says_is_not_overruled(weights: dict[str, Path], tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=r"says that .* leave --"):
        convert(weights["robust"], tmp_path / "out.safetensors", **options)


def test_names_can_be_given_where_the_preset_has_none(published: dict[str, Path], tmp_path: Path) -> None:
    preset = tmp_path / "bare.toml"
    preset.write_text(TINY.replace('class_names = ["hat", "shoe, left", "bag"]\n', ""))
    output = tmp_path / "named.safetensors"
    with pytest.raises(CommandError, match="has 3 classes: give each a name of its own, not 2"):
        convert(published["vanilla"], output, preset=str(preset), kind="vanilla", class_names=["a", "b"])
    convert(published["vanilla"], output, preset=str(preset), kind="vanilla", class_names=["a", "b", "c"])
    metadata = read_metadata(output)
    assert metadata is not None
    assert metadata.class_names == ("a", "b", "c")


def test_a_value_without_room_in_the_precision_is_named(
    published: dict[str, Path], tiny_path: Path, tmp_path: Path
) -> None:
    weights = torch.load(published["diffusion"])
    weights["out.2.bias"][0] = 1e6
    path = tmp_path / "large.safetensors"
    save_file(weights, path)
    with pytest.raises(CommandError, match=r"values in out.2.bias that torch.float16 has no room for"):
        convert(path, tmp_path / "half.safetensors", preset=str(tiny_path), precision="fp16")
