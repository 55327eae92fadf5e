"""Training the noise-predicting U-Net: the hybrid loss of Nichol & Dhariwal (2021)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generation.diffusion.process import Process
from generation.training.loop import Batch


@dataclass(frozen=True)
class DiffusionObjective:
    """The loss of a U-Net on noisy images.

    With a learned variance it is L_simple + 0.001 L_vlb (Nichol & Dhariwal, 2021, Eq. 16), else L_simple.

    Attributes:
        process: over all training timesteps.
        conditional: whether the network is told the label.
    """

    process: Process
    conditional: bool

    @property
    def timesteps(self) -> int:
        """The schedule's length."""
        return len(self.process)

    def __call__(self, unet: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and, as "mse", the squared error of the noise."""
        process = self.process
        x_t = process.add_noise(batch.x_0, batch.step, batch.noise)
        output = unet(x_t, process.timesteps[batch.step], batch.label if self.conditional else None)
        channels = batch.x_0.shape[1]
        mse = (output[:, :channels] - batch.noise).square().mean()
        loss = mse
        if process.learn_sigma:
            # The bound teaches the variance only: the noise prediction is held still.
            held = torch.cat([output[:, :channels].detach(), output[:, channels:]], dim=1)
            bound = variational_bound(process, held, batch.x_0, x_t, batch.step).mean()
            loss = mse + bound * len(process) / 1000
        return loss, {"mse": mse}


def variational_bound(process: Process, output: Tensor, x_0: Tensor, x_t: Tensor, step: Tensor) -> Tensor:
    """Return each sample's term of the variational bound, (N,), in bits per dimension.

    It is KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), and at step 0 the negative log-likelihood of the pixels under
    a Gaussian integrated over each 8-bit value's bin (Ho et al., 2020, Eq. 13).
    """
    prediction = process.predict(output, x_t, step, clip=False)
    true_mean = process.posterior_mean(x_0, x_t, step)
    true_log_variance = process.log_variance_low[step][:, None, None, None]
    divergence = _gaussian_kl(true_mean, true_log_variance, prediction.mean, prediction.log_variance)
    likelihood = _binned_log_likelihood(x_0, prediction.mean, prediction.log_variance)
    nats = torch.where(step == 0, -likelihood.flatten(1).mean(1), divergence.flatten(1).mean(1))
    return nats / math.log(2)


def _gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    difference = log_variance - other_log_variance
    scaled = (mean - other_mean).square() * (-other_log_variance).exp()
    return 0.5 * (difference.exp() + scaled - 1 - difference)


def _binned_log_likelihood(x_0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-probability of x_0's bin of width 2/255; the outermost bins reach to infinity."""
    precision = (-0.5 * log_variance).exp()
    above = torch.special.ndtr((x_0 - mean + 1 / 255) * precision)
    below = torch.special.ndtr((x_0 - mean - 1 / 255) * precision)
    upper = torch.where(x_0 > 0.999, torch.ones_like(above), above)
    lower = torch.where(x_0 < -0.999, torch.zeros_like(below), below)
    return (upper - lower).clamp_min(1e-12).log()
