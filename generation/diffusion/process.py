"""The diffusion process: noising x_0, and what a network's output says of x_0 and of x_{t-1}.

Everything here is float32 arithmetic on float64 coefficients, whatever precision the networks run in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from generation.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Prediction:
    """What one U-Net call says about a step.

    Attributes:
        x_0: (N, C, H, W) predicted clean images, clipped to [-1, 1].
        mean: (N, C, H, W) mean of p(x_{t-1} | x_t), Eq. 4 of the paper.
        log_variance: its logarithmic variance; (N, C, H, W), or (N, 1, 1, 1) where it is fixed.
    """

    x_0: Tensor
    mean: Tensor
    log_variance: Tensor


class Process:
    """A noise schedule with the coefficients that its steps need.

    Steps are indices into the schedule (0 is the least noisy); `timesteps[step]` is what the networks are told.
    """

    def __init__(self, schedule: NoiseSchedule, *, learn_sigma: bool, device: torch.device | str = "cpu") -> None:
        self.schedule = schedule
        self.learn_sigma = learn_sigma
        abar, prev, betas = schedule.alpha_bar, schedule.alpha_bar_prev, schedule.betas
        variance = schedule.posterior_variance
        # q(x_0 | x_1) has variance 0, whose logarithm is not finite: take the next step's instead.
        at_least = torch.cat([variance[1:2] if len(schedule) > 1 else betas[:1], variance[1:]])

        def ready(values: Tensor) -> Tensor:
            return values.float().to(device)

        self.timesteps = schedule.timesteps.to(device)
        self.alpha_bar = ready(abar)
        self.alpha_bar_prev = ready(prev)
        self.sqrt_alpha_bar = ready(abar.sqrt())
        self.sqrt_noise_level = ready((1 - abar).sqrt())
        self.sqrt_recip = ready((1 / abar).sqrt())
        self.sqrt_recip_minus_1 = ready((1 / abar - 1).sqrt())
        self.mean_of_x_0 = ready(betas * prev.sqrt() / (1 - abar))
        self.mean_of_x_t = ready((1 - prev) * (1 - betas).sqrt() / (1 - abar))
        self.log_variance_low = ready(at_least.log())
        self.log_variance_high = ready(betas.log())
        self.log_variance_fixed = ready(torch.cat([at_least[:1], betas[1:]]).log())

    def __len__(self) -> int:
        return len(self.schedule)

    def add_noise(self, x_0: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Return x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise (Eq. 3); step is (N,)."""
        return _at(self.sqrt_alpha_bar, step) * x_0 + _at(self.sqrt_noise_level, step) * noise

    def x_0_from_noise(self, x_t: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Return the x_0 that x_t and its noise imply: Eq. 3 solved for x_0; not clipped."""
        return _at(self.sqrt_recip, step) * x_t - _at(self.sqrt_recip_minus_1, step) * noise

    def noise_from_x_0(self, x_t: Tensor, step: Tensor, x_0: Tensor) -> Tensor:
        """Return the noise that x_t and its x_0 imply: Eq. 3 solved for the noise."""
        return (_at(self.sqrt_recip, step) * x_t - x_0) / _at(self.sqrt_recip_minus_1, step)

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, step: Tensor) -> Tensor:
        """Return the mean of q(x_{t-1} | x_t, x_0)."""
        return _at(self.mean_of_x_0, step) * x_0 + _at(self.mean_of_x_t, step) * x_t

    def predict(self, output: Tensor, x_t: Tensor, step: Tensor, *, clip: bool = True) -> Prediction:
        """Read a U-Net's output.

        Args:
            output: (N, C or 2C, H, W) the network's output at (x_t, timesteps[step]).
            x_t: (N, C, H, W).
            step: (N,) indices into the schedule.
            clip: keep the predicted x_0 in [-1, 1], as sampling does.

        Returns:
            The prediction; a learned variance lies between the posterior's and beta's, on a logarithmic scale, as far
            as the output's second half says (Nichol & Dhariwal, 2021, Eq. 15); a fixed one is beta.
        """
        if self.learn_sigma:
            noise, place = output.chunk(2, dim=1)
            low, high = _at(self.log_variance_low, step), _at(self.log_variance_high, step)
            share = (place + 1) / 2
            log_variance = share * high + (1 - share) * low
        else:
            noise, log_variance = output, _at(self.log_variance_fixed, step)
        x_0 = self.x_0_from_noise(x_t, step, noise)
        if clip:
            x_0 = x_0.clamp(-1, 1)
        return Prediction(x_0, self.posterior_mean(x_0, x_t, step), log_variance)


def _at(values: Tensor, step: Tensor) -> Tensor:
    return values[step][:, None, None, None]
