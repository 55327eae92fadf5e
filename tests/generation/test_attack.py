import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from generation.errors import SettingsError
from generation.guidance.attack import (
    ANY_OTHER,
    THIS_ONE,
    Goal,
    ThreatModel,
    pgd,
    pgd_with_restarts,
    targeted_pgd,
)
from generation.guidance.classifier import TimeClassifier
from generation.presets import ThreatNorm
from tests.generation.conftest import PARITY

ROUNDING = 1e-4
BUDGET: dict[str, Any] = {"threat_model": ThreatModel("l2", 1.0), "steps": 1, "step_size": 1.0}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return load_file(PARITY / "attack16.expected.safetensors")


@pytest.mark.parametrize(
    ("norm", "epsilon", "step_size"), [("l2", 4.0, 10 / 7), ("linf", 32 / 255, 2.5 * 32 / 255 / 7)]
)
def test_the_attack_is_the_published_one(
    vanilla: TimeClassifier, published: dict[str, Tensor], norm: ThreatNorm, epsilon: float, step_size: float
) -> None:
    attacked = pgd(
        vanilla,
        published["x_t"],
        published["timesteps"],
        published["labels"],
        threat_model=ThreatModel(norm, epsilon),
        steps=7,
        step_size=step_size,
    )
    torch.testing.assert_close(attacked.x_t, published[norm], atol=ROUNDING, rtol=0)


def test_samples_that_are_wrong_at_the_start_come_back_untouched(
    vanilla: TimeClassifier, published: dict[str, Tensor]
) -> None:
    x_t, timestep, label = (published[key] for key in ("x_t", "timesteps", "labels"))
    attacked = pgd(vanilla, x_t, timestep, label, threat_model=ThreatModel("l2", 4.0), steps=7, step_size=1.0)
    assert torch.equal(attacked.x_t[-2:], x_t[-2:])
    assert bool(attacked.fooled[-2:].all())


