"""A strong ensemble of attacks by other authors: AutoAttack (Croce and Hein, ICML 2020), where it is installed.

Its attacks adapt their steps by themselves, and one of them asks for no gradient at all, so a classifier that only
hides its gradients does not pass. AutoAttack knows images in [0, 1] and classifiers of images alone. Noisy images are
therefore mapped into the middle of [0, 1], where no clipping acts, and their timesteps are looked up.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from generation.errors import SettingsError
from generation.guidance.attack import Classify, ThreatModel

LOGGER = "auto-attack"


@dataclass(frozen=True)
class EnsembleSettings:
    """How AutoAttack is run; its authors' standard, unless told otherwise.

    Attributes:
        images: how many images it looks at, for it takes thousands of passes for each.
        classes: how many classes there are.
        iterations: of each of its gradient attacks.
        queries: of the attack that needs no gradient.
        targets: how many classes, besides the true one, its targeted attacks try.
    """

    images: int
    classes: int
    iterations: int = 100
    queries: int = 5000
    targets: int = 9

    @property
    def attacks(self) -> list[str]:
        """The attacks to run: the standard four, as far as so few classes allow."""
        if self.classes >= 4:
            return ["apgd-ce", "apgd-t", "fab-t", "square"]
        # The targeted loss compares four scores, the untargeted one three.
        return ["apgd-ce", *(["apgd-dlr"] if self.classes == 3 else []), "fab-t", "square"]


def require_ensemble() -> Any:  # noqa: ANN401 -- an untyped library's class
    """Return AutoAttack's class.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        from pyautoattack import AutoAttack  # noqa: PLC0415 -- optional
    except ImportError as error:
        raise SettingsError(
            "AutoAttack is not installed: `pip install pyautoattack` into this environment, or leave --ensemble out."
        ) from error
    return AutoAttack


def ensemble_survivors(
    classifier: Classify,
    x_t: Tensor,
    timestep: Tensor,
    label: Tensor,
    *,
    threat_model: ThreatModel,
    settings: EnsembleSettings,
    seed: int,
) -> Tensor:
    """Attack noisy images with AutoAttack and check its claims.

    Args:
        classifier: (x_t, timestep) -> (N, classes) logits.
        x_t: (N, C, H, W) noisy images, classified correctly.
        timestep: (N,) original timesteps.
        label: (N,) true classes.
        threat_model: the norm and radius.
        settings: how long to try.
        seed: of the ensemble's own random starts and queries.

    Returns:
        (N,) bool: still classified correctly. A sample counts as fooled only if the image that the ensemble found is
        misclassified at its own timestep after a projection onto the ball.

    Raises:
        SettingsError: AutoAttack is not installed.
    """
    autoattack = require_ensemble()
    if not len(x_t):
        return torch.ones(0, dtype=torch.bool, device=x_t.device)
    network = _InUnitRange(classifier, x_t, timestep, threat_model.epsilon)
    ensemble = autoattack(
        network,
        attacks=settings.attacks,
        device=x_t.device,
        eps=threat_model.epsilon / network.width,
        norm={"l2": "L2", "linf": "Linf"}[threat_model.norm],
        seed=seed,
        version="custom",
    )
    for attack in (ensemble.apgd, ensemble.apgd_targeted, ensemble.fab):
        attack.n_restarts, attack.n_iter = 1, settings.iterations
    targets = min(settings.targets, settings.classes - 1)
    ensemble.apgd_targeted.n_target_classes = ensemble.fab.n_target_classes = targets
    ensemble.square.n_queries = settings.queries
    with _undisturbed(x_t.device):
        found, _ = ensemble.run_standard_evaluation(network.to_unit(x_t), label, batch_size=len(x_t))
    attacked = threat_model.move(x_t, network.from_unit(found) - x_t)
    with torch.no_grad():
        survives: Tensor = classifier(attacked, timestep).argmax(1) == label
    return survives


class _InUnitRange(nn.Module):
    """A classifier of images in [0, 1] alone, made of one of noisy images and timesteps.

    The ensemble drops samples as it goes and tells no names. Whose image it asks about is seen by which of the original
    images is nearest: noisy images lie further from each other than an attack reaches. Should two be as near as that,
    the attack is misled and finds less; its finds are checked at the true timesteps.
    """

    def __init__(self, classifier: Classify, x_t: Tensor, timestep: Tensor, epsilon: float) -> None:
        super().__init__()
        self.classifier, self.timestep = classifier, timestep
        # Twice the radius around the furthest pixel: what wanders beyond the ball on its way is not clipped either.
        self.reach = x_t.abs().max().item() + 2 * epsilon
        self.origins = self.to_unit(x_t).flatten(1)

    @property
    def width(self) -> float:
        """The noisy images' range, which becomes 1."""
        return 2 * self.reach

    def to_unit(self, x: Tensor) -> Tensor:
        return x / self.width + 0.5

    def from_unit(self, x: Tensor) -> Tensor:
        return (x - 0.5) * self.width

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, classes) logits."""
        with torch.no_grad():
            nearest = torch.cdist(x.flatten(1), self.origins).argmin(1)
        return self.classifier(self.from_unit(x), self.timestep[nearest])


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Put back what the ensemble changes: torch's global generators, and the interpreter's trace function."""
    trace = sys.gettrace()
    logger = logging.getLogger(LOGGER)
    level = logger.level
    # It warns of what it suspects of any defence, once a batch; the checks here are in the results.
    logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(trace)
        logger.setLevel(level)
