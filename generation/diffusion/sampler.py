"""Guided sampling: several arms from the same x_T, the same labels and the same noise at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.diffusion.process import Prediction, Process
from generation.errors import SettingsError
from generation.guidance.score import Guidance, Predict, predict_for_classes
from generation.presets import SamplerName

# Measured by benchmarks/arms.py: on a processor, one batch of all arms is up to 1.2 times faster than a batch for each
# arm while the batch is small, and up to 1.2 times slower beyond about this many images.
CPU_SHARED_IMAGES = 8


@dataclass(frozen=True)
class SamplingStep:
    """What a reverse step made.

    Attributes:
        step: index into the schedule, falling to 0.
        x: (A, N, C, H, W), x_{t-1} of each arm.
        x_0: (A, N, C, H, W), each arm's prediction of x_0 at this step.
    """

    step: int
    x: Tensor
    x_0: Tensor


def reverse_steps(
    unet: Predict,
    process: Process,
    guidances: Sequence[Guidance],
    label: Tensor,
    draw_noise: Callable[[], Tensor],
    *,
    sampler: SamplerName = "ddpm",
    eta: float = 0.0,
    conditional: bool = True,
    precision: torch.dtype = torch.float32,
    shared: bool | None = None,
) -> Iterator[SamplingStep]:
    """Walk from x_T to x_0 with every arm at once.

    Args:
        unet: (x_t, timestep, label or None) -> output; sees all arms in one batch where that is faster.
        process: over the respaced timesteps.
        guidances: one for each of the A arms.
        label: (N,) class indices, the same for every arm; or several classes an image, as `guidance.score` has it.
        draw_noise: gives (N, C, H, W) standard normal noise: x_T, then each step's, in order.
        sampler: `ddpm`, ancestral sampling; or `ddim`.
        eta: DDIM's share of ancestral noise, 0 to 1; with 0 no noise is drawn after x_T.
        conditional: whether the U-Net is told the label.
        precision: of the networks' arithmetic; the diffusion's is float32.
        shared: whether all arms go through the U-Net in one batch; None lets the device and the batch decide.

    Yields:
        Each step's outcome; the last one's `x` is the arms' images, in about [-1, 1].

    Raises:
        SettingsError: no arm, or an eta out of range.
    """
    if not guidances:
        raise SettingsError("No arm to sample: give at least one guidance.")
    if not 0 <= eta <= 1:
        raise SettingsError(f"eta = {eta} cannot be: take a number from 0, no noise, to 1, ancestral noise.")
    device, arms = label.device, len(guidances)
    x_t = draw_noise().to(device)
    images = len(x_t)
    x_t = x_t.repeat(arms, 1, 1, 1)
    labels = torch.cat([label] * arms)
    if shared is None:
        shared = device.type != "cpu" or len(x_t) <= CPU_SHARED_IMAGES
    batch = len(x_t) if shared else images
    for index in reversed(range(len(process))):
        step = torch.full((len(x_t),), index, device=device)
        timestep = process.timesteps[step]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = _call_unet(unet, x_t, timestep, labels if conditional else None, batch)
            shift = _guide(guidances, x_t, timestep, labels)
        prediction = process.predict(output.float(), x_t, step)
        if sampler == "ddim":
            noise = draw_noise().to(device).repeat(arms, 1, 1, 1) if eta else None
            x_t, x_0 = _ddim_step(process, prediction, x_t, step, shift, noise, eta)
        else:
            noise = draw_noise().to(device).repeat(arms, 1, 1, 1)
            x_t, x_0 = _ancestral_step(prediction, shift, noise, last=index == 0)
        shape = (arms, images, *x_t.shape[1:])
        yield SamplingStep(index, x_t.reshape(shape), x_0.reshape(shape))


@torch.no_grad()
def _call_unet(unet: Predict, x_t: Tensor, timestep: Tensor, label: Tensor | None, batch: int) -> Tensor:
    """Return the U-Net's output, (A N, C', H, W), from batches of `batch` images."""
    outputs = []
    for start in range(0, len(x_t), batch):
        rows = slice(start, start + batch)
        outputs.append(predict_for_classes(unet, x_t[rows], timestep[rows], None if label is None else label[rows]))
    return torch.cat(outputs)


def _guide(guidances: Sequence[Guidance], x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
    """Return every arm's scaled gradient, (A N, C, H, W); zero where an arm is unguided."""
    shift = torch.zeros_like(x_t)
    size = len(x_t) // len(guidances)
    for arm, guidance in enumerate(guidances):
        rows = slice(arm * size, (arm + 1) * size)
        gradient = guidance.shift(x_t[rows], timestep[rows], label[rows])
        if gradient is not None:
            shift[rows] = gradient
    return shift


def _ancestral_step(prediction: Prediction, shift: Tensor, noise: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
    """Draw x_{t-1} ~ N(mean + variance * shift, variance): Eq. 4, the mean moved by the guidance.

    The last step adds no noise (Dhariwal & Nichol, 2021, Algorithm 1).
    """
    mean = prediction.mean + prediction.log_variance.exp() * shift
    if last:
        return mean, prediction.x_0
    return mean + (0.5 * prediction.log_variance).exp() * noise, prediction.x_0


def _ddim_step(
    process: Process,
    prediction: Prediction,
    x_t: Tensor,
    step: Tensor,
    shift: Tensor,
    noise: Tensor | None,
    eta: float,
) -> tuple[Tensor, Tensor]:
    """Move along the predicted noise, itself moved by the guidance (Dhariwal & Nichol, 2021, Algorithm 2).

    noise' = noise - sqrt(1 - alpha_bar) * shift; the x_0 that it implies is not clipped again.
    """
    alpha_bar = process.alpha_bar[step][:, None, None, None]
    previous = process.alpha_bar_prev[step][:, None, None, None]
    predicted = process.noise_from_x_0(x_t, step, prediction.x_0) - (1 - alpha_bar).sqrt() * shift
    x_0 = process.x_0_from_noise(x_t, step, predicted)
    sigma = eta * ((1 - previous) / (1 - alpha_bar)).sqrt() * (1 - alpha_bar / previous).sqrt()
    x = previous.sqrt() * x_0 + (1 - previous - sigma.square()).clamp_min(0).sqrt() * predicted
    # At the last step sigma is 0.
    return (x if noise is None else x + sigma * noise), x_0
