import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image
from torch import Tensor, nn

from generation.datasets import LabelledImages
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import SettingsError
from generation.guidance.attack import ThreatModel
from generation.presets import Preset, Schedule
from generation.training.ensemble import EnsembleSettings, ensemble_survivors
from generation.training.evaluation import BucketResult, Examination, Share, evaluate

IMAGES = 12
BUCKETS = ((0, 99), (100, 999))
EXAMINATION = Examination("l2", (0.25, 0.5, 1.0), 10, 0, BUCKETS, seed=3)
QUICK = EnsembleSettings(images=IMAGES, classes=2, iterations=5, queries=60)


class HalfPlane(nn.Module):
    """Class 1 where the mean of the pixels, times their number's root, is above a level that rises with t.

    The logit's gradient has length 1, so that the distance to the other class is how far the logit is from 0.
    """

    def __init__(self, rise: float = 0.0) -> None:
        super().__init__()
        self.rise = rise
        self.seen: list[Tensor] = []

    def margin(self, x: Tensor, timestep: Tensor) -> Tensor:
        return x.flatten(1).sum(1) / math.sqrt(x[0].numel()) - self.rise * timestep / 1000

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        margin = self.margin(x, timestep)
        return torch.stack([-margin, margin], dim=1)


class Hidden(HalfPlane):
    """The same decisions with no gradient to follow."""

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        margin = self.margin(x, timestep)
        flat = margin.detach() + 0 * margin
        return torch.stack([-flat, flat], dim=1)


@pytest.fixture(scope="module")
def greys() -> LabelledImages:
    """Images of one grey each, from black to white, labelled by which half it lies in."""
    level = torch.linspace(0, 255, IMAGES).round().to(torch.uint8)
    images = level[:, None, None, None].expand(IMAGES, 1, 8, 8).contiguous()
    return LabelledImages("greys", images, (level > 127).long())


@pytest.fixture(scope="module")
def process() -> Process:
    return Process(build_schedule(Schedule()), learn_sigma=False)


def examine(
    classifier: nn.Module,
    greys: LabelledImages,
    process: Process,
    examination: Examination = EXAMINATION,
    batch_size: int = 5,
) -> list[BucketResult]:
    return evaluate(
        classifier,
        greys,
        process,
        examination,
        batch_size=batch_size,
        device=torch.device("cpu"),
        precision=torch.float32,
        on_batch=lambda _: None,
    )


class AlwaysWrong(nn.Module):
    """Says class 2, which no image has, so that nothing is left to attack; keeps what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return torch.tensor([0.0, 0.0, 1.0]).expand(len(x), 3)


def noisy_images(
    greys: LabelledImages, process: Process, examination: Examination, batch_size: int
) -> tuple[Tensor, ...]:
    """Each bucket's noisy images, as a classifier sees them."""
    classifier = AlwaysWrong()
    examine(classifier, greys, process, examination, batch_size)
    return torch.cat(classifier.seen).chunk(len(examination.buckets))


def test_clean_and_attacked_accuracy_are_the_shares_of_margins(greys: LabelledImages, process: Process) -> None:
    # A sample of a half-plane is fooled within a radius exactly where it is nearer to the edge than that.
    noisy = noisy_images(greys, process, EXAMINATION, IMAGES)
    results = examine(HalfPlane(), greys, process)
    for result, x_t in zip(results, noisy, strict=True):
        signed = HalfPlane().margin(x_t, torch.zeros(IMAGES)) * (2 * greys.labels - 1)
        assert result.clean == Share(int((signed > 0).sum()), IMAGES)
        for radius in result.radii:
            assert radius.attacked == Share(int((signed > radius.epsilon).sum()), IMAGES)
            assert radius.ensemble is None
    assert [radius.epsilon for radius in results[0].radii] == [0.25, 0.5, 1.0]
    # The cases are not all alike.
    assert len({result.clean for result in results} | {r.attacked for result in results for r in result.radii}) > 3


