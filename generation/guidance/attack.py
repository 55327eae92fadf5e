"""Projected gradient descent on noisy images, stopped for each sample as soon as it is fooled (Section 4.2).

Radii and step sizes are in [-1, 1] pixel units. There is no clipping to the pixel range: x_t is noisy and leaves the
range by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.errors import SettingsError
from generation.presets import Attack as AttackSettings
from generation.presets import ThreatNorm

Classify = Callable[[Tensor, Tensor], Tensor]

# The L2 ball is entered by this share of its radius, so that a norm whose sum is rounded is not above epsilon either.
ROUNDING_MARGIN = 2.0**-20


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
        return gradient / (_l2(gradient).to(gradient.dtype) + 1e-10)

    def project(self, delta: Tensor) -> Tensor:
        """Return the nearest perturbation that is allowed: (N, C, H, W) -> (N, C, H, W)."""
        if self.norm == "linf":
            radius = _floor_to_float32(self.epsilon)
            return delta.clamp(-radius, radius)
        factor = self.epsilon * (1 - ROUNDING_MARGIN) / _l2(delta).clamp_min(torch.finfo(torch.float64).tiny)
        return delta * factor.clamp_max(1).to(delta.dtype)

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Return perturbations drawn uniformly from the ball: (N, C, H, W), of `like`'s shape, device and dtype."""
        if self.norm == "linf":
            unit = torch.rand(like.shape, generator=generator, device=like.device, dtype=torch.float64) * 2 - 1
            return self.project((self.epsilon * unit).to(like.dtype))
        direction = torch.randn(like.shape, generator=generator, device=like.device, dtype=torch.float64)
        share = torch.rand((len(like), 1, 1, 1), generator=generator, device=like.device, dtype=torch.float64)
        # The share of the ball within radius r is r ** dimensions.
        length = self.epsilon * share ** (1 / like[0].numel())
        return self.project((length * direction / _l2(direction)).to(like.dtype))

    def move(self, origin: Tensor, delta: Tensor) -> Tensor:
        """Return origin + project(delta), rounded so that it lies in the ball around the origin.

        A sum's rounding may lead outwards. Each pixel where it does is stepped back to the next number towards the
        origin, so no pixel is further from its origin than the projected delta says.
        """
        allowed = self.project(delta)
        moved = (origin.to(allowed.dtype) + allowed).to(origin.dtype)
        too_far = (moved.double() - origin.double()).abs() > allowed.double().abs()
        return torch.where(too_far, torch.nextafter(moved, origin), moved)


@dataclass(frozen=True)
class Goal:
    """What an attack climbs, and where it has arrived.

    Attributes:
        gain: ((N, classes) logits, (N,) label) -> (N,) what the attacker wants more of.
        reached: the same -> (N,) bool, whether a sample is where the attacker wants it.
    """

    gain: Callable[[Tensor, Tensor], Tensor]
    reached: Callable[[Tensor, Tensor], Tensor]


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


# Away from the label, as in Eq. 5.
ANY_OTHER = Goal(gain=_cross_entropy, reached=lambda logits, label: logits.argmax(1) != label)
# Towards the label, as in Figure 4.
THIS_ONE = Goal(
    gain=lambda logits, label: -_cross_entropy(logits, label),
    reached=lambda logits, label: logits.argmax(1) == label,
)


