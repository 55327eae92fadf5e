import dataclasses
import hashlib
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from safetensors.torch import load_file
from torch import Tensor, nn

from generation.checkpoints import load_classifier, load_diffusion, read_metadata
from generation.datasets import LabelledImages, load_dataset
from generation.diffusion.process import Process
from generation.diffusion.schedule import build_schedule
from generation.errors import GenerationError
from generation.guidance.classifier import build_classifier
from generation.presets import Preset
from generation.training.acceleration import build_accelerator
from generation.training.batches import batch_indices
from generation.training.classifier import ClassifierObjective
from generation.training.diffusion import variational_bound
from generation.training.evaluation import timestep_buckets
from generation.training.loop import Batch, Recipe, Trainer, TrainingDivergedError

RECIPE = Recipe(6, 8, 1e-3, 6, 0.0, None, 0)


def test_the_rate_falls_linearly_as_the_paper_says() -> None:
    # Section 5.1: 3e-4 at the start and 6e-5 after 240k iterations, annealed over 300k.
    recipe = dataclasses.replace(RECIPE, learning_rate=3e-4, anneal_iterations=300_000)
    assert recipe.rate_at(0) == 3e-4
    assert recipe.rate_at(240_000) == pytest.approx(6e-5)
    assert recipe.rate_at(400_000) == 0
    assert dataclasses.replace(RECIPE, anneal_iterations=None).rate_at(10**6) == 1e-3


@given(st.integers(1, 20), st.integers(0, 100))
def test_every_epoch_takes_every_image_once(batch_size: int, seed: int) -> None:
    images, epochs = 20, 3
    taken = np.concatenate([batch_indices(seed, step, batch_size, images) for step in range(images * epochs)])
    for epoch in range(epochs):
        assert sorted(taken[epoch * images : (epoch + 1) * images]) == list(range(images))


def test_epochs_come_in_different_orders() -> None:
    assert batch_indices(0, 0, 100, 100).tolist() != batch_indices(0, 1, 100, 100).tolist()


@dataclasses.dataclass
class Pull:
    """A loss that is the first weights' sum times a number."""

    factor: float
    timesteps: int = 10

    def __call__(self, network: nn.Module, batch: Batch, /) -> tuple[Tensor, dict[str, Tensor]]:
        return self.factor * next(network.parameters()).sum(), {}


def train(kind: str, preset: Path, data: Path, output: Path, **options: Any) -> None:
    if kind == "diffusion":
        call_command("train_diffusion", str(preset), data=data, output=output, **options)
    else:
        call_command("train_classifier", str(preset), kind=kind, data=data, output=output, **options)


