"""The attack against another author's: foolbox's PGD, which always takes all its steps."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generation.guidance.attack import ThreatModel, pgd, targeted_pgd
from generation.guidance.classifier import TimeClassifier
from generation.presets import ThreatNorm

with warnings.catch_warnings():
    # Of a name that SciPy has moved.
    warnings.simplefilter("ignore", DeprecationWarning)
    import foolbox

STEPS = 7
SAME = 1e-5
# So wide that foolbox clips no pixel.
BOUNDS = (-100.0, 100.0)

WRONG = slice(-3, None)
THREATS: list[tuple[ThreatNorm, float]] = [("l2", 0.5), ("l2", 4.0), ("linf", 8 / 255), ("linf", 32 / 255)]


class AtTimesteps(nn.Module):
    """The classifier as a function of the images alone."""

    def __init__(self, classifier: TimeClassifier, timestep: Tensor) -> None:
        super().__init__()
        self.classifier, self.timestep = classifier, timestep

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x, self.timestep)
        return logits


@pytest.fixture(scope="module")
def samples(vanilla: TimeClassifier) -> tuple[Tensor, Tensor, Tensor]:
    """Twelve noisy images, the last three labelled as something that the classifier says they are not."""
    generator = torch.Generator().manual_seed(4)
    x_t = torch.randn(12, 3, 16, 16, generator=generator)
    timestep = torch.randint(1000, (12,), generator=generator)
    with torch.no_grad():
        label = vanilla(x_t, timestep).argmax(1)
    label[WRONG] = (label[WRONG] + 1) % 10
    return x_t, timestep, label


def foolbox_pgd(
    model: nn.Module, x_t: Tensor, criterion: Any, norm: ThreatNorm, epsilon: float, *, steps: int
) -> Tensor:
    kind = foolbox.attacks.L2ProjectedGradientDescentAttack if norm == "l2" else foolbox.attacks.LinfPGD
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=BOUNDS, device="cpu")
    attack = kind(abs_stepsize=step_size(epsilon), steps=steps, random_start=False)
    attacked: Tensor = attack.run(wrapped, x_t, criterion, epsilon=epsilon)
    return attacked


def step_size(epsilon: float) -> float:
    return 2.5 * epsilon / STEPS


def budget(norm: ThreatNorm, epsilon: float) -> dict[str, Any]:
    return {"threat_model": ThreatModel(norm, epsilon), "steps": STEPS, "step_size": step_size(epsilon)}


@pytest.mark.parametrize(("norm", "epsilon"), THREATS)
def test_the_attack_is_anothers_frozen_at_first_success(
    vanilla: TimeClassifier, samples: tuple[Tensor, Tensor, Tensor], norm: ThreatNorm, epsilon: float
) -> None:
    x_t, timestep, label = samples
    model, criterion = AtTimesteps(vanilla, timestep), foolbox.criteria.Misclassification(label)
    iterates = [x_t] + [foolbox_pgd(model, x_t, criterion, norm, epsilon, steps=steps) for steps in range(1, STEPS + 1)]
    frozen, seen = iterates[-1].clone(), torch.zeros(len(x_t), dtype=torch.bool)
    for iterate in iterates[:-1]:
        with torch.no_grad():
            now = ~seen & (model(iterate).argmax(1) != label)
        frozen[now] = iterate[now]
        seen |= now
    attacked = pgd(vanilla, x_t, timestep, label, **budget(norm, epsilon))
    torch.testing.assert_close(attacked.x_t, frozen, atol=SAME, rtol=0)
    assert torch.equal(attacked.fooled, seen)
    assert torch.equal(attacked.x_t[WRONG], x_t[WRONG])
    if (norm, epsilon) in (("l2", 4.0), ("linf", 32 / 255)):
        # The large radii fool some that were right, so early stopping is seen at work.
        assert not torch.equal(frozen, iterates[-1])
        assert int(seen.sum()) > 3
    on_and_on = pgd(vanilla, x_t, timestep, label, **budget(norm, epsilon), early_stopping=False)
    torch.testing.assert_close(on_and_on.x_t, iterates[-1], atol=SAME, rtol=0)


@pytest.mark.parametrize(("norm", "epsilon"), THREATS)
def test_the_targeted_attack_is_anothers(
    vanilla: TimeClassifier, samples: tuple[Tensor, Tensor, Tensor], norm: ThreatNorm, epsilon: float
) -> None:
    x_t, timestep, label = samples
    target = (label + 4) % 10
    criterion = foolbox.criteria.TargetedMisclassification(target)
    expected = foolbox_pgd(AtTimesteps(vanilla, timestep), x_t, criterion, norm, epsilon, steps=STEPS)
    attacked = targeted_pgd(vanilla, x_t, timestep, target, **budget(norm, epsilon))
    torch.testing.assert_close(attacked.x_t, expected, atol=SAME, rtol=0)