@dataclass(frozen=True)
class Attacked:
    """An attack's outcome.

    Attributes:
        x_t: (N, C, H, W) attacked images; with early stopping, samples that were fooled from the start are what they
            were, bit for bit.
        fooled: (N,) bool, seen where the attacker wants them before some step: misclassified, or for a targeted attack
            classified as the target. `pgd` does not look at the last step's outcome, `pgd_with_restarts` does.
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
    goal: Goal = ANY_OTHER,
    early_stopping: bool = True,
    start: Tensor | None = None,
    bucket: int = 1,
) -> Attacked:
    """Attack noisy images until the classifier errs: A(x_t, phi) of Eq. 5.

    Before each step the classifier looks at the samples that are left; those it gets wrong are left alone for good,
    the others climb the cross-entropy by `step_size` and are projected onto the threat model's ball around x_t.

    It works under callers' `no_grad`, `inference_mode` and `autocast`; the images' own arithmetic is at least float32.

    Args:
        classifier: (x_t, timestep) -> (N, classes) logits; its parameters get no gradient, and a module's are frozen
            meanwhile, so that no graph of them is kept.
        x_t: (N, C, H, W), of any floating dtype.
        timestep: (N,) original timesteps.
        label: (N,) true classes; for a targeted goal, the wanted ones.
        threat_model: the norm and radius.
        steps: how many steps at most.
        step_size: a step's length in [-1, 1] pixel units.
        goal: what to climb, and when to stop.
        early_stopping: leave samples alone once they are fooled; otherwise all go on for all steps.
        start: (N, C, H, W) where to begin; x_t unless given. It is projected onto the ball.
        bucket: the network sees batches of a multiple of this, filled with repeated samples, so that a compiled
            network meets few sizes. It changes no sample's outcome but by rounding.

    Returns:
        The attacked images, detached, in x_t's dtype; ||x_t - its origin|| is never above epsilon.

    Raises:
        SettingsError: fewer than 0 steps, a negative step size, or a bucket of less than 1.
    """
    if steps < 0 or not 0 <= step_size < float("inf"):
        raise SettingsError(f"An attack of {steps} steps of {step_size} cannot be: both must be at least 0.")
    if bucket < 1:
        raise SettingsError(f"A bucket of {bucket} samples cannot be: take at least 1.")
    with torch.inference_mode(mode=False), torch.no_grad(), frozen(classifier):
        # Copies of tensors that a caller made under inference_mode are tensors that autograd takes.
        origin, timestep, label = x_t.detach().clone(), timestep.clone(), label.clone()
        attacked = origin.clone() if start is None else threat_model.move(origin, _wide(start) - _wide(origin))
        look = _Look(classifier, goal, bucket=bucket, early_stopping=early_stopping)
        left = torch.arange(len(origin), device=origin.device)
        fooled = torch.zeros(len(origin), dtype=torch.bool, device=origin.device)
        classified = 0
        for _ in range(steps):
            if not len(left):
                break
            classified += len(left)
            reached, gradient = look(attacked[left], timestep[left], label[left])
            fooled[left] |= reached
            if early_stopping:
                left, gradient = left[~reached], gradient[~reached]
            delta = _wide(attacked[left]) - _wide(origin[left]) + step_size * threat_model.ascend(gradient)
            attacked[left] = threat_model.move(origin[left], delta)
    return Attacked(attacked, fooled, classified)


def targeted_pgd(
    classifier: Classify,
    x_t: Tensor,
    timestep: Tensor,
    target: Tensor,
    *,
    threat_model: ThreatModel,
    steps: int,
    step_size: float,
    early_stopping: bool = False,
) -> Attacked:
    """Change given images until they look like a chosen class to the classifier, as in Figure 4 (Section 5.1).

    The figure's run is of 7 steps within an L2 radius of 100, at 3x128x128. It goes on for all its steps, also after
    the target has been reached; with `early_stopping` each sample stops there.

    Args:
        classifier: as for `pgd`.
        x_t: (N, C, H, W).
        timestep: (N,) original timesteps; 0 for clean images.
        target: (N,) wanted classes.
        threat_model: the norm and radius.
        steps: how many steps.
        step_size: a step's length in [-1, 1] pixel units.
        early_stopping: whether a sample that is classified as its target is left alone.

    Returns:
        As `pgd`; `fooled` says who was seen classified as the target.

    Raises:
        SettingsError: as `pgd`.
    """
    return pgd(
        classifier,
        x_t,
        timestep,
        target,
        threat_model=threat_model,
        steps=steps,
        step_size=step_size,
        goal=THIS_ONE,
        early_stopping=early_stopping,
    )


def pgd_with_restarts(
    classifier: Classify,
    x_t: Tensor,
    timestep: Tensor,
    label: Tensor,
    *,
    threat_model: ThreatModel,
    steps: int,
    step_size: float,
    restarts: int,
    generator: torch.Generator,
) -> Attacked:
    """Attack as an evaluation does: from x_t first, then from random places in the ball, and the last step counts too.

    Args:
        classifier: as for `pgd`.
        x_t: (N, C, H, W).
        timestep: (N,) original timesteps.
        label: (N,) true classes.
        threat_model: the norm and radius.
        steps: of each run.
        step_size: a step's length in [-1, 1] pixel units.
        restarts: how many further runs, each on the samples that no run before fooled, begin at points drawn
            uniformly from the ball.
        generator: draws those points, on x_t's device.

    Returns:
        Images of which every fooled one is misclassified; the others are the first run's.

    Raises:
        SettingsError: fewer than 0 restarts, or as `pgd`.
    """
    if restarts < 0:
        raise SettingsError(f"{restarts} restarts cannot be: take a whole number of at least 0.")
    origin = x_t.detach()
    attacked = origin.clone()
    left = torch.arange(len(origin), device=origin.device)
    classified = 0
    for run in range(restarts + 1):
        if not len(left):
            break
        start = None if run == 0 else _wide(origin[left]) + threat_model.draw(_wide(origin[left]), generator)
        outcome = pgd(
            classifier,
            origin[left],
            timestep[left],
            label[left],
            threat_model=threat_model,
            steps=steps,
            step_size=step_size,
            start=start,
        )
        wrong = outcome.fooled.clone()
        unseen = ~wrong
        if bool(unseen.any()):
            with torch.no_grad():
                logits = classifier(outcome.x_t[unseen], timestep[left][unseen])
            wrong[unseen] = ANY_OTHER.reached(logits, label[left][unseen])
        classified += outcome.classified + int(unseen.sum())
        taken = wrong if run else torch.ones_like(wrong)
        attacked[left[taken]] = outcome.x_t[taken]
        left = left[~wrong]
    fooled = torch.ones(len(origin), dtype=torch.bool, device=origin.device)
    fooled[left] = False
    return Attacked(attacked, fooled, classified)


def attack(
    classifier: Classify, x_t: Tensor, timestep: Tensor, label: Tensor, settings: AttackSettings, *, bucket: int = 1
) -> Attacked:
    """Run `pgd` with a preset's settings."""
    return pgd(
        classifier,
        x_t,
        timestep,
        label,
        threat_model=ThreatModel(settings.threat_model, settings.epsilon),
        steps=settings.steps,
        step_size=settings.step_size,
        bucket=bucket,
    )


