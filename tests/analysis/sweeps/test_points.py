"""Which points a sweep has, which it subtracts, and which scale is best."""

import dataclasses
from pathlib import Path

import pytest

from analysis.sweeps.definition import (
    Arms,
    Attacks,
    Changes,
    GuidingKind,
    Iterations,
    Networks,
    Sampling,
    Scales,
    Sweep,
    SweepError,
)
from analysis.sweeps.points import Cell, Network, best_scales, cells_of, pairs_of
from generation.presets import Preset, load_preset


@pytest.fixture(scope="module")
def fashion() -> Preset:
    return load_preset("fashion32")


def distinct(cells: list[Cell]) -> int:
    return len({cell.point.key for cell in cells})


def named(pairs: list[tuple[Cell, Cell]]) -> list[tuple[str, str]]:
    return [(first.name, second.name) for first, second in pairs]


def test_scale_0_is_one_point_of_both_arms(fashion: Preset) -> None:
    sweep = Sweep("s", fashion, Scales((1.0, 0.0)), "scales", Sampling(10))
    cells = cells_of(sweep, "")
    assert [cell.name for cell in cells] == ["vanilla at 0", "vanilla at 1", "robust at 0", "robust at 1"]
    assert distinct(cells) == 3
    assert named(pairs_of(sweep, cells)) == [("robust at 1", "vanilla at 1")]


def test_iterations_are_kept_from_one_training(fashion: Preset) -> None:
    cells = cells_of(Sweep("s", fashion, Iterations((20, 10)), "iterations", Sampling(10)), "data")
    assert [(cell.arm, cell.place) for cell in cells] == [("unguided", 10), ("unguided", 20)]
    networks = [cell.point.diffusion for cell in cells]
    plans = {network.training.key for network in networks if network.training}
    assert len(plans) == 1
    plan = networks[0].training
    assert plan is not None
    assert (plan.keep, plan.recipe.iterations, [network.iteration for network in networks]) == ((10, 20), 20, [10, 20])


def test_attacks_are_trained_one_by_one_beside_one_vanilla_classifier_trained_as_long(fashion: Preset) -> None:
    grid = Attacks(("l2 1.0", "linf 8/255"), (7, 5), scale=2.0)
    sweep = Sweep("s", fashion, grid, "attacks", Sampling(10))
    cells = cells_of(sweep, "data")
    assert [cell.arm for cell in cells] == ["vanilla", "vanilla", "l2 1.0", "l2 1.0", "linf 8/255", "linf 8/255"]
    assert distinct(cells) == 5
    trainings = [cell.point.classifier.training for cell in cells if cell.point.classifier]
    assert [plan.attack.steps if plan and plan.attack else None for plan in trainings] == [None, None, 5, 7, 5, 7]
    assert {plan.recipe.iterations for plan in trainings if plan} == {fashion.training.classifier.iterations}  # type: ignore[union-attr]
    assert all(cell.point.scale == 2 and cell.point.diffusion.training is None for cell in cells)
    assert named(pairs_of(sweep, cells))[:2] == [("l2 1.0 at 5", "vanilla at 5"), ("l2 1.0 at 7", "vanilla at 7")]


def test_arms_stand_at_given_and_best_scales_and_are_compared_in_pairs(fashion: Preset) -> None:
    grid = Arms(vanilla_scales=(0.5,), robust_scales=(1.0,))
    sweep = Sweep("s", fashion, grid, "arms", Sampling(10))
    cells = cells_of(sweep, "", {"vanilla": 0.5, "robust": 2.0})
    assert [(cell.arm, cell.note) for cell in cells] == [
        ("unguided", ""),
        ("vanilla 0.5", "given and best"),
        ("robust 1", "given"),
        ("robust 2", "best"),
    ]
    assert named(pairs_of(sweep, cells)) == [
        ("robust 1", "vanilla 0.5"),
        ("robust 2", "vanilla 0.5"),
        ("vanilla 0.5", "unguided"),
        ("robust 1", "unguided"),
        ("robust 2", "unguided"),
    ]


def test_arms_have_the_presets_scales_unless_others_are_given(fashion: Preset) -> None:
    """The paper's, 0.5 and 1."""
    cells = cells_of(Sweep("s", fashion, Arms(unguided=False), "arms", Sampling(10)), "")
    assert [(cell.arm, cell.point.scale) for cell in cells] == [("vanilla 0.5", 0.5), ("robust 1", 1.0)]


