"""Classifier guidance: the gradient that steers the diffusion towards a class (Section 3.1), or several at once.

Classes are given as `label`: (N,) indices; (N, K) indices, K different classes for each image; or an (N, classes) mask
of bool, one or more classes for each image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.errors import SettingsError

Classify = Callable[[Tensor, Tensor], Tensor]
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]


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

    def shift(self, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        """Return scale times `class_gradient`, (N, C, H, W); zero where unguided."""
        if self.classifier is None or self.scale == 0:
            return torch.zeros_like(x_t)
        return self.scale * class_gradient(self.classifier, x_t, timestep, label)


def class_gradient(classifier: Classify, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Return the gradient of log p(label | x_t, t) with respect to x_t.

    Of several classes it is the sum of theirs: the gradient of the logarithm of the product of their probabilities.

    Args:
        classifier: (x_t, timestep) -> (N, classes) logits; its parameters get no gradient.
        x_t: (N, C, H, W).
        timestep: (N,) original timesteps.
        label: (N,) or (N, K) class indices, or an (N, classes) mask.

    Returns:
        (N, C, H, W) float32, unscaled.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_probability = F.log_softmax(classifier(x, timestep), dim=1)
        if label.dtype == torch.bool:
            chosen = (log_probability * label).sum()
        else:
            chosen = log_probability.gather(1, label.reshape(len(x), -1)).sum()
        (gradient,) = torch.autograd.grad(chosen, x)
    return gradient.float()


def predict_for_classes(unet: Predict, x_t: Tensor, timestep: Tensor, label: Tensor | None) -> Tensor:
    """Return what a U-Net predicts for the classes that an image is to be of, all at once.

    Of several classes it is the mean of the predictions for each. The predicted noise is the score of log p(x_t | y)
    up to a factor that depends on t alone, so the mean is the score of the geometric mean of the classes' densities:
    the sum of log-probabilities that the classifier adds, with the prior counted once and not once a class. A learned
    variance is interpolated on a logarithmic scale, so its mean is the geometric one too.

    Args:
        unet: (x_t, timestep, label of (N,) or None) -> (N, C', H, W).
        x_t: (N, C, H, W).
        timestep: (N,) original timesteps.
        label: (N,) or (N, K) class indices, an (N, classes) mask with at least one class for each image, or None for a
            U-Net that is told no class.

    Returns:
        (N, C', H, W).
    """
    if label is None or label.ndim == 1:
        return unet(x_t, timestep, label)
    if label.dtype == torch.bool:
        label, counts = label.int().argsort(dim=1, descending=True, stable=True), label.sum(1)
    else:
        counts = torch.full((len(label),), label.shape[1], device=label.device)
    total = unet(x_t, timestep, label[:, 0])
    for place in range(1, int(counts.max())):
        rows = (counts > place).nonzero()[:, 0]
        total = total.index_add(0, rows, unet(x_t[rows], timestep[rows], label[rows, place]))
    return total / counts[:, None, None, None]


def label_tensor(targets: Sequence[Sequence[int]], classes: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the `label` of some images: (N,) int64 where each is of one class, else an (N, classes) mask.

    Args:
        targets: each image's classes, at least one.
        classes: how many classes there are.
        device: where the label is to be.
    """
    if all(len(target) == 1 for target in targets):
        return torch.tensor([target[0] for target in targets], device=device)
    mask = torch.zeros(len(targets), classes, dtype=torch.bool)
    for row, target in zip(mask, targets, strict=True):
        row[list(target)] = True
    return mask.to(device)
