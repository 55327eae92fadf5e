"""Projected gradient descent on noisy images, stopped for each sample as soon as it is fooled (Section 4.2).

Radii and step sizes are in [-1, 1] pixel units. There is no random start and no clipping to the pixel range: x_t is
noisy and leaves the range by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.errors import SettingsError
from generation.presets import Attack as AttackSettings
from generation.presets import ThreatNorm

Classify = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker may add: any delta with norm at most `epsilon` ([-1, 1] pixel units).

    Attributes:
        norm: `l2` (of all pixels and channels of an image together) or `linf`.
        epsilon: the radius.
    """

    norm: ThreatNorm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "linf"):
            raise SettingsError(f"No threat model {self.norm!r}: take l2 or linf.")
        if not 0 <= self.epsilon < float("inf"):
            raise SettingsError(f"epsilon = {self.epsilon} must be a finite radius of at least 0.")

    def ascend(self, gradient: Tensor) -> Tensor:
        """Return the steepest direction of length 1: (N, C, H, W) -> (N, C, H, W)."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / (_l2(gradient) + 1e-10)

    def project(self, delta: Tensor) -> Tensor:
        """Return the nearest perturbation that is allowed: (N, C, H, W) -> (N, C, H, W)."""
        if self.norm == "linf":
            return delta.clamp(-self.epsilon, self.epsilon)
        return delta * (self.epsilon / _l2(delta).clamp_min(1e-12)).clamp_max(1)


@dataclass(frozen=True)
class Attacked:
    """An attack's outcome.

    Attributes:
        x_t: (N, C, H, W) attacked images; samples misclassified from the start are what they were, bit for bit.
        fooled: (N,) bool, seen misclassified before some step. The last step's outcome is not looked at.
        classified: how many images went through the network, over all steps.
    """

    x_t: Tensor
    fooled: Tensor
    classified: int


def pgd(
    classifier: Classify,
    x_t: Tensor,
    timestep: Tensor,
    label: Tensor,
    *,
    threat_model: ThreatModel,
    steps: int,
    step_size: float,
) -> Attacked:
    """Attack noisy images until the classifier errs: A(x_t, phi) of Eq. 5.

    Before each step the classifier looks at the samples that are left; those it gets wrong are left alone for good,
    the others climb the cross-entropy by `step_size` and are projected onto the threat model's ball around x_t.

    Args:
        classifier: (x_t, timestep) -> (N, classes) logits; its parameters get no gradient.
        x_t: (N, C, H, W) float32.
        timestep: (N,) original timesteps.
        label: (N,) true classes.
        threat_model: the norm and radius.
        steps: how many steps at most.
        step_size: a step's length in [-1, 1] pixel units.

    Returns:
        The attacked images, detached, and who was fooled.

    Raises:
        SettingsError: fewer than 0 steps, or a negative step size.
    """
    if steps < 0 or not 0 <= step_size < float("inf"):
        raise SettingsError(f"An attack of {steps} steps of {step_size} cannot be: both must be at least 0.")
    origin = x_t.detach()
    attacked = origin.clone()
    left = torch.arange(len(origin), device=origin.device)
    classified = 0
    for _ in range(steps):
        if not len(left):
            break
        classified += len(left)
        correct, gradient = _look(classifier, attacked[left], timestep[left], label[left])
        left, gradient = left[correct], gradient[correct]
        delta = attacked[left] - origin[left] + step_size * threat_model.ascend(gradient)
        attacked[left] = origin[left] + threat_model.project(delta)
    fooled = torch.ones(len(origin), dtype=torch.bool, device=origin.device)
    fooled[left] = False
    return Attacked(attacked, fooled, classified)


def _look(classifier: Classify, x: Tensor, timestep: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return which samples are classified correctly, (N,) bool, and the cross-entropy's gradient at x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = classifier(x, timestep)
        correct = logits.detach().argmax(dim=1) == label
        if not bool(correct.any()):
            return correct, torch.zeros_like(x)
        loss = F.cross_entropy(logits[correct], label[correct], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
    return correct, gradient


def attack(classifier: Classify, x_t: Tensor, timestep: Tensor, label: Tensor, settings: AttackSettings) -> Attacked:
    """Run `pgd` with a preset's settings."""
    return pgd(
        classifier,
        x_t,
        timestep,
        label,
        threat_model=ThreatModel(settings.threat_model, settings.epsilon),
        steps=settings.steps,
        step_size=settings.step_size,
    )


def _l2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, 1, 1) norms."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
    return norms
