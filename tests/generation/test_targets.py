import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generation.diffusion.unet import UNet, build_unet
from generation.errors import SettingsError
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import class_gradient, label_tensor, predict_for_classes
from generation.presets import Preset, load_preset, preset_from_dict
from generation.targets import resolve_targets


@pytest.fixture(scope="session")
def shoes() -> Preset:
    """Names with the signs that also stand between names."""
    table = load_preset("fashion32").as_dict()
    table["image"] |= {"classes": 6, "class_names": ["hat", "shoe, left", "bag", "hat+bag", "C++", "bag, C++"]}
    return preset_from_dict(table)


def classes(preset: Preset, *texts: str) -> list[tuple[int, ...]]:
    return [target.classes for target in resolve_targets(preset, texts)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["hat"], [(0,)]),
        (["hat", "bag"], [(0,), (2,)]),
        (["hat,bag"], [(0,), (2,)]),
        (["bag+hat+C++"], [(0, 2, 4)]),
        ([" BAG + Shoe, Left "], [(1, 2)]),
        (["hat+shoe, left,bag"], [(0, 1), (2,)]),
        (["hat+bag"], [(3,)]),
        (["hat + bag"], [(0, 2)]),
        (["hat+bag+bag"], [(2, 3)]),
        (["bag, C++"], [(5,)]),
        (["bag,C++"], [(2,), (4,)]),
        (["bag, C+++hat"], [(0, 5)]),
        (["0+2", "5"], [(0, 2), (5,)]),
    ],
)
def test_commas_part_targets_and_plus_signs_join_classes_but_not_within_a_name(
    shoes: Preset, texts: list[str], expected: list[tuple[int, ...]]
) -> None:
    assert classes(shoes, *texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["hat+shoe"], "No class 'shoe' in preset fashion32: it has hat, shoe, left, bag"),
        (["hat,,bag"], "No class ''"),
        (["hat+"], "No class ''"),
        ([""], "No class ''"),
        (["6"], "No class '6'"),
        (["bag + bag"], "names a class twice"),
        (["hat", "0"], "names a class twice"),
        (["hat + bag", "bag + hat"], "names a class twice"),
    ],
)
def test_what_is_no_class_is_named(shoes: Preset, texts: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve_targets(shoes, texts)


def test_combinations_are_numbered_on_from_the_classes_and_named_by_them(shoes: Preset) -> None:
    targets = resolve_targets(shoes, ["bag + hat", "C++", "shoe, left + hat"])
    assert [(t.index, t.name) for t in targets] == [(6, "hat + bag"), (4, "C++"), (7, "hat + shoe, left")]


def test_a_name_without_room_for_it_is_refused() -> None:
    table = load_preset("fashion32").as_dict()
    table["image"] |= {"classes": 2, "class_names": ["a" * 150, "b" * 150]}
    with pytest.raises(SettingsError, match="has 303 characters, 200 at most"):
        resolve_targets(preset_from_dict(table), ["0+1"])


def test_many_classes_are_read_quickly() -> None:
    preset = load_preset("imagenet128")
    assert classes(preset, ",".join(str(index) for index in range(1000))) == [(index,) for index in range(1000)]


def test_a_synonym_is_its_class() -> None:
    assert classes(load_preset("cifar10"), "airplane+Automobile", "plane") == [(1, 7), (7,)]


@given(st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=5))
def test_labels_say_each_images_classes(sets: list[set[int]]) -> None:
    label = label_tensor([sorted(group) for group in sets], 10)
    if all(len(group) == 1 for group in sets):
        assert label.tolist() == [group.pop() for group in sets]
    else:
        assert [set(row.nonzero()[:, 0].tolist()) for row in label] == sets


def test_several_classes_gradient_is_the_sum_of_theirs(vanilla: TimeClassifier, expected: dict[str, Tensor]) -> None:
    x, t = expected["x"], expected["timesteps"]

    def gradient(*label: int) -> Tensor:
        return class_gradient(vanilla, x, t, torch.tensor(label))

    both = gradient(1, 1, 1) + gradient(4, 4, 4)
    torch.testing.assert_close(class_gradient(vanilla, x, t, torch.tensor([[1, 4]] * 3)), both)
    mixed = torch.stack([gradient(1, 1, 1)[0] + gradient(4, 4, 4)[0], gradient(2, 2, 2)[1], both[2]])
    torch.testing.assert_close(class_gradient(vanilla, x, t, label_tensor([(1, 4), (2,), (1, 4)], 10)), mixed)


@pytest.mark.parametrize("as_mask", [True, False])
def test_one_class_given_as_several_steers_alike(
    vanilla: TimeClassifier, expected: dict[str, Tensor], *, as_mask: bool
) -> None:
    x, t, label = expected["x"], expected["timesteps"], expected["labels"]
    other = torch.nn.functional.one_hot(label, 10).bool() if as_mask else label[:, None]
    assert torch.equal(class_gradient(vanilla, x, t, other), class_gradient(vanilla, x, t, label))


def test_a_conditional_unet_predicts_the_mean_over_the_classes(unet: UNet, expected: dict[str, Tensor]) -> None:
    x, t = expected["x"], expected["timesteps"]
    with torch.no_grad():
        single = [unet(x, t, torch.full((3,), label)) for label in range(10)]
        pairs = predict_for_classes(unet, x, t, torch.tensor([[0, 7]] * 3))
        mixed = predict_for_classes(unet, x, t, label_tensor([(3,), (2, 5, 9), (0, 7)], 10))
    torch.testing.assert_close(pairs, (single[0] + single[7]) / 2)
    by_hand = [single[3][0], (single[2][1] + single[5][1] + single[9][1]) / 3, (single[0][2] + single[7][2]) / 2]
    torch.testing.assert_close(mixed, torch.stack(by_hand))


def test_an_unconditional_unet_is_told_no_class(adm16: Preset, expected: dict[str, Tensor]) -> None:
    network = build_unet(
        dataclasses.replace(adm16, diffusion=dataclasses.replace(adm16.diffusion, class_conditional=False))
    )
    with torch.no_grad():
        assert torch.equal(
            predict_for_classes(network, expected["x"], expected["timesteps"], None),
            network(expected["x"], expected["timesteps"]),
        )
