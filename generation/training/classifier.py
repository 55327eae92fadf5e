"""Training the time-dependent classifier, robust (Eq. 5 of the paper) or vanilla."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.diffusion.process import Process
from generation.guidance.attack import attack
from generation.presets import Attack
from generation.training.loop import Metrics, Objective


def classifier_objective(process: Process, *, attack_settings: Attack | None, precision: torch.dtype) -> Objective:
    """Return the cross-entropy on noisy images at uniformly drawn timesteps, attacked first where settings are given.

    Args:
        process: over all training timesteps.
        attack_settings: the attack A of Eq. 5; None trains the vanilla classifier.
        precision: of the network's arithmetic: float32, or bfloat16 or float16 by autocast.

    Returns:
        (network, x_0, label, generator) -> (loss, {"accuracy", and "fooled": the share that the attack fooled}).
    """

    def objective(
        classifier: nn.Module, x_0: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        step = torch.randint(len(process), (len(x_0),), generator=generator, device=x_0.device)
        x_t = process.add_noise(x_0, step, torch.randn(x_0.shape, generator=generator, device=x_0.device))
        timestep = process.timesteps[step]
        metrics: Metrics = {}
        with torch.autocast(x_0.device.type, precision, enabled=precision != torch.float32):
            if attack_settings is not None:
                attacked = attack(classifier, x_t, timestep, label, attack_settings)
                x_t, metrics["fooled"] = attacked.x_t, attacked.fooled.float().mean().item()
            logits = classifier(x_t, timestep)
        metrics["accuracy"] = (logits.argmax(1) == label).float().mean().item()
        return F.cross_entropy(logits, label), metrics

    return objective
