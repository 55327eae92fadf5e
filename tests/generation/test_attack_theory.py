"""Appendix B: what adding g(x) to every logit changes, and what it does not.

With h~_i = h_i + g the softmax is the same function of x, so whatever is computed from it is the same too: the
cross-entropy and the accuracy, as the appendix proves, and for the same reason the gradient of log p and every attack
that climbs the cross-entropy. The logits' own gradients do change, by grad g, and with them every attack that follows
those. The sentence after the proof, that the adversarial loss of Eq. 5 changes, holds for such attacks.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from generation.guidance.attack import ANY_OTHER, Goal, ThreatModel, pgd
from generation.guidance.classifier import TimeClassifier
from generation.guidance.score import class_gradient
from generation.presets import ThreatNorm

# An attacker who lowers the true class's score and never normalises the scores.
LOWER_THE_LOGIT = Goal(gain=lambda logits, label: -logits.gather(1, label[:, None])[:, 0], reached=ANY_OTHER.reached)


class Shifted(nn.Module):
    """The classifier of the appendix: h~_i(x) = h_i(x) + strength cos(direction . x), for every class i."""

    def __init__(self, classifier: nn.Module, direction: Tensor, strength: float) -> None:
        super().__init__()
        self.classifier, self.direction, self.strength = classifier, direction, strength

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        phase = (x * self.direction).flatten(1).sum(1, keepdim=True)
        shifted: Tensor = self.classifier(x, timestep) + self.strength * phase.cos()
        return shifted

    def gradient(self, x: Tensor) -> Tensor:
        """Of g, by hand: -strength sin(direction . x) direction."""
        phase = (x * self.direction).flatten(1).sum(1)[:, None, None, None]
        return -self.strength * phase.sin() * self.direction


class Network(nn.Module):
    """A small smooth classifier in float64, so that rounding is far below what is compared."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(12, 16, generator=generator, dtype=torch.float64) / 4
        self.second = torch.randn(16, 4, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        hidden = (x.flatten(1) @ self.first + timestep[:, None] / 1000).tanh()
        return hidden @ self.second


def noisy_images(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(8, 3, 2, 2, generator=generator, dtype=torch.float64)
    return x_t, torch.randint(1000, (8,), generator=generator), torch.randint(4, (8,), generator=generator)


def logit_gradient(classifier: nn.Module, x_t: Tensor, timestep: Tensor, index: Tensor) -> Tensor:
    x = x_t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(x, timestep).gather(1, index[:, None]).sum(), x)
    return gradient


cases = given(seed=st.integers(0, 10_000), strength=st.floats(-100, 100).filter(lambda s: abs(s) > 0.1))


def shifted_network(seed: int, strength: float) -> tuple[Network, Shifted]:
    plain = Network(seed)
    direction = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return plain, Shifted(plain, direction, strength)


@settings(deadline=None, max_examples=30)
@cases
def test_loss_prediction_and_accuracy_stay(seed: int, strength: float) -> None:
    plain, shifted = shifted_network(seed, strength)
    x_t, timestep, label = noisy_images(seed)
    before, after = plain(x_t, timestep), shifted(x_t, timestep)
    loss = F.cross_entropy(before, label, reduction="none")
    torch.testing.assert_close(F.cross_entropy(after, label, reduction="none"), loss, atol=1e-11, rtol=0)
    assert torch.equal(after.argmax(1), before.argmax(1))


@settings(deadline=None, max_examples=30)
@cases
def test_every_logits_gradient_changes_by_that_of_g(seed: int, strength: float) -> None:
    plain, shifted = shifted_network(seed, strength)
    x_t, timestep, _ = noisy_images(seed)
    for index in range(4):
        label = torch.full((8,), index)
        before, after = (logit_gradient(network, x_t, timestep, label) for network in (plain, shifted))
        torch.testing.assert_close(after - before, shifted.gradient(x_t), atol=1e-11, rtol=0)
    assert shifted.gradient(x_t).abs().max() > 1e-3


@settings(deadline=None, max_examples=30)
@cases
def test_the_gradient_that_guides_stays(seed: int, strength: float) -> None:
    # Guidance follows log p(y | x_t), which is normalised: the same function has the same gradient.
    plain, shifted = shifted_network(seed, strength)
    x_t, timestep, label = noisy_images(seed)
    before, after = (class_gradient(network, x_t, timestep, label) for network in (plain, shifted))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), strength=st.floats(0.1, 10))
