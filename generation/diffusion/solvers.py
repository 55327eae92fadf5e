"""The reverse steps: three ways from x_t to x_{t-1}, each with its manner of being guided.

The paper's alpha_t is alpha_bar here. `shift` is the guidance scale times the gradient of log p(y | x_t, t); zero where
an arm is unguided. Coefficients are float64 numbers from the schedule, applied to float32 images; all of them come from
the noise levels that the schedule keeps, so that every spacing of the timesteps is right.
"""

import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from generation.diffusion.process import Prediction, Process
from generation.errors import SettingsError
from generation.presets import SamplerName

Draw = Callable[[], Tensor]


class Solver(Protocol):
    """Walks one batch from x_T to x_0; steps are taken in falling order of their indices."""

    def step(self, prediction: Prediction, x_t: Tensor, index: int, shift: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            prediction: what the U-Net says at x_t, (N, C, H, W).
            x_t: (N, C, H, W).
            index: the step's place in the schedule; 0 is the last one taken.
            shift: (N, C, H, W) scaled gradient.
            draw: gives (N, C, H, W) standard normal noise; called only where the solver uses it.

        Returns:
            x_{t-1} and the x_0 that it was aimed at, (N, C, H, W) each.
        """
        ...


class Ancestral:
    """`ddpm`: draw from p(x_{t-1} | x_t), Eq. 4 of the paper (Ho et al., 2020; guided as Dhariwal & Nichol, 2021)."""

    def step(self, prediction: Prediction, x_t: Tensor, index: int, shift: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:  # noqa: ARG002 -- the prediction has it
        """Draw x_{t-1} ~ N(mean + variance * shift, variance) (Algorithm 1); the last step adds no noise."""
        mean = prediction.mean + prediction.log_variance.exp() * shift
        noise = draw()
        if index == 0:
            return mean, prediction.x_0
        return mean + (0.5 * prediction.log_variance).exp() * noise, prediction.x_0


class Ddim:
    """`ddim`: move along the predicted noise, with a share `eta` of ancestral noise (Song et al., 2021, Eq. 12, 16)."""

    def __init__(self, process: Process, eta: float) -> None:
        self.process, self.eta = process, eta

    def step(self, prediction: Prediction, x_t: Tensor, index: int, shift: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return x_{t-1} = sqrt(alpha_bar_prev) x_0 + sqrt(1 - alpha_bar_prev - sigma^2) noise' + sigma z.

        sigma = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar)) sqrt(1 - alpha_bar / alpha_bar_prev), which is 0 at the
        last step; z is drawn where eta is not 0.
        """
        alpha_bar, previous = _levels(self.process, index)
        noise, x_0 = guided(prediction, x_t, alpha_bar, shift)
        sigma = self.eta * math.sqrt((1 - previous) / (1 - alpha_bar)) * math.sqrt(1 - alpha_bar / previous)
        x = math.sqrt(previous) * x_0 + math.sqrt(max(1 - previous - sigma**2, 0)) * noise
        return (x + sigma * draw() if self.eta else x), x_0


class Multistep:
    """`dpmpp2m`: DPM-Solver++(2M), second order with one U-Net call a step (Lu et al., 2022, Algorithm 2).

    It solves the equation that DDIM with eta 0 solves to first order, with x_0 as the quantity that is extrapolated, in
    half the logarithm of the signal-to-noise ratio. x_0 is what DDIM's is: clipped before the guidance moves it and not
    after, so that both tend to the same image as steps are added. The first step has no earlier prediction, and the
    last one goes to no noise at all, an infinite way; both are first order.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.before: tuple[float, Tensor] | None = None

    def step(self, prediction: Prediction, x_t: Tensor, index: int, shift: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:  # noqa: ARG002 -- no noise
        """Return x_{t-1} = (sigma_{t-1} / sigma_t) x_t - alpha_{t-1} (exp(-h) - 1) D.

        D = (1 + 1 / 2r) x_0(t) - 1 / 2r x_0(t+1), where h is this step's length in half-log-SNR, r is the length of the
        step before divided by h, alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar).
        """
        alpha_bar, previous = _levels(self.process, index)
        _, x_0 = guided(prediction, x_t, alpha_bar, shift)
        if index == 0:
            return x_0, x_0
        here = half_log_snr(alpha_bar)
        length = half_log_snr(previous) - here
        aim = x_0
        if self.before is not None:
            earlier, x_0_before = self.before
            half_r = length / (2 * (here - earlier))
            aim = (1 + half_r) * x_0 - half_r * x_0_before
        self.before = here, x_0
        x = math.sqrt((1 - previous) / (1 - alpha_bar)) * x_t - math.sqrt(previous) * math.expm1(-length) * aim
        return x, x_0


def build_solver(sampler: SamplerName, process: Process, eta: float = 0.0) -> Solver:
    """Return a solver for one walk.

    Raises:
        SettingsError: an eta out of range, or for another sampler than `ddim`.
    """
    check_eta(sampler, eta)
    if sampler == "ddim":
        return Ddim(process, eta)
    return Multistep(process) if sampler == "dpmpp2m" else Ancestral()


def check_eta(sampler: SamplerName, eta: float) -> None:
    """Refuse an eta that the sampler cannot have.

    Raises:
        SettingsError: it is out of range, or for another sampler than `ddim`.
    """
    if not 0 <= eta <= 1:
        raise SettingsError(f"eta = {eta} cannot be: take a number from 0, no noise, to 1, ancestral noise.")
    if eta and sampler != "ddim":
        raise SettingsError(f"eta = {eta} is for the sampler ddim: leave it out with {sampler}.")


def guided(prediction: Prediction, x_t: Tensor, alpha_bar: float, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the guided noise and the x_0 that it implies (Dhariwal & Nichol, 2021, Algorithm 2).

    noise' = noise - sqrt(1 - alpha_bar) shift, where noise belongs to the clipped x_0; Eq. 3 then gives x_0', which is
    not clipped again.
    """
    signal, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    noise = (x_t - signal * prediction.x_0) / sigma - sigma * shift
    return noise, (x_t - sigma * noise) / signal


def half_log_snr(alpha_bar: float) -> float:
    """Return lambda = log(alpha / sigma) = 1/2 log(alpha_bar / (1 - alpha_bar))."""
    return 0.5 * (math.log(alpha_bar) - math.log1p(-alpha_bar))


def _levels(process: Process, index: int) -> tuple[float, float]:
    schedule = process.schedule
    previous = float(schedule.alpha_bar[index - 1]) if index else 1.0
    return float(schedule.alpha_bar[index]), previous