@pytest.mark.parametrize("kind", ["diffusion", "robust", "vanilla"])
def test_interrupted_and_resumed_equals_uninterrupted(
    tiny_path: Path, data: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(kind, tiny_path, data, whole)
    with monkeypatch.context() as patch:
        iterate = Trainer._iterate
        calls = itertools.count()

        def crash_at_the_fifth(self: Trainer, *args: Any) -> Any:
            if next(calls) == 4:
                raise KeyboardInterrupt
            return iterate(self, *args)

        patch.setattr(Trainer, "_iterate", crash_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            train(kind, tiny_path, data, broken, save_every=3)
    metadata = read_metadata(broken / f"{kind}.safetensors")
    assert metadata is not None
    assert metadata.step == 3
    train(kind, tiny_path, data, broken, resume=True)
    expected, found = (load_file(folder / f"{kind}.safetensors") for folder in (whole, broken))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_a_training_leaves_a_checkpoint_that_loads_and_says_what_it_is(
    tiny_path: Path, tiny: Preset, data: Path, tmp_path: Path
) -> None:
    train("diffusion", tiny_path, data, tmp_path / "out")
    train("robust", tiny_path, data, tmp_path / "out", epsilon=0.3, batch_size=5, learning_rate=2e-3)
    load_diffusion(tmp_path / "out" / "diffusion.safetensors", tiny)
    load_classifier(tmp_path / "out" / "robust.safetensors", tiny)
    metadata = read_metadata(tmp_path / "out" / "robust.safetensors")
    assert metadata is not None
    assert (metadata.kind, metadata.step, metadata.dataset) == ("robust", 6, "bright")
    assert metadata.preset["attack"]["epsilon"] == 0.3
    # What the command line said counts, and what it left alone is the preset's.
    trained = {"batch_size": 5, "learning_rate": 2e-3, "iterations": 6, "weight_decay": 0.05}
    assert metadata.preset["training"]["classifier"].items() >= trained.items()
    # Appendix E: 2.5 radii over the number of steps.
    assert metadata.preset["attack"]["step_size"] == pytest.approx(2.5 * 0.3 / 3)


def test_a_classifier_learns(tiny: Preset, data: Path) -> None:
    images = load_dataset(data, tiny.image, "train")
    process = Process(build_schedule(tiny.schedule), learn_sigma=False)
    objective = ClassifierObjective(process, attack_settings=None)
    torch.manual_seed(0)
    recipe = dataclasses.replace(RECIPE, iterations=40, anneal_iterations=None, batch_size=24)
    losses: list[float] = []
    trainer = Trainer(build_classifier(tiny), recipe, build_accelerator("cpu"))
    trainer.run(images, objective, lambda _, metrics: not losses.append(metrics["loss"]))  # type: ignore[func-returns-value]
    # Untrained, three classes cost log 3.
    assert losses[0] == pytest.approx(math.log(3), abs=0.2)
    assert sum(losses[-10:]) / 10 < 0.8 * losses[0]


def test_the_average_starts_short_and_follows_the_weights(tiny: Preset, data: Path) -> None:
    images = load_dataset(data, tiny.image, "train")

    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    recipe = dataclasses.replace(RECIPE, iterations=2, learning_rate=1.0, anneal_iterations=None, ema_rate=0.9999)
    trainer = Trainer(layer, recipe, build_accelerator("cpu"))
    trainer.run(images, Pull(-1.0), lambda *_: True)
    # AdamW moves the weight to 1, then 2. The rates are 2/11 and 3/12: 9/11, then 9/11 / 4 + 3/4 * 2.
    assert layer.weight.item() == pytest.approx(2, rel=1e-4)
    assert trainer.average["weight"].item() == pytest.approx(9 / 44 + 1.5, rel=1e-4)


def test_a_loss_that_is_no_number_stops_the_training(tiny: Preset, data: Path) -> None:
    trainer = Trainer(build_classifier(tiny), RECIPE, build_accelerator("cpu"))
    with pytest.raises(TrainingDivergedError, match="nan at iteration 0"):
        trainer.run(load_dataset(data, tiny.image, "train"), Pull(float("nan")), lambda *_: True)


def test_the_bound_is_zero_bits_where_the_prediction_is_the_posterior(tiny: Preset) -> None:
    process = Process(build_schedule(tiny.schedule), learn_sigma=True)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.rand(4, 1, 8, 8, generator=generator) * 2 - 1
    noise = torch.randn(4, 1, 8, 8, generator=generator)
    step = torch.tensor([5, 100, 500, 999])
    x_t = process.add_noise(x_0, step, noise)
    output = torch.cat([noise, torch.full_like(noise, -1.0)], dim=1)
    bits = variational_bound(process, output, x_0, x_t, step)
    torch.testing.assert_close(bits, torch.zeros(4), atol=2e-3, rtol=0)
    # With beta for the variance, each pixel costs (log r + 1/r - 1) / 2 nats, where r is beta over the posterior's.
    output = torch.cat([noise, torch.ones_like(noise)], dim=1)
    schedule = build_schedule(tiny.schedule)
    r = (schedule.betas / schedule.posterior_variance)[step]
    nats = (r.log() + 1 / r - 1) / 2
    bits = variational_bound(process, output, x_0, x_t, step)
    torch.testing.assert_close(bits, (nats / math.log(2)).float(), atol=2e-3, rtol=0)


def test_step_0_costs_the_pixels_log_likelihood(tiny: Preset) -> None:
    process = Process(build_schedule(tiny.schedule), learn_sigma=True)
    x_0 = torch.zeros(1, 1, 8, 8)
    step = torch.tensor([0])
    noise = torch.zeros_like(x_0)
    x_t = process.add_noise(x_0, step, noise)
    bits = variational_bound(process, torch.cat([noise, noise], 1), x_0, x_t, step)
    # A bin of half-width 1/255 around the mean, under the standard deviation that lies half-way in the logarithm.
    low, high = process.log_variance_low[0].item(), process.log_variance_high[0].item()
    sigma = math.exp((low + high) / 4)
    probability = math.erf(1 / 255 / sigma / math.sqrt(2))
    assert bits.item() == pytest.approx(-math.log2(probability), rel=1e-3)


def test_buckets_cover_the_timesteps() -> None:
    assert timestep_buckets([0, 50, 300], 1000) == [(0, 49), (50, 299), (300, 999)]
    with pytest.raises(GenerationError, match="Buckets"):
        timestep_buckets([50, 300], 1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 25}, "24 images, fewer than a batch of 25"),
        ({"resume": True}, "to resume from: start without --resume"),
        ({"learning_rate": 0.0}, "give positive numbers"),
        ({"precision": "fp16"}, "fp16 needs a CUDA device"),
    ],
)
def test_a_training_that_cannot_be_is_one_clear_line(
    tiny_path: Path, data: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        train("vanilla", tiny_path, data, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out/*"))


def test_a_second_training_does_not_overwrite_the_first(tiny_path: Path, data: Path, tmp_path: Path) -> None:
    train("vanilla", tiny_path, data, tmp_path / "out")
    with pytest.raises(CommandError, match="already holds a training: --resume continues it"):
        train("vanilla", tiny_path, data, tmp_path / "out")


def test_a_state_of_another_training_is_refused(tiny_path: Path, data: Path, tmp_path: Path) -> None:
    train("vanilla", tiny_path, data, tmp_path / "out")
    with pytest.raises(CommandError, match="its seed differs"):
        train("vanilla", tiny_path, data, tmp_path / "out", seed=1, resume=True)
    tiny_path.write_text(tiny_path.read_text().replace("depth = 1", "depth = 2"))
    with pytest.raises(CommandError, match="its network differs"):
        train("vanilla", tiny_path, data, tmp_path / "out", resume=True)


def test_a_training_begins_from_a_checkpoints_weights_and_says_so(
    tiny_path: Path, data: Path, tmp_path: Path, weights: dict[str, Path]
) -> None:
    out = tmp_path / "out"
    # So small a step leaves every weight where it began, to rounding.
    train("vanilla", tiny_path, data, out, initial=weights["vanilla"], iterations=1, learning_rate=1e-12)
    begun = load_file(weights["vanilla"])
    for name, tensor in load_file(out / "vanilla.safetensors").items():
        torch.testing.assert_close(tensor, begun[name], msg=name)
    sha256 = hashlib.sha256(weights["vanilla"].read_bytes()).hexdigest()
    metadata = read_metadata(out / "vanilla.safetensors")
    assert metadata is not None
    assert metadata.initial == sha256
    train("vanilla", tiny_path, data, out, resume=True, iterations=2)
    metadata = read_metadata(out / "vanilla.safetensors")
    assert metadata is not None
    assert (metadata.initial, metadata.step) == (sha256, 2)
    with pytest.raises(CommandError, match="its initial differs"):
        train("vanilla", tiny_path, data, out, resume=True, initial=weights["robust"])


def test_a_training_on_class_folders_skips_corrupt_images_only_on_request(
    tiny_path: Path, tiny: Preset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for (index, name), split in itertools.product(enumerate(tiny.image.class_names), ("train", "val")):
        (tmp_path / "heap" / split / name).mkdir(parents=True)
        for number in range(6):
            Pillow.new("L", (9, 12), 80 * index + number).save(tmp_path / "heap" / split / name / f"{number}.png")
    for path in (tmp_path / "heap" / "train" / "hat").glob("[0-3].png"):
        path.write_bytes(b"")
    with pytest.raises(CommandError, match=r"heap/train/hat/\d.png cannot be read .* --skip-corrupt"):
        train("vanilla", tiny_path, tmp_path / "heap", tmp_path / "out")
    train("vanilla", tiny_path, tmp_path / "heap", tmp_path / "out", skip_corrupt=True)
    assert re.search(r"hat/[0-3]\.png is skipped, for it cannot be read", capsys.readouterr().err)


def test_a_training_does_not_begin_from_another_network(
    tiny_path: Path, data: Path, tmp_path: Path, weights: dict[str, Path]
) -> None:
    with pytest.raises(CommandError, match="does not fit preset tiny"):
        train("vanilla", tiny_path, data, tmp_path / "out", initial=weights["diffusion"])
    with pytest.raises(CommandError, match="No checkpoint"):
        train("vanilla", tiny_path, data, tmp_path / "out", initial=tmp_path / "none.safetensors")
    assert not (tmp_path / "out").exists()


def test_fewer_images_of_data_than_labels_do_not_pass_silently(tiny: Preset) -> None:
    images = LabelledImages("none", torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(GenerationError, match="0 images, fewer than a batch"):
        Trainer(build_classifier(tiny), RECIPE, build_accelerator("cpu")).run(images, None, lambda *_: True)  # type: ignore[arg-type]


def test_evaluate_classifier_prints_each_bucket(
    tiny_path: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("vanilla", tiny_path, data, tmp_path / "out")
    capsys.readouterr()
    call_command("evaluate_classifier", str(tmp_path / "out" / "vanilla.safetensors"), data=data, buckets=[0, 500])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["0-499", "500-999"]
