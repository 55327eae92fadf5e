"""Networks that count the same classes in other orders, and networks that do not say how they count."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file, save_file
from torch import Tensor

from generation.checkpoints import Metadata, load_classifier, load_diffusion, save_network, settle_classes
from generation.errors import CheckpointError
from generation.presets import Preset, load_preset, preset_from_dict
from tests.generation.conftest import PARITY, TINY

# The tiny preset's classes are hat, shoe, left and bag: 0, 1, 2.
OTHER = ("bag", "Hat", "shoe, left")
PLACES = [1, 2, 0]


def recounted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same network, if it counted the classes as OTHER does: row 0 is what row 2 was."""
    rows = ("label_emb.weight", "out.2.c_proj.weight", "out.2.c_proj.bias")
    return {name: tensor[[2, 0, 1]] if name in rows else tensor for name, tensor in tensors.items()}


@pytest.fixture
def others(weights: dict[str, Path], tiny: Preset, tmp_path: Path) -> dict[str, Path]:
    """The networks of `weights` in the other order, saying so."""
    paths = {}
    for kind, path in weights.items():
        paths[kind] = tmp_path / f"other-{kind}.safetensors"
        save_network(paths[kind], recounted(load_file(path)), Metadata(kind, tiny.as_dict(), OTHER, 0, "none"))
    return paths


