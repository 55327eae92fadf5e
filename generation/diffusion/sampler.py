"""Guided sampling: several arms from the same x_T, the same labels and the same noise at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.diffusion.process import Process
from generation.diffusion.solvers import build_solver
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
        sampler: `ddpm`, ancestral sampling; `ddim`; or `dpmpp2m`, second order for few steps.
        eta: DDIM's share of ancestral noise, 0 to 1; with 0, and by dpmpp2m, no noise is drawn after x_T.
        conditional: whether the U-Net is told the label.
        precision: of the networks' arithmetic; the diffusion's is float32.
        shared: whether all arms go through the U-Net in one batch; None lets the device and the batch decide.

    Yields:
        Each step's outcome; the last one's `x` is the arms' images, in about [-1, 1].

    Raises:
        SettingsError: no arm, an eta out of range, or an eta for another sampler than `ddim`.
    """
    if not guidances:
        raise SettingsError("No arm to sample: give at least one guidance.")
    solver = build_solver(sampler, process, eta)
    device, (walks, walk_of) = label.device, _distinct(guidances)

    def draw() -> Tensor:
        return draw_noise().to(device).repeat(len(walks), 1, 1, 1)

    x_t, labels = draw(), torch.cat([label] * len(walks))
    if shared is None:
        shared = device.type != "cpu" or len(x_t) <= CPU_SHARED_IMAGES
    batch = len(x_t) if shared else len(label)
    for index in reversed(range(len(process))):
        step = torch.full((len(x_t),), index, device=device)
        timestep = process.timesteps[step]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = _call_unet(unet, x_t, timestep, labels if conditional else None, batch)
            shift = _guide(walks, x_t, timestep, labels)
        x_t, x_0 = solver.step(process.predict(output.float(), x_t, step), x_t, index, shift, draw)
        shape = (len(walks), len(label), *x_t.shape[1:])
        yield SamplingStep(index, x_t.reshape(shape)[walk_of], x_0.reshape(shape)[walk_of])


def _distinct(guidances: Sequence[Guidance]) -> tuple[list[Guidance], list[int]]:
    """Return the guidances that differ, and which of them each arm has.

    Arms that are steered alike share one walk, and are then equal to the bit whatever a batch does to rounding.
    """
    steered = [guidance if guidance.classifier is not None and guidance.scale else Guidance() for guidance in guidances]
    walks = [guidance for place, guidance in enumerate(steered) if guidance not in steered[:place]]
    return walks, [walks.index(guidance) for guidance in steered]


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
