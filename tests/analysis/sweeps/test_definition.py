"""A sweep's file: what it may say, and the one line that it gets for what it may not."""

import math
from pathlib import Path

import pytest

from analysis.sweeps.definition import (
    Arms,
    Attacks,
    Iterations,
    Scales,
    SweepError,
    attack_of,
    load_sweep,
    parse_threat_model,
    shipped_sweeps,
)
from analysis.sweeps.points import cells_of
from generation.presets import load_preset

SCALES = """
kind = "scales"
preset = "fashion32"
[grid]
scales = [0, 0.5]
[sampling]
count = 10
"""


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_sweeps())
def test_every_shipped_sweep_is_read_and_has_a_title_and_cells(name: str) -> None:
    sweep = load_sweep(name)
    assert sweep.title
    assert len(cells_of(sweep, "data")) >= 3


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("cifar10-table3", Iterations((50_000, 100_000, 150_000, 200_000, 250_000, 300_000))),
        (
            "cifar10-table4",
            Attacks(("l2 0.25", "l2 0.5", "l2 1.0", "linf 4/255", "linf 8/255"), (5, 7, 9), scale=0.25),
        ),
        ("cifar10-table5", Scales((0, 0.0625, 0.125, 0.25, 0.5))),
        ("imagenet128-table1", Arms(vanilla_scales=(0.5,), robust_scales=(1.0,))),
        ("imagenet128-table6", Scales((0, 0.25, 0.5, 1, 2, 4))),
    ],
)
def test_the_papers_own_sweeps_have_the_points_of_its_tables(name: str, grid: object) -> None:
    assert load_sweep(name).grid == grid


def test_the_papers_images_are_as_many_as_the_paper_says() -> None:
    """Appendix E: 10,000 images for CIFAR-10; Section 5.2: 50,000 for ImageNet."""
    counts = {name: load_sweep(name).sampling.count for name in shipped_sweeps()}
    assert {count for name, count in counts.items() if name.startswith("cifar10")} == {10_000}
    assert {count for name, count in counts.items() if name.startswith("imagenet128")} == {50_000}
    assert counts["fashion32-table1"] == 10_000


def test_the_best_scale_is_chosen_on_other_images_than_those_of_table_1() -> None:
    table = load_sweep("fashion32-table1")
    assert isinstance(table.grid, Arms)
    assert table.grid.best_of is not None
    assert load_sweep(table.grid.best_of).sampling.seed != table.sampling.seed


def test_the_radius_sweep_has_the_papers_radius_by_the_root_of_the_values_and_the_presets() -> None:
    """Appendix E: 0.5 for CIFAR-10's 3x32x32; for 1x32x32 that is 0.5 sqrt(1/3) = 0.289."""
    grid = load_sweep("fashion32-radius").grid
    assert isinstance(grid, Attacks)
    paper, preset = (float(threat.removeprefix("l2 ")) for threat in grid.threat_models)
    assert paper == pytest.approx(0.5 * math.sqrt((1 * 32 * 32) / (3 * 32 * 32)), abs=0.005)
    attack = load_preset("fashion32").attack
    assert attack is not None
    assert preset == attack.epsilon


def test_an_attacks_step_is_two_and_a_half_radii_over_their_number() -> None:
    """Appendix E."""
    attack = attack_of("linf 8/255", 5)
    assert (attack.threat_model, attack.steps) == ("linf", 5)
    assert attack.epsilon == pytest.approx(0.031373, abs=1e-6)
    assert attack.step_size == pytest.approx(0.015686, abs=1e-6)


@pytest.mark.parametrize("text", ["0.5", "l1 0.5", "l2", "l2 0", "l2 -1", "l2 nan", "linf 8/0", "linf 8/255/2", ""])
def test_a_threat_model_is_a_norm_and_a_positive_radius(text: str) -> None:
    with pytest.raises(SweepError, match=r"write a norm and a radius, as 'l2 0.5' or 'linf 8/255'"):
        parse_threat_model(text)


