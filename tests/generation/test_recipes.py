"""The shipped presets train as the paper says (Section 5.1, Appendix E), and the command line changes that soundly."""

import argparse
from typing import Any

import pytest

from generation.errors import PresetError
from generation.management.commands.train_classifier import attack_from
from generation.management.options import positive
from generation.management.training import recipe_from
from generation.presets import Attack, ClassifierTraining, DiffusionTraining, load_preset

NOTHING: dict[str, Any] = {"threat_model": None, "epsilon": None, "attack_steps": None, "step_size": None}
UNCHANGED: dict[str, Any] = {
    "iterations": None,
    "batch_size": None,
    "learning_rate": None,
    "seed": 0,
    "accumulation_steps": 1,
}


def test_imagenets_classifier_is_trained_as_in_section_5_1() -> None:
    preset = load_preset("imagenet128")
    assert preset.training.classifier == ClassifierTraining(240_000, 128, 3e-4, 0.05, 300_000, True, True)
    assert preset.attack == Attack("l2", 0.5, 7, 0.083)
    recipe = recipe_from(preset.training.classifier, preset, "training.classifier", UNCHANGED)
    assert recipe.rate_at(0) == 3e-4
    assert recipe.rate_at(240_000) == pytest.approx(6e-5)
    assert recipe.augmentation.random_crop
    assert recipe.augmentation.random_flip


def test_cifar10_is_trained_as_in_appendix_e() -> None:
    preset = load_preset("cifar10")
    assert preset.training.classifier == ClassifierTraining(200_000, 128, 3e-4, 0.05, 300_000, True, True)
    assert preset.training.diffusion == DiffusionTraining(200_000, 128, 1e-4, 0.9999)
    assert (preset.classifier.width, preset.diffusion.dropout) == (32, 0.1)
    recipe = recipe_from(preset.training.classifier, preset, "training.classifier", UNCHANGED)
    assert recipe.rate_at(200_000) == pytest.approx(1e-4)


def test_a_shorter_training_anneals_over_the_same_share() -> None:
    preset = load_preset("imagenet128")
    options = {**UNCHANGED, "iterations": 2400}
    recipe = recipe_from(preset.training.classifier, preset, "training.classifier", options)
    assert recipe.rate_at(2400) == pytest.approx(6e-5)


@pytest.mark.parametrize("epsilon", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("steps", [5, 7, 9])
def test_table_4s_l2_attacks_take_the_step_of_appendix_e(epsilon: float, steps: int) -> None:
    attack = attack_from(load_preset("cifar10"), {**NOTHING, "epsilon": epsilon, "attack_steps": steps})
    assert attack == Attack("l2", epsilon, steps, 2.5 * epsilon / steps)


@pytest.mark.parametrize("radius", ["4/255", "8/255"])
def test_table_4s_linf_radii_are_given_as_they_are_written(radius: str) -> None:
    options = {**NOTHING, "threat_model": "linf", "epsilon": positive(radius), "attack_steps": 5}
    attack = attack_from(load_preset("cifar10"), options)
    epsilon = int(radius[0]) / 255
    assert attack == Attack("linf", epsilon, 5, 2.5 * epsilon / 5)


def test_a_radius_does_not_pass_from_one_norm_to_another() -> None:
    with pytest.raises(PresetError, match=r"cifar10's radius 0.5 is of l2; give --epsilon too"):
        attack_from(load_preset("cifar10"), {**NOTHING, "threat_model": "linf"})


@pytest.mark.parametrize("text", ["0", "-1", "1/0", "nan", "inf", "1/-255", "four", "4/255/2", ""])
def test_a_radius_or_rate_that_cannot_be_is_refused(text: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--epsilon", type=positive)
    with pytest.raises(argparse.ArgumentError, match=f"invalid positive number value: '{text}'"):
        parser.parse_args([f"--epsilon={text}"])