def test_noise_is_the_same_for_every_classifier_batch_size_and_limit(greys: LabelledImages, process: Process) -> None:
    whole = noisy_images(greys, process, EXAMINATION, IMAGES)
    for again in (noisy_images(greys, process, EXAMINATION, 5), noisy_images(greys, process, EXAMINATION, 1)):
        for x_t, x_t_again in zip(whole, again, strict=True):
            assert torch.equal(x_t, x_t_again)
    few = Examination("l2", (1.0,), 1, 0, BUCKETS, seed=3, limit=4)
    chosen = few.choose(IMAGES)
    assert len(set(chosen)) == 4
    for x_t, x_t_few in zip(whole, noisy_images(greys, process, few, 4), strict=True):
        assert torch.equal(x_t[chosen], x_t_few)


def test_limits_nest_and_do_not_take_the_first(greys: LabelledImages) -> None:
    # Data sets are often sorted by class.
    chosen = [set(Examination("l2", (1.0,), 1, 0, BUCKETS, 0, limit).choose(1000)) for limit in (10, 100, None)]
    assert [len(indices) for indices in chosen] == [10, 100, 1000]
    assert chosen[0] < chosen[1] < chosen[2]
    assert max(chosen[0]) > 500


def test_what_is_fooled_within_one_radius_is_not_attacked_again(greys: LabelledImages, process: Process) -> None:
    classifier = HalfPlane()
    examination = Examination("l2", (0.5, 1.0), 2, 0, BUCKETS[:1], seed=3)
    (result,) = examine(classifier, greys, process, examination, IMAGES)
    standing = [result.clean.correct, *(radius.attacked.correct for radius in result.radii)]
    sizes = [len(x) for x in classifier.seen]
    # All once; then who stands, before each of two steps and after them, within each radius.
    assert sizes[0] == IMAGES
    assert sizes[1] == standing[0]
    assert standing[1] in sizes
    assert sum(sizes) <= IMAGES + 3 * standing[0] + 3 * standing[1]


def test_random_places_are_of_the_seed_alone(greys: LabelledImages, process: Process) -> None:
    examination = Examination("linf", (0.3,), 3, 2, BUCKETS, seed=3)
    results = [examine(HalfPlane(), greys, process, examination) for _ in range(2)]
    assert results[0] == results[1]


def test_the_interval_is_wilsons() -> None:
    # 8 of 10 at 95 %: z = 1.959964, centre (0.8 + z^2 / 20) / (1 + z^2 / 10) = 0.71674, half-width 0.22658.
    assert Share(8, 10).interval() == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert Share(0, 10).interval() == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert Share(9000, 10_000).value == 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"radii": ()}, "Radii"),
        ({"radii": (1.0, 0.5)}, "rising"),
        ({"radii": (0.0, 0.5)}, "positive"),
        ({"steps": 0}, "0 steps"),
        ({"restarts": -1}, "-1 restarts"),
    ],
)
def test_an_examination_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"norm": "l2", "radii": (1.0,), "steps": 1, "restarts": 0, "buckets": BUCKETS, "seed": 0}
    with pytest.raises(SettingsError, match=message):
        Examination(**{**usual, **values})