class Linear:
    """Two classes that the first pixel's sign tells apart; counts the images it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        self.seen.append(len(x))
        first = x[:, 0, 0, 0]
        return torch.stack([-first, first], dim=1)


def first_pixels(*values: float) -> Tensor:
    x = torch.zeros(len(values), 1, 2, 2)
    x[:, 0, 0, 0] = torch.tensor(values)
    return x


def attack_first_pixels(
    *values: float, norm: ThreatNorm = "l2", epsilon: float = 10.0, steps: int = 3
) -> tuple[Tensor, Tensor, list[int]]:
    classifier = Linear()
    label = torch.ones(len(values), dtype=torch.int64)
    timestep = torch.zeros_like(label)
    threat_model = ThreatModel(norm, epsilon)
    x = first_pixels(*values)
    result = pgd(classifier, x, timestep, label, threat_model=threat_model, steps=steps, step_size=1.0)
    return result.x_t[:, 0, 0, 0], result.fooled, classifier.seen


def test_each_sample_stops_where_it_is_first_seen_fooled() -> None:
    # Steps of 1 towards the other class: 0.5 crosses 0 at once and stays at -0.5, 1.5 needs two steps, 5.5 all three.
    pixels, fooled, _ = attack_first_pixels(-1.0, 0.5, 1.5, 5.5)
    assert pixels.tolist() == pytest.approx([-1.0, -0.5, -0.5, 2.5], abs=1e-4)
    assert fooled.tolist() == [True, True, True, False]


def test_only_samples_still_to_be_fooled_go_through_the_network() -> None:
    # All four are looked at before step 1; -1 is wrong already. 0.5 is seen fooled before step 2, and stops.
    _, _, seen = attack_first_pixels(-1.0, 0.5, 1.5, 5.5)
    assert seen == [4, 3, 2]


def test_nobody_left_ends_the_attack() -> None:
    _, fooled, seen = attack_first_pixels(-1.0, 0.5, steps=50)
    assert seen == [2, 1]
    assert bool(fooled.all())


def test_the_last_steps_outcome_is_not_looked_at() -> None:
    pixels, fooled, seen = attack_first_pixels(0.5, steps=1)
    assert pixels.tolist() == [-0.5]
    assert fooled.tolist() == [False]
    assert seen == [1]


def test_the_ball_holds_the_perturbation() -> None:
    pixels, _, _ = attack_first_pixels(5.0, epsilon=1.5)
    assert pixels.tolist() == pytest.approx([3.5], abs=1e-5)
    pixels, _, _ = attack_first_pixels(5.0, norm="linf", epsilon=0.25)
    assert pixels.tolist() == [4.75]


def test_no_pixel_is_clipped_to_the_images_range() -> None:
    classifier = Linear()
    label = torch.zeros(1, dtype=torch.int64)
    result = pgd(
        classifier, first_pixels(-1.0), label, label, threat_model=ThreatModel("l2", 9.0), steps=1, step_size=0.5
    )
    assert result.x_t[0, 0, 0, 0].item() == -0.5
    result = pgd(
        Linear(), first_pixels(1.0), label, 1 - label, threat_model=ThreatModel("linf", 9.0), steps=1, step_size=4.0
    )
    assert result.x_t[0, 0, 0, 0].item() == -3.0


class Sines:
    """Logits that are waves of each pixel: an attack's direction turns with every step."""

    def __init__(self, seed: int, pixels: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(3, pixels, generator=generator, dtype=torch.float64) / pixels**0.5

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        logits: Tensor = x.flatten(1).double().sin() @ self.weights.T
        return logits


def sizes(delta: Tensor, norm: ThreatNorm) -> list[float]:
    """Each sample's norm, as whoever checks it may compute it: in float64, and in float32 in three ways."""
    flat = delta.flatten(1)
    if norm == "linf":
        return [*flat.double().abs().amax(1).tolist(), *flat.float().abs().amax(1).tolist()]
    single = flat.float()
    return [
        *flat.double().norm(dim=1).tolist(),
        *single.norm(dim=1).tolist(),
        *single.square().sum(1).sqrt().tolist(),
        *np.linalg.norm(single.numpy(), axis=1).tolist(),
    ]


@settings(deadline=None, max_examples=150)
@given(
    norm=st.sampled_from(["l2", "linf"]),
    epsilon=st.floats(1e-6, 100) | st.just(0.0),
    relative_step=st.floats(0, 5),
    steps=st.integers(0, 4),
    early_stopping=st.booleans(),
    goal=st.sampled_from([ANY_OTHER, THIS_ONE]),
    restarts=st.booleans(),
    shape=st.sampled_from([(1, 1, 1), (1, 2, 2), (1, 28, 28), (3, 32, 32)]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 300.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 1000),
)
def test_the_perturbation_never_leaves_the_ball_by_any_rounding(
    *,
    norm: ThreatNorm,
    epsilon: float,
    relative_step: float,
    steps: int,
    early_stopping: bool,
    goal: Goal,
    restarts: bool,
    shape: tuple[int, int, int],
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_t = (scale * torch.randn(3, *shape, generator=generator, dtype=torch.float64)).to(dtype)
    label = torch.randint(3, (3,), generator=generator)
    classifier = Sines(seed, x_t[0].numel())
    threat_model = ThreatModel(norm, epsilon)
    start = x_t.float() + threat_model.draw(x_t.float(), generator) if restarts else None
    attacked = pgd(
        classifier,
        x_t,
        label,
        label,
        threat_model=threat_model,
        steps=steps,
        step_size=relative_step * epsilon,
        goal=goal,
        early_stopping=early_stopping,
        start=start,
    )
    assert attacked.x_t.dtype == dtype
    assert max(sizes(attacked.x_t.double() - x_t.double(), norm)) <= epsilon
    if dtype == torch.float32:
        assert max(sizes(attacked.x_t - x_t, norm)) <= epsilon


def test_a_large_image_fills_its_ball() -> None:
    # As Figure 4: 3x128x128 within an L2 radius of 100. A margin for rounding must not be seen in the ball's size.
    x_t = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(2, dtype=torch.int64)
    attacked = targeted_pgd(
        Sines(0, 3 * 128**2), x_t, label, label, threat_model=ThreatModel("l2", 100.0), steps=1, step_size=150
    )
    norms = (attacked.x_t - x_t).double().flatten(1).norm(dim=1)
    assert bool((norms <= 100).all())
    assert norms.tolist() == pytest.approx([100, 100], rel=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_the_attack_is_the_same_whatever_mode_it_is_called_in(
    *, vanilla: TimeClassifier, published: dict[str, Tensor], mode: Any, requires_grad: bool
) -> None:
    x_t, timestep, label = (published[key][:4] for key in ("x_t", "timesteps", "labels"))
    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 1.0), "steps": 3, "step_size": 0.5}
    expected = pgd(vanilla, x_t, timestep, label, **budget)
    classifier = copy.deepcopy(vanilla).requires_grad_(requires_grad)
    with mode():
        # Tensors of the mode's own: inference tensors under inference_mode.
        attacked = pgd(classifier, x_t + 0, timestep + 0, label + 0, **budget)
    assert torch.equal(attacked.x_t, expected.x_t)
    assert torch.equal(attacked.fooled, expected.fooled)
    assert not attacked.x_t.requires_grad
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(parameter.requires_grad is requires_grad for parameter in classifier.parameters())


def test_an_error_in_the_classifier_leaves_its_parameters_trainable(published: dict[str, Tensor]) -> None:
    layer = torch.nn.Bilinear(5, 5, 2)
    with pytest.raises((RuntimeError, TypeError)):
        pgd(layer, *(published[key] for key in ("x_t", "timesteps", "labels")), **BUDGET)
    assert all(parameter.requires_grad for parameter in layer.parameters())


def test_under_autocast_the_attack_moves_float32_images_and_training_still_learns(
    vanilla: TimeClassifier, published: dict[str, Tensor]
) -> None:
    x_t, timestep, label = (published[key][:4] for key in ("x_t", "timesteps", "labels"))
    classifier = copy.deepcopy(vanilla).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        attacked = pgd(classifier, x_t, timestep, label, threat_model=ThreatModel("l2", 1.0), steps=2, step_size=0.5)
        loss = F.cross_entropy(classifier(attacked.x_t, timestep), label)
    assert attacked.x_t.dtype == torch.float32
    assert not torch.equal(attacked.x_t, x_t)
    loss.backward()  # type: ignore[no-untyped-call]
    # Weights that autocast had cast while they were frozen would get none.
    assert all(parameter.grad is not None for parameter in classifier.parameters())


@pytest.mark.parametrize("bucket", [3, 4, 16])
def test_buckets_change_the_batches_the_network_sees_and_nothing_else(
    vanilla: TimeClassifier, published: dict[str, Tensor], bucket: int
) -> None:
    x_t, timestep, label = (published[key] for key in ("x_t", "timesteps", "labels"))
    seen = []

    def watched(x: Tensor, timestep: Tensor) -> Tensor:
        seen.append(len(x))
        logits: Tensor = vanilla(x, timestep)
        return logits

    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 4.0), "steps": 7, "step_size": 10 / 7}
    attacked = pgd(watched, x_t, timestep, label, **budget, bucket=bucket)
    expected = pgd(vanilla, x_t, timestep, label, **budget)
    assert all(size % bucket == 0 for size in seen)
    torch.testing.assert_close(attacked.x_t, expected.x_t, atol=1e-5, rtol=0)
    assert attacked.classified == expected.classified


