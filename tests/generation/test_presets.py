from pathlib import Path

import pytest

from generation.errors import PresetError
from generation.presets import Preset, load_preset, preset_from_dict, shipped_presets
from tests.generation.conftest import TINY


def edited(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TINY
    path = tmp_path / "edited.toml"
    path.write_text(TINY.replace(old, new, 1))
    return path


def test_three_presets_are_shipped_and_read() -> None:
    assert shipped_presets() == ["cifar10", "fashion32", "imagenet128"]
    assert [load_preset(name).name for name in shipped_presets()] == shipped_presets()


def test_a_preset_mirrors_its_file(tiny_path: Path) -> None:
    preset = load_preset(tiny_path)
    assert preset.name == "tiny"
    assert preset.diffusion.channel_mult == (1, 1)
    assert preset.diffusion.class_conditional is True
    assert preset.image.name_of(1) == "shoe, left"
    assert preset.sampling.respacing == "4"


def test_a_preset_survives_its_plain_values(tiny_path: Path) -> None:
    preset = load_preset(tiny_path)
    assert preset_from_dict(preset.as_dict()) == preset
    assert preset_from_dict(load_preset("cifar10").as_dict()) == load_preset("cifar10")


def test_training_and_attack_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "sampling.toml"
    path.write_text(TINY[: TINY.index("[attack]")])
    preset = load_preset(path)
    assert preset.attack is None
    assert preset.training.classifier is None


def test_an_unnamed_class_is_called_by_its_index(adm16: Preset) -> None:
    assert adm16.image.name_of(7) == "class 7"


def test_imagenets_classes_are_shown_in_words_and_found_by_the_data_sets_folders() -> None:
    image = load_preset("imagenet128").image
    named = {0: "tench", 134: "crane (bird)", 207: "Golden Retriever", 517: "crane (machine)", 999: "toilet paper"}
    assert {index: image.name_of(index) for index in named} == named
    folders = ["n01440764", "n02012849", "n02099601", "n03126707", "n15075141"]
    assert [image.index_of(folder) for folder in folders] == list(named)
    assert list(image.synonyms) == sorted(image.synonyms)
    assert [image.index_of(folder) for folder in image.synonyms] == list(range(1000))


def test_a_preset_without_orders_and_synonyms_is_written_as_if_there_were_no_such_keys() -> None:
    assert set(load_preset("fashion32").as_dict()["image"]) == {"size", "channels", "classes", "class_names"}
    assert {"synonyms", "class_orders"} < set(load_preset("cifar10").as_dict()["image"])


def test_cifar10_orders_are_the_published_codes_and_the_data_sets() -> None:
    image = load_preset("cifar10").image
    folders, torchvision = image.class_orders["folders"], image.class_orders["torchvision"]
    assert list(folders) == sorted(folders)
    assert list(torchvision) == sorted(torchvision)
    assert image.class_names == folders
    assert [image.index_of(name) for name in torchvision] == [7, 1, 0, 2, 3, 4, 5, 6, 8, 9]


def test_a_class_is_found_in_any_case_unless_two_names_differ_by_it(tmp_path: Path) -> None:
    image = load_preset(edited(tmp_path, '"bag"]', '"HAT"]\nsynonyms = {cap = "hat"}')).image
    assert [image.index_of(name) for name in ("hat", "HAT", " Shoe, Left", "CAP", "Hat", "bag")] == [
        0,
        2,
        1,
        0,
        None,
        None,
    ]


def test_an_unknown_preset_lists_the_shipped_ones() -> None:
    with pytest.raises(PresetError, match=r"No preset 'fashion': shipped are cifar10, fashion32, imagenet128"):
        load_preset("fashion")


def test_broken_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[image\n")
    with pytest.raises(PresetError, match="no valid TOML"):
        load_preset(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("res_blocks", "res_block", r"Unknown key 'res_block' in \[diffusion\]: did you mean 'res_blocks'"),
        ("[sampling]", "[sampler]", r"Unknown key 'sampler' in \[preset\]: did you mean 'sampling'"),
        ("classes = 3\n", "", r"\[image\] lacks classes"),
        ("size = 8", 'size = "8"', r"image.size = '8' cannot be: expected a whole number"),
        ("size = 8", "size = true", r"image.size = True cannot be"),
        ("size = 8", "size = 9", r"image.size = 9 cannot be halved"),
        ("size = 8", "size = -8", r"image.size = -8 cannot be"),
        ("width = 32", "width = 48", r"diffusion.width = 48 must be a multiple of 32"),
        ("heads = 2", "heads = 3", r"32 channels, which its attention heads cannot share"),
        ("heads = 2", "heads = 2\nhead_channels = 16", r"either heads or head_channels"),
        ("heads = 2\n", "", r"either heads or head_channels"),
        ('"bag"]', '"bag", "coat"]', r"4 names for 3 classes"),
        ('"bag"]', '"hat"]', r"must be different"),
        ('"bag"]', '"bag"]\nsynonyms = {cap = "cup"}', r"image.synonyms.cap = 'cup' must give a class"),
        ('"bag"]', '"bag"]\nsynonyms = {hat = "bag"}', r"image.synonyms.hat = 'bag' must give a class"),
        ('"bag"]', '"bag"]\nsynonyms = {cap = 1}', r"image.synonyms.cap = 1 cannot be: expected a text"),
        ('"bag"]', '"bag"]\nsynonyms = "cap"', r"image.synonyms = 'cap' cannot be: expected a section"),
        ('"bag"]', '"bag"]\nclass_orders = {a = ["hat", "bag"]}', r"class_orders.a must have every class"),
        (
            '"bag"]',
            '"bag"]\nclass_orders = {a = ["bag", "hat", "shoe, left"]}',
            r"must have the order of class_names too",
        ),
        (
            'class_names = ["hat", "shoe, left", "bag"]',
            "class_orders = {}\nsynonyms = {a = 'b'}",
            r"need image.class_names",
        ),
        (
            'threat_model = "l2"',
            'threat_model = "l1"',
            r"attack.threat_model = 'l1' cannot be: expected 'l2' or 'linf'",
        ),
        ("epsilon = 0.5", "epsilon = inf", r"attack.epsilon = inf cannot be"),
        ("epsilon = 0.5", "epsilon = nan", r"attack.epsilon = nan cannot be"),
        ("ema_rate = 0.9", "ema_rate = 1.0", r"ema_rate = 1.0 must be below 1"),
        ("channel_mult = [1, 1]", "channel_mult = []", r"diffusion.channel_mult is empty"),
        ("channel_mult = [1, 1]", "channel_mult = [1, 0]", r"diffusion.channel_mult = \(1, 0\) cannot be"),
        ('respacing = "4"', "respacing = 4", r"sampling.respacing = 4 cannot be: expected a text"),
        (
            'respacing = "4"',
            'sampler = "euler"',
            r"sampling.sampler = 'euler' cannot be: .*'dpmpp2m'",
        ),
        ('respacing = "4"', 'sampler = "ddim"\neta = 1.5', r"sampling.eta = 1.5 cannot be: take 0 to 1"),
        ('respacing = "4"', "eta = 0.5", r"sampling.eta = 0.5 cannot be: .* and 0 with any other"),
        ('respacing = "4"', "robust_scale = -1", r"robust_scale = -1.0 must be"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(PresetError, match=message):
        load_preset(edited(tmp_path, old, new))