def noisy(greys: LabelledImages, process: Process) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images of timesteps between 0 and 1000 with labels that a plane rising with t gives them."""
    generator = torch.Generator().manual_seed(0)
    timestep = torch.randint(1000, (IMAGES,), generator=generator)
    x_t = torch.randn(IMAGES, 1, 8, 8, generator=generator) + torch.linspace(-0.5, 0.5, IMAGES)[:, None, None, None]
    return x_t, timestep, (HalfPlane(rise=1.0).margin(x_t, timestep) > 0).long()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_ensemble_fools_whom_the_radius_reaches_at_each_ones_own_timestep(
    greys: LabelledImages, process: Process, norm: Any
) -> None:
    classifier = HalfPlane(rise=1.0)
    x_t, timestep, label = noisy(greys, process)
    epsilon = 1.0 if norm == "l2" else 0.125
    # An L-infinity step of epsilon in all of 64 pixels moves the margin by epsilon times their root.
    reach = epsilon if norm == "l2" else epsilon * 8
    distance = classifier.margin(x_t, timestep).abs()
    assert (distance - reach).abs().min() > 0.01
    survives = ensemble_survivors(
        classifier, x_t, timestep, label, threat_model=ThreatModel(norm, epsilon), settings=QUICK, seed=0
    )
    assert torch.equal(survives, distance > reach)
    assert 0 < int(survives.sum()) < IMAGES


def test_a_classifier_that_hides_its_gradient_stands_against_pgd_only(greys: LabelledImages, process: Process) -> None:
    settings = EnsembleSettings(images=8, classes=2, iterations=5, queries=300)
    examination = Examination("linf", (0.05, 0.125), 5, 0, BUCKETS[:1], seed=3, ensemble=settings)
    (result,) = examine(Hidden(), greys, process, examination)
    (open_result,) = examine(HalfPlane(), greys, process, examination)
    for radius, open_radius in zip(result.radii, open_result.radii, strict=True):
        assert radius.attacked == result.clean
        assert radius.ensemble is not None
        assert radius.ensemble.pgd.images == radius.ensemble.both.images == 8
        assert open_radius.ensemble is not None
        # Against open gradients PGD is optimal here: the ensemble finds nothing more.
        assert open_radius.ensemble.both == open_radius.ensemble.pgd
        # Nor is anyone fooled whom the radius does not reach.
        assert radius.ensemble.both.correct >= open_radius.ensemble.both.correct
    assert result.radii[1].ensemble is not None
    assert result.radii[1].ensemble.both.correct < result.radii[1].ensemble.pgd.correct


def test_the_ensemble_leaves_no_trace(greys: LabelledImages, process: Process) -> None:
    x_t, timestep, label = noisy(greys, process)
    state, trace = torch.get_rng_state(), sys.gettrace()
    few = EnsembleSettings(images=2, classes=2, iterations=2, queries=3)
    ensemble_survivors(HalfPlane(1.0), x_t, timestep, label, threat_model=ThreatModel("l2", 0.1), settings=few, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.gettrace() is trace


@pytest.mark.parametrize(("classes", "attacks"), [(2, 3), (3, 4), (10, 4)])
def test_the_ensemble_knows_few_classes(classes: int, attacks: int) -> None:
    settings = EnsembleSettings(images=3, classes=classes, iterations=2, queries=3)
    assert len(settings.attacks) == attacks

    def classifier(x: Tensor, timestep: Tensor) -> Tensor:
        return x.flatten(1)[:, :classes]

    x_t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    label = classifier(x_t, torch.zeros(3)).argmax(1)
    survives = ensemble_survivors(
        classifier, x_t, label, label, threat_model=ThreatModel("l2", 1e-4), settings=settings, seed=0
    )
    assert survives.all()


def run(*paths: Path, data: Path, **options: Any) -> None:
    call_command("evaluate_classifier", *map(str, paths), data=data, **options)


def test_json_has_counts_shares_and_intervals(
    weights: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        weights["vanilla"],
        weights["robust"],
        data=data,
        epsilon=[1.0, 0.25],
        buckets=[0, 500],
        format="json",
        attack_steps=2,
    )
    report = json.loads(capsys.readouterr().out)
    assert report["dataset"] == "bright"
    assert report["attack"]["radii"] == [0.25, 1.0]
    assert [classifier["name"] for classifier in report["classifiers"]] == ["vanilla", "robust"]
    assert [classifier["kind"] for classifier in report["classifiers"]] == ["vanilla", "robust"]
    vanilla, robust = report["classifiers"]
    assert vanilla["trained_against"] is None
    assert robust["trained_against"]["epsilon"] == 0.5
    for classifier in (vanilla, robust):
        assert [(bucket["first"], bucket["last"]) for bucket in classifier["buckets"]] == [(0, 499), (500, 999)]
        for bucket in classifier["buckets"]:
            shares = [bucket["clean"], *(radius["attacked"] for radius in bucket["radii"])]
            assert [share["images"] for share in shares] == [6, 6, 6]
            correct = [share["correct"] for share in shares]
            assert correct == sorted(correct, reverse=True)
            for share in shares:
                assert share["share"] == share["correct"] / 6
                assert share["low"] <= share["share"] <= share["high"]


def test_markdown_has_a_row_for_each_bucket_and_classifier(
    weights: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "sweep" / "vanilla.safetensors"
    other.parent.mkdir()
    other.write_bytes(weights["vanilla"].read_bytes())
    run(weights["vanilla"], other, data=data, epsilon=[0.5], buckets=[0, 500], format="markdown", attack_steps=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| timesteps | classifier | clean | L2 0.5 |"
    assert lines[1] == "| --- | --- | ---: | ---: |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert [row[0] for row in rows] == ["0-499", "0-499", "500-999", "500-999"]
    # Files of one name are told apart by their folders.
    assert [row[1] for row in rows[:2]] == [f"{tmp_path.name}/vanilla", "sweep/vanilla"]
    # The same weights on the same noise.
    assert rows[0][2:] == rows[1][2:]


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plots_are_files_that_are_the_same_every_time(
    weights: dict[str, Path], data: Path, tmp_path: Path, ending: str, magic: bytes
) -> None:
    contents = []
    for name in ("first", "second"):
        path = tmp_path / "plots" / f"{name}.{ending}"
        run(weights["vanilla"], weights["robust"], data=data, attack_steps=1, limit=3, buckets=[0, 9], output=path)
        contents.append(path.read_bytes())
    assert contents[0].startswith(magic)
    assert contents[0] == contents[1]
    if ending == "svg":
        assert "timesteps 9 to 999" in contents[0].decode()
        assert "robust, PGD" in contents[0].decode()


def test_the_ensemble_is_a_column_of_its_own(
    weights: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Within so large a radius PGD fools everyone, and leaves the ensemble nothing to do.
    run(weights["robust"], data=data, epsilon=[100], buckets=[0], attack_steps=5, limit=2, ensemble=1)
    out = capsys.readouterr().out
    assert "L2 100, PGD + AutoAttack" in out
    assert out.splitlines()[-1].split()[-2:] == ["0.0%", "(0.0-79.3)"]
    assert "PGD + AutoAttack: both, on 1 of these images" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": Path("plot.jpeg")}, "plot.jpeg: the name must end in .png, .svg or .pdf"),
        ({"buckets": [5, 9]}, "Buckets"),
        ({"threat_model": "linf"}, "no radius for an attack in linf: give --epsilon"),
        ({"preset": "nowhere"}, "No preset 'nowhere'"),
        ({"preset": "imagenet128"}, "does not have the classes tench"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(
    weights: dict[str, Path], data: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(weights["vanilla"], data=data, **options)


def test_checkpoints_that_cannot_stand_side_by_side_are_refused(
    weights: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="given twice"):
        run(weights["vanilla"], weights["vanilla"], data=data)
    with pytest.raises(CommandError, match="No checkpoint"):
        run(tmp_path / "absent.safetensors", data=data)


def test_an_ensemble_that_is_not_installed_is_one_clear_line(
    weights: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(CommandError, match="AutoAttack is not installed: `pip install pyautoattack`"):
        run(weights["vanilla"], data=data, ensemble=1)
    run(weights["vanilla"], data=data, attack_steps=1, buckets=[0], limit=1)


@pytest.fixture
def pictures(tmp_path: Path, tiny: Preset) -> Path:
    """Held-out images as class folders, four of each class, one of them broken."""
    for place, name in enumerate(tiny.image.class_names):
        folder = tmp_path / "held-out" / name
        folder.mkdir(parents=True)
        for index in range(4):
            Image.new("L", (8, 8), 80 * place + 10 * index).save(folder / f"{index}.png")
    (tmp_path / "held-out" / "bag" / "2.png").write_bytes(b"no picture")
    return tmp_path / "held-out"


def test_held_out_images_of_another_folder_are_taken(
    weights: dict[str, Path], data: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"epsilon": [0.5], "buckets": [0], "format": "json", "attack_steps": 1, "validation": pictures}
    run(weights["vanilla"], data=data, skip_corrupt=True, **options)
    output = capsys.readouterr()
    assert json.loads(output.out)["classifiers"][0]["buckets"][0]["clean"]["images"] == 12
    assert f"{pictures / 'bag' / '2.png'} is skipped" in output.err


def test_a_picture_that_cannot_be_read_is_an_error_that_names_it(
    weights: dict[str, Path], data: Path, pictures: Path
) -> None:
    with pytest.raises(CommandError, match=r"bag/2\.png"):
        run(weights["vanilla"], data=data, epsilon=[0.5], buckets=[0], attack_steps=1, validation=pictures)