def test_a_targeted_attack_goes_on_after_it_has_arrived() -> None:
    # Steps of 1 towards a positive first pixel, three of them: -0.5 arrives after the first and goes on.
    label = torch.ones(2, dtype=torch.int64)
    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 10.0), "steps": 3, "step_size": 1.0}
    result = targeted_pgd(Linear(), first_pixels(-0.5, -9.0), label, label, **budget)
    assert result.x_t[:, 0, 0, 0].tolist() == pytest.approx([2.5, -6.0], abs=1e-4)
    assert result.fooled.tolist() == [True, False]


def test_a_targeted_attack_may_stop_where_it_arrives() -> None:
    label = torch.ones(3, dtype=torch.int64)
    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 10.0), "steps": 3, "step_size": 1.0}
    x = first_pixels(-0.5, -9.0, 4.0)
    result = targeted_pgd(Linear(), x, label, label, **budget, early_stopping=True)
    assert result.x_t[:, 0, 0, 0].tolist() == pytest.approx([0.5, -6.0, 4.0], abs=1e-4)
    assert torch.equal(result.x_t[2], x[2])


class Trap:
    """One pixel, two classes: class 1 everywhere but above 0.6, where no gradient from 0 leads (it leads down)."""

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        pixel = x[:, 0, 0, 0]
        margin = torch.where(pixel > 0.2, 2 * (0.6 - pixel), 1 + pixel)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_random_restarts_find_what_the_first_run_misses(norm: ThreatNorm) -> None:
    x = torch.zeros(16, 1, 1, 1)
    label = torch.ones(16, dtype=torch.int64)
    budget: dict[str, Any] = {"threat_model": ThreatModel(norm, 0.9), "steps": 20, "step_size": 0.1}
    generator = torch.Generator().manual_seed(0)
    once = pgd_with_restarts(Trap(), x, label, label, **budget, restarts=0, generator=generator)
    assert not once.fooled.any()
    # A start above 0.2 climbs on to 0.6: of 25, at least one is, with all but a probability of (1.1 / 1.8) ** 25.
    again = pgd_with_restarts(Trap(), x, label, label, **budget, restarts=25, generator=generator)
    assert again.fooled.all()
    assert bool((again.x_t[:, 0, 0, 0] > 0.6).all())
    assert bool((again.x_t.abs() <= 0.9).all())


