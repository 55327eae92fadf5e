"""Classifier guidance: the gradient that steers the diffusion towards a class (Section 3.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.errors import SettingsError

Classify = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Guidance:
    """How one arm is steered.

    Attributes:
        classifier: (x_t, timestep) -> logits; None leaves the arm unguided.
        scale: s in p(y | x_t)^s; 0 is unguided too.
    """

    classifier: Classify | None = None
    scale: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < float("inf"):
            raise SettingsError(f"guidance scale {self.scale} cannot be: take a finite number of at least 0.")

    def shift(self, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor | None:
        """Return scale times the gradient of log p(label | x_t, t), (N, C, H, W), or None where unguided."""
        if self.classifier is None or self.scale == 0:
            return None
        return self.scale * class_gradient(self.classifier, x_t, timestep, label)


def class_gradient(classifier: Classify, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Return the gradient of log p(label | x_t, t) with respect to x_t.

    Args:
        classifier: (x_t, timestep) -> (N, classes) logits; its parameters get no gradient.
        x_t: (N, C, H, W).
        timestep: (N,) original timesteps.
        label: (N,) class indices.

    Returns:
        (N, C, H, W) float32, unscaled.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_probability = F.log_softmax(classifier(x, timestep), dim=1)
        chosen = log_probability.gather(1, label[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, x)
    return gradient.float()