def test_the_best_scale_has_the_lowest_fid_of_its_arm_and_the_smaller_one_wins_a_tie() -> None:
    """Table 5: the lowest are 7.62 and 7.58, both at 0.125. Without guidance there is no scale to choose."""
    vanilla = {0.0: 7.67, 0.0625: 7.65, 0.125: 7.62, 0.25: 7.65, 0.5: 7.87}
    robust = {0.5: 7.79, 0.25: 7.60, 0.125: 7.58, 0.0625: 7.62, 0.0: 7.67}
    fids: dict[tuple[GuidingKind, float], float] = {("vanilla", scale): fid for scale, fid in vanilla.items()}
    fids |= {("robust", scale): fid for scale, fid in robust.items()}
    assert best_scales(fids) == {"vanilla": 0.125, "robust": 0.125}
    assert best_scales({("robust", 2.0): 5.0, ("robust", 1.0): 5.0, ("robust", 0.0): 1.0}) == {"robust": 1.0}


def test_a_trainings_key_knows_what_decides_its_weights_and_nothing_else(fashion: Preset) -> None:
    sweep = Sweep("s", fashion, Iterations((10, 20)), "iterations", Sampling(10))

    def key(changed: Sweep, data: str = "data") -> str:
        plan = cells_of(changed, data)[0].point.diffusion.training
        assert plan is not None
        return plan.key

    training = sweep.training
    assert key(sweep) == key(dataclasses.replace(sweep, sampling=Sampling(99, seed=7), name="other"))
    assert key(sweep) == key(dataclasses.replace(sweep, training=dataclasses.replace(training, save_every=7)))
    changed = [
        dataclasses.replace(sweep, grid=Iterations((10, 30))),
        dataclasses.replace(sweep, training=dataclasses.replace(training, seed=1)),
        dataclasses.replace(sweep, training=dataclasses.replace(training, precision="bf16")),
        dataclasses.replace(sweep, training=dataclasses.replace(training, diffusion=Changes(batch_size=3))),
        dataclasses.replace(sweep, training=dataclasses.replace(training, diffusion=Changes(initial="diffusion"))),
    ]
    assert len({key(sweep), key(sweep, "others"), *(key(each) for each in changed)}) == 7


def test_a_vanilla_classifier_that_attacks_begin_from_is_trained_on_as_long(fashion: Preset) -> None:
    grid, given = Attacks(("l2 1",), (3,)), Networks(vanilla="vanilla.safetensors")
    sweep = Sweep("s", fashion, grid, "attacks", Sampling(10), networks=given)
    assert cells_of(sweep, "data")[0].point.classifier == Network(Path("vanilla.safetensors"))
    training = dataclasses.replace(sweep.training, classifier=Changes(initial="vanilla", iterations=5))
    classifiers = [cell.point.classifier for cell in cells_of(dataclasses.replace(sweep, training=training), "data")]
    plans = [network.training for network in classifiers if network]
    assert [(plan.kind, plan.recipe.iterations, plan.initial) for plan in plans if plan] == [
        ("vanilla", 5, Path("vanilla.safetensors")),
        ("robust", 5, Path("vanilla.safetensors")),
    ]


def test_first_weights_must_be_there(fashion: Preset) -> None:
    sweep = Sweep("s", fashion, Attacks(("l2 1",), (3,)), "attacks", Sampling(10), networks=Networks(vanilla="trained"))
    training = dataclasses.replace(sweep.training, classifier=Changes(initial="vanilla"))
    with pytest.raises(SweepError, match=r"training.classifier.initial = 'vanilla' would be trained itself"):
        cells_of(dataclasses.replace(sweep, training=training), "data")


def test_networks_that_are_named_are_taken_and_those_that_nobody_ships_are_trained(
    fashion: Preset, tiny: Preset
) -> None:
    networks = Networks(vanilla="runs/vanilla.pt")
    sweep = Sweep("s", tiny, Scales((1.0,)), "scales", Sampling(10), networks=networks)
    vanilla, robust = (cell.point for cell in cells_of(sweep, "data"))
    assert vanilla.classifier is not None
    assert vanilla.classifier.path == Path("runs/vanilla.pt")
    assert vanilla.diffusion.training is not None
    assert robust.classifier is not None
    assert robust.classifier.training is not None
    assert robust.classifier.training.attack == tiny.attack