def test_a_preset_beside_the_sweep_is_found(tmp_path: Path, tiny_path: Path) -> None:
    path = written(tiny_path.parent, SCALES.replace('"fashion32"', '"tiny.toml"'))
    assert load_sweep(path).preset.name == "tiny"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "scales"', 'kind = "guidance"', "kind = 'guidance' cannot be: a sweep is of one of the kinds arms,"),
        ('kind = "scales"', "", "kind = None cannot be"),
        ('preset = "fashion32"', "", "lacks preset"),
        ('preset = "fashion32"', 'preset = "fashion"', "preset: No preset 'fashion'"),
        ('preset = "fashion32"', 'preset = "fashion32"\nsampels = 3', r"Unknown key 'sampels' in \[sweep\]"),
        ("scales = [0, 0.5]", "scale = [0, 0.5]", "did you mean 'scales'"),
        ("scales = [0, 0.5]", "", r"\[grid\] lacks scales"),
        ("scales = [0, 0.5]", "scales = []", "grid.scales is empty"),
        ("scales = [0, 0.5]", "scales = [0.5, 0.5]", "grid.scales has 0.5 twice"),
        ("scales = [0, 0.5]", "scales = [-1]", "grid.scales has -1.0: a guidance scale is a finite number"),
        ("scales = [0, 0.5]", "scales = [inf]", "grid.scales has inf"),
        ("scales = [0, 0.5]", 'scales = "0.5"', "expected a list of a number"),
        ("scales = [0, 0.5]", 'scales = [1]\narms = ["unguided"]', "grid.arms = 'unguided' cannot be"),
        ("count = 10", "count = 1", "sampling.count = 1 cannot be: take at least 2"),
        ("count = 10", "", r"\[sampling\] lacks count"),
        ("count = 10", 'count = 10\nsampler = "euler"', "expected 'ddpm' or 'ddim' or 'dpmpp2m'"),
        ("count = 10", 'count = 10\n[metrics]\nnames = ["fud"]', "metrics.names has 'fud': choose from fid"),
        ("count = 10", "count = 10\n[metrics]\nconfidence = 95", "metrics.confidence = 95.0 must lie between 0 and 1"),
        ("count = 10", "count = 10\n[training.classifier]\niterations = 0", "training.classifier.iterations = 0 must"),
        ("count = 10", "count = [", "is no valid TOML"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_key_and_the_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(SweepError, match=message) as error:
        load_sweep(written(tmp_path, SCALES.replace(old, new)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ('kind = "iterations"\n[grid]\niterations = [0, 5]', "grid.iterations = 0 cannot be: take at least 1"),
        (
            'kind = "iterations"\n[grid]\niterations = [5]\n[training.diffusion]\niterations = 3',
            "training.diffusion.iterations = 3 end before grid.iterations' 5",
        ),
        ('kind = "iterations"\n[grid]\niterations = [5]\nscale = 1', "grid.scale says nothing where the U-Net's"),
        (
            'kind = "iterations"\n[grid]\niterations = [5]\n[networks]\ndiffusion = "a.pt"',
            "networks.diffusion is what this sweep trains: leave it out",
        ),
        ('kind = "attacks"\n[grid]\nthreat_models = ["l2 1"]\nattack_steps = [0]', "grid.attack_steps = 0 cannot be"),
        ('kind = "arms"\n[grid]\nvanilla_scales = []\nrobust_scales = []', "has no guided arm"),
        ('kind = "arms"\n[metrics]\nnames = ["kid"]', "metrics.names lacks fid"),
    ],
)
def test_each_kind_of_grid_is_checked(tmp_path: Path, grid: str, message: str) -> None:
    text = grid.replace("\n", '\npreset = "fashion32"\n', 1) + "\n[sampling]\ncount = 10\n"
    with pytest.raises(SweepError, match=message):
        load_sweep(written(tmp_path, text))


def test_a_sweep_that_is_not_there_says_which_are() -> None:
    with pytest.raises(SweepError, match=r"No sweep 'table7': shipped are cifar10-table3, .*imagenet128-table6"):
        load_sweep("table7")