@contextmanager
def frozen(classifier: Classify) -> Iterator[None]:
    """Let a module's parameters require no gradient for a while: no graph of them is built or kept in memory."""
    parameters = [p for p in classifier.parameters() if p.requires_grad] if isinstance(classifier, nn.Module) else []
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_()


@dataclass(frozen=True)
class _Look:
    """One pass of samples through the classifier."""

    classifier: Classify
    goal: Goal
    bucket: int
    early_stopping: bool

    def __call__(self, x: Tensor, timestep: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return which samples the goal is reached for, (N,) bool, and the gain's gradient at the others' x.

        Without early stopping the gradient is taken for all. It is at least float32.
        """
        count = len(x)
        if filler := -count % self.bucket:
            rows = torch.arange(count + filler, device=x.device) % count
            x, timestep = x[rows], timestep[rows]
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = self.classifier(x, timestep)[:count]
            reached = self.goal.reached(logits.detach(), label)
            climbing = ~reached if self.early_stopping else torch.ones_like(reached)
            if not bool(climbing.any()):
                return reached, _wide(torch.zeros_like(x[:count]))
            (gradient,) = torch.autograd.grad(self.goal.gain(logits[climbing], label[climbing]).sum(), x)
        return reached, _wide(gradient[:count])


def _wide(x: Tensor) -> Tensor:
    """Return x in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _floor_to_float32(value: float) -> float:
    """Return the largest float32 that is not above a value of at least 0."""
    rounded = torch.tensor(value, dtype=torch.float32)
    if rounded.item() > value:
        rounded = torch.nextafter(rounded, torch.zeros(()))
    return rounded.item()


def _l2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, 1, 1) float64 norms, whatever the images' precision."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return norms
