"""Training the time-dependent classifier, robust (Eq. 5 of the paper) or vanilla."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from generation.diffusion.process import Process
from generation.guidance.attack import attack
from generation.presets import Attack
from generation.training.acceleration import bare
from generation.training.loop import Batch


@dataclass(frozen=True)
class ClassifierObjective:
    """The cross-entropy on noisy images, attacked first where settings are given.

    Attributes:
        process: over all training timesteps.
        attack_settings: the attack A of Eq. 5; None trains the vanilla classifier.
    """

    process: Process
    attack_settings: Attack | None

    @property
    def timesteps(self) -> int:
        """The schedule's length."""
        return len(self.process)

    def __call__(self, classifier: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, the accuracy and, of attacked images, "fooled": the share that the attack fooled."""
        x_t = self.process.add_noise(batch.x_0, batch.step, batch.noise)
        timestep = self.process.timesteps[batch.step]
        metrics: dict[str, Tensor] = {}
        if self.attack_settings is not None:
            # The attack's gradients are its own: the processes have nothing to join.
            attacked = attack(bare(classifier), x_t, timestep, batch.label, self.attack_settings)
            x_t, metrics["fooled"] = attacked.x_t, attacked.fooled.float().mean()
        logits = classifier(x_t, timestep)
        metrics["accuracy"] = (logits.argmax(1) == batch.label).float().mean()
        return F.cross_entropy(logits, batch.label), metrics