def test_an_evaluation_looks_at_the_last_steps_outcome() -> None:
    label = torch.ones(3, dtype=torch.int64)
    x = first_pixels(-1.0, 0.5, 5.5)
    generator = torch.Generator().manual_seed(0)
    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 3.0), "steps": 1, "step_size": 1.0}
    result = pgd_with_restarts(Linear(), x, label, label, **budget, restarts=0, generator=generator)
    assert result.fooled.tolist() == [True, True, False]
    # Three are looked at before the step, and the two it moved after it.
    assert result.classified == 5
    assert torch.equal(result.x_t[0], x[0])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_random_starts_fill_the_ball_evenly(norm: ThreatNorm) -> None:
    like = torch.zeros(20_000, 1, 1, 2)
    delta = ThreatModel(norm, 2.0).draw(like, torch.Generator().manual_seed(0)).flatten(1)
    size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
    # In two dimensions half of a ball's area lies within 1 / sqrt 2 of its radius; 20,000 draws err by 0.0035.
    assert (size < 2 / math.sqrt(2)).float().mean().item() == pytest.approx(0.5, abs=0.015)
    assert delta.mean(0).tolist() == pytest.approx([0, 0], abs=0.04)
    assert float(size.max()) <= 2


def test_an_attack_that_cannot_be_is_refused() -> None:
    label = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(SettingsError, match="epsilon = -1"):
        ThreatModel("l2", -1)
    with pytest.raises(SettingsError, match="bucket of 0"):
        pgd(Linear(), first_pixels(0.0), label, label, **BUDGET, bucket=0)
    with pytest.raises(SettingsError, match="-1 restarts"):
        pgd_with_restarts(Linear(), first_pixels(0.0), label, label, **BUDGET, restarts=-1, generator=torch.Generator())
    with pytest.raises(SettingsError, match="-2 steps"):
        pgd(Linear(), first_pixels(0.0), label, label, threat_model=ThreatModel("l2", 1), steps=-2, step_size=1)