@pytest.fixture
def nameless(weights: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The networks of `weights` in the other order, without a word about it."""
    paths = {}
    for kind, path in weights.items():
        paths[kind] = tmp_path / f"nameless-{kind}.pt"
        torch.save(recounted(load_file(path)), paths[kind])
    return paths


def two_orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.toml"
    orders = '[image.class_orders]\nours = ["hat", "shoe, left", "bag"]\ntheirs = ["bag", "hat", "shoe, left"]\n\n'
    path.write_text(TINY.replace("[diffusion]", orders + "[diffusion]", 1))
    return path


def generate(preset: Path, output: Path, **options: Any) -> dict[str, bytes]:
    settings = {"count": 3, "seed": 3, "batch_size": 3, "vanilla_scale": 50.0, "robust_scale": 100.0, **options}
    call_command("generate_pairs", str(preset), output=output, stdout=StringIO(), **settings)
    return {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.suffix in (".png", ".csv")}


def test_a_network_is_loaded_in_the_presets_order(
    weights: dict[str, Path], others: dict[str, Path], tiny: Preset
) -> None:
    for kind, load in (("diffusion", load_diffusion), ("robust", load_classifier)):
        ours, theirs = (load(path[kind], tiny).state_dict() for path in (weights, others))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_classifiers_logits_move_with_its_names(weights: dict[str, Path], tiny: Preset, tmp_path: Path) -> None:
    # The same file, but for what it says: its third logit was the bag's, now it is the second shoe's.
    path = tmp_path / "renamed.safetensors"
    save_network(path, load_file(weights["robust"]), Metadata("robust", tiny.as_dict(), OTHER, 0, "none"))
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 500])
    with torch.no_grad():
        before, after = (load_classifier(p, tiny)(x, t) for p in (weights["robust"], path))
    torch.testing.assert_close(after, before[:, PLACES])


@pytest.mark.django_db
def test_networks_in_different_orders_make_the_images_of_networks_in_one(
    weights: dict[str, Path], others: dict[str, Path], tiny_path: Path, tmp_path: Path
) -> None:
    one = generate(tiny_path, tmp_path / "one", **weights)
    mixed = generate(tiny_path, tmp_path / "mixed", **{**weights, "robust": others["robust"]})
    assert generate(tiny_path, tmp_path / "others", **others) == mixed == one


@pytest.mark.django_db
def test_a_nameless_network_is_refused_where_the_preset_knows_several_orders_until_told_its_own(
    weights: dict[str, Path], nameless: dict[str, Path], tiny_path: Path, tmp_path: Path
) -> None:
    preset = two_orders(tmp_path)
    message = (
        r"nameless-robust.pt does not carry its class names, .* ours \(hat, .*\) or theirs \(bag, .* --class-order"
    )
    with pytest.raises(CommandError, match=message):
        generate(preset, tmp_path / "set", **{**weights, "robust": nameless["robust"]})
    assert not (tmp_path / "set").exists()
    told = generate(preset, tmp_path / "set", class_order="theirs", **{**weights, "robust": nameless["robust"]})
    assert told == generate(tiny_path, tmp_path / "named", **weights)
    wrongly = generate(preset, tmp_path / "wrong", class_order="ours", **{**weights, "robust": nameless["robust"]})
    assert wrongly != told
    settings = json.loads((tmp_path / "set" / "settings.json").read_text())
    assert settings["robust"]["class_order"] == "theirs"
    with pytest.raises(CommandError, match=r"No class order 'hers': the preset's class_orders are ours, theirs"):
        generate(preset, tmp_path / "hers", class_order="hers", **nameless)


def test_an_unconditional_network_need_not_name_classes(tmp_path: Path) -> None:
    table = load_preset(two_orders(tmp_path)).as_dict()
    table["diffusion"]["class_conditional"] = False
    assert settle_classes(preset_from_dict(table), []) == preset_from_dict(table)


@pytest.mark.django_db
def test_a_preset_without_names_takes_the_networks_names(
    weights: dict[str, Path], others: dict[str, Path], nameless: dict[str, Path], tmp_path: Path
) -> None:
    preset = tmp_path / "bare.toml"
    preset.write_text(TINY.replace('class_names = ["hat", "shoe, left", "bag"]\n', ""))
    generate(preset, tmp_path / "set", **{**weights, "vanilla": others["vanilla"]}, classes=["Hat", "bag"])
    with (tmp_path / "set" / "manifest.csv").open(newline="") as file:
        assert {(line["class_index"], line["class_name"]) for line in csv.DictReader(file)} == {
            ("0", "hat"),
            ("2", "bag"),
        }
    with pytest.raises(CommandError, match=r"nameless-robust.pt .* others do, .* write class_names into the preset"):
        generate(preset, tmp_path / "other", **{**weights, "robust": nameless["robust"]})
    generate(preset, tmp_path / "nobody", **nameless)
    assert "class 2" in (tmp_path / "nobody" / "manifest.csv").read_text()


@pytest.mark.parametrize("names", [["bag", "hat", "cap"], ["bag", "hat", "hat"], ["bag", "hat"]])
def test_a_network_of_other_classes_is_refused(
    weights: dict[str, Path], tiny: Preset, tmp_path: Path, names: list[str]
) -> None:
    path = tmp_path / "strange.safetensors"
    save_network(path, load_file(weights["robust"]), Metadata("robust", tiny.as_dict(), tuple(names), 0, "none"))
    for check in (load_classifier, lambda p, preset: settle_classes(preset, [p])):
        with pytest.raises(
            CheckpointError, match=r"strange.safetensors does not have the classes hat, shoe, left, bag"
        ):
            check(path, tiny)


@pytest.mark.parametrize("metadata", ["{", "[]", '{"kind": "robust"}', '{"class_names": "ab"}'])
def test_metadata_that_cannot_be_read_is_refused(weights: dict[str, Path], tiny: Preset, metadata: str) -> None:
    save_file(load_file(weights["robust"]), weights["robust"], {"sameseed": metadata})
    with pytest.raises(CheckpointError, match="metadata that cannot be read"):
        load_classifier(weights["robust"], tiny)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files as the published CIFAR-10 ones: state dicts of their names and shapes, with random weights."""
    folder = tmp_path_factory.mktemp("published")
    generator = torch.Generator().manual_seed(0)
    paths = {}
    for kind, name in (("diffusion", "diffusion"), ("vanilla", "classifier"), ("robust", "classifier")):
        shapes = json.loads((PARITY / f"cifar10_{name}.tensors.json").read_text())
        # Small weights keep a deep random network's output finite.
        tensors = {key: 0.02 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        paths[kind] = folder / f"{kind}.pt"
        torch.save({key: t.half() if kind == "diffusion" else t for key, t in tensors.items()}, paths[kind])
    return paths


@pytest.mark.django_db
def test_published_cifar10_files_need_one_word_about_their_order(published: dict[str, Path], tmp_path: Path) -> None:
    cifar10 = Path("cifar10")
    options: dict[str, Any] = {"count": 1, "steps": "1", "classes": ["airplane"], **published}
    with pytest.raises(CommandError, match=r"folders \(bird, car, cat, ...\) or torchvision \(airplane, automobile, b"):
        generate(cifar10, tmp_path / "set", **options)
    folders = generate(cifar10, tmp_path / "folders", class_order="folders", **options)
    torchvision = generate(cifar10, tmp_path / "torchvision", class_order="torchvision", **options)
    assert folders["manifest.csv"].splitlines()[1].startswith(b"0,7,plane,3,robust,")
    assert folders["robust/000000.png"] != torchvision["robust/000000.png"]