def test_an_attack_on_the_cross_entropy_stays(norm: ThreatNorm, seed: int, strength: float) -> None:
    plain, shifted = shifted_network(seed, strength)
    x_t, timestep, label = noisy_images(seed)
    budget: dict[str, Any] = {"threat_model": ThreatModel(norm, 0.5), "steps": 3, "step_size": 0.2}
    before, after = (pgd(network, x_t, timestep, label, **budget) for network in (plain, shifted))
    torch.testing.assert_close(after.x_t, before.x_t, atol=1e-6, rtol=0)
    assert torch.equal(after.fooled, before.fooled)


def test_the_papers_networks_are_no_exception(vanilla: TimeClassifier) -> None:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(4, 3, 16, 16, generator=generator)
    timestep = torch.tensor([0, 100, 400, 900])
    label = vanilla(x_t, timestep).argmax(1)
    direction = torch.randn(3, 16, 16, generator=generator) / 10
    shifted = Shifted(vanilla, direction, 3.0)
    torch.testing.assert_close(
        class_gradient(shifted, x_t, timestep, label),
        class_gradient(vanilla, x_t, timestep, label),
        atol=1e-5,
        rtol=0,
    )
    change = logit_gradient(shifted, x_t, timestep, label) - logit_gradient(vanilla, x_t, timestep, label)
    torch.testing.assert_close(change, shifted.gradient(x_t), atol=1e-4, rtol=0)


class Plane(nn.Module):
    """Two classes whose scores are plus and minus the first pixel; g is `slope` times the second."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        first, second = x[:, 0, 0, 0], x[:, 0, 0, 1]
        return torch.stack([first, -first], dim=1) + (self.slope * second)[:, None]


@pytest.mark.parametrize(
    ("slope", "first_pixel"),
    [
        # Without g the score falls fastest along the first pixel: one step of 1 takes it from 2 to 1.
        (0.0, 1.0),
        # With grad g = (0, 3/4) the score's gradient is (1, 3/4), of length 5/4: the step is (4/5, 3/5).
        (0.75, 2 - 0.8),
        # With grad g = (0, 12/5) it is (1, 12/5), of length 13/5: the step is (5/13, 12/13).
        (2.4, 2 - 5 / 13),
    ],
)
def test_an_attack_on_the_logit_is_turned_aside_and_its_adversarial_loss_changes(
    slope: float, first_pixel: float
) -> None:
    x = torch.tensor([2.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    label = torch.zeros(1, dtype=torch.int64)
    budget: dict[str, Any] = {"threat_model": ThreatModel("l2", 1.0), "steps": 1, "step_size": 1.0}
    network = Plane(slope)
    clean = F.cross_entropy(network(x, label), label).item()
    # p = 1 / (1 + exp(-2 x_1)), with g or without.
    assert clean == pytest.approx(math.log1p(math.exp(-4)), rel=1e-12)
    attacked = pgd(network, x, label, label, **budget, goal=LOWER_THE_LOGIT)
    assert attacked.x_t[0, 0, 0, 0].item() == pytest.approx(first_pixel, abs=1e-5)
    adversarial = F.cross_entropy(network(attacked.x_t, label), label).item()
    assert adversarial == pytest.approx(math.log1p(math.exp(-2 * first_pixel)), rel=1e-4)
    # The attack of Eq. 5, which climbs the cross-entropy, is not turned aside.
    climbed = pgd(network, x, label, label, **budget)
    assert climbed.x_t[0, 0, 0].tolist() == pytest.approx([1.0, 0.0], abs=1e-5)
