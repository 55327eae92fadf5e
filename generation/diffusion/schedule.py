"""Noise schedules and respacing: which noise level each timestep has, and which timesteps sampling visits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from generation.errors import SettingsError
from generation.presets import Schedule as ScheduleSettings


def linear_betas(timesteps: int) -> Tensor:
    """Return the linear schedule's betas, (T,) float64, from 1e-4 to 0.02 at T = 1000 (Ho et al., 2020).

    Other T keep the total noise about the same by scaling both ends with 1000 / T.
    """
    scale = 1000 / timesteps
    betas = torch.linspace(scale * 1e-4, scale * 0.02, timesteps, dtype=torch.float64)
    if not bool((betas < 1).all()):
        raise SettingsError(f"schedule.timesteps = {timesteps} is too few for the linear schedule: take at least 21.")
    return betas


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise levels that a process passes through.

    The paper writes alpha_t for what is alpha_bar here: x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise (Eq. 3).

    Attributes:
        alpha_bar: (S,) float64, falling.
        timesteps: (S,) int64, the original timestep of each step, ascending.
    """

    alpha_bar: Tensor
    timesteps: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def alpha_bar_prev(self) -> Tensor:
        """(S,) float64: the level before each step, 1 before the first."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])

    @property
    def betas(self) -> Tensor:
        """(S,) float64: the noise that each step adds, 1 - alpha_bar / alpha_bar_prev."""
        return 1 - self.alpha_bar / self.alpha_bar_prev

    @property
    def posterior_variance(self) -> Tensor:
        """(S,) float64: the variance of q(x_{t-1} | x_t, x_0)."""
        return self.betas * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)


def build_schedule(settings: ScheduleSettings) -> NoiseSchedule:
    """Return the schedule of the training timesteps."""
    betas = linear_betas(settings.timesteps)
    return NoiseSchedule(torch.cumprod(1 - betas, 0), torch.arange(settings.timesteps))


def kept_timesteps(timesteps: int, respacing: str) -> list[int]:
    """Choose the timesteps that sampling visits.

    Args:
        timesteps: how many the model was trained with.
        respacing: `250` (evenly spaced, both ends kept), `10,15,20` (so many in each equal section of the schedule),
            or `ddim25` (every k-th, for the whole k that gives 25).

    Returns:
        The kept original timesteps, ascending.

    Raises:
        SettingsError: no such spacing, or more steps than there are.
    """
    if respacing.startswith("ddim"):
        return _strided(timesteps, _count(respacing.removeprefix("ddim"), respacing))
    counts = [_count(part, respacing) for part in respacing.split(",")]
    size, longer = divmod(timesteps, len(counts))
    kept, start = [], 0
    for section, count in enumerate(counts):
        length = size + (section < longer)
        if count > length:
            raise SettingsError(f"Respacing {respacing!r} asks {count} steps of {length}: take at most {length}.")
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # Summing strides, not multiplying, rounds as the published code does.
        position = 0.0
        for _ in range(count):
            kept.append(start + round(position))
            position += stride
        start += length
    return kept


def _count(text: str, respacing: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) == 0:
        raise SettingsError(f"Respacing {respacing!r} cannot be read: write a number as 250, ddim25, or 10,15,20.")
    return int(text)


def _strided(timesteps: int, count: int) -> list[int]:
    for stride in range(1, timesteps):
        if len(range(0, timesteps, stride)) == count:
            return list(range(0, timesteps, stride))
    raise SettingsError(f"No whole stride visits {count} of {timesteps} timesteps: take a divisor, as ddim25 of 1000.")


def respaced(schedule: NoiseSchedule, respacing: str) -> NoiseSchedule:
    """Return the schedule of the kept timesteps; each keeps its own noise level.

    Raises:
        SettingsError: the respacing cannot be.
    """
    kept = torch.tensor(kept_timesteps(len(schedule), respacing))
    return NoiseSchedule(schedule.alpha_bar[kept], schedule.timesteps[kept])
