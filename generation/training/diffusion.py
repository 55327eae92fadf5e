"""Training the noise-predicting U-Net: the hybrid loss of Nichol & Dhariwal (2021)."""

import math

import torch
from torch import Tensor, nn

from generation.diffusion.process import Process
from generation.training.loop import Metrics, Objective


def diffusion_objective(process: Process, *, conditional: bool, precision: torch.dtype) -> Objective:
    """Return the loss of a U-Net on clean images at uniformly drawn timesteps.

    With a learned variance it is L_simple + 0.001 L_vlb (Nichol & Dhariwal, 2021, Eq. 16), else L_simple.

    Args:
        process: over all training timesteps.
        conditional: whether the network is told the label.
        precision: of the network's arithmetic: float32, or bfloat16 or float16 by autocast.

    Returns:
        (network, x_0, label, generator) -> (loss, {"mse": ...}).
    """

    def objective(unet: nn.Module, x_0: Tensor, label: Tensor, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        step = torch.randint(len(process), (len(x_0),), generator=generator, device=x_0.device)
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        x_t = process.add_noise(x_0, step, noise)
        with torch.autocast(x_0.device.type, precision, enabled=precision != torch.float32):
            output = unet(x_t, process.timesteps[step], label if conditional else None)
        channels = x_0.shape[1]
        mse = (output[:, :channels] - noise).square().mean()
        loss = mse
        if process.learn_sigma:
            # The bound teaches the variance only: the noise prediction is held still.
            held = torch.cat([output[:, :channels].detach(), output[:, channels:]], dim=1)
            bound = variational_bound(process, held, x_0, x_t, step).mean()
            loss = mse + bound * len(process) / 1000
        return loss, {"mse": mse.item()}

    return objective


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
