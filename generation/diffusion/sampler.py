"""Guided sampling: several arms from the same x_T, the same labels and the same noise at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from generation.diffusion.frozen import FrozenNetwork
from generation.diffusion.lanes import Call, Lanes, pieces
from generation.diffusion.process import Process
from generation.diffusion.solvers import build_solver
from generation.errors import SettingsError
from generation.guidance.score import Guidance, Predict, predict_for_classes
from generation.presets import SamplerName


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
    lanes: Lanes | None = None,
) -> Iterator[SamplingStep]:
    """Walk from x_T to x_0 with every arm at once.

    Args:
        unet: (x_t, timestep, label or None) -> output; sees all arms in one batch. Networks from `frozen.freeze` are
            faster.
        process: over the respaced timesteps.
        guidances: one for each of the A arms.
        label: (N,) class indices, the same for every arm; or several classes an image, as `guidance.score` has it.
        draw_noise: gives (N, C, H, W) standard normal noise: x_T, then each step's, in order.
        sampler: `ddpm`, ancestral sampling; `ddim`; or `dpmpp2m`, second order for few steps.
        eta: DDIM's share of ancestral noise, 0 to 1; with 0, and by dpmpp2m, no noise is drawn after x_T.
        conditional: whether the U-Net is told the label.
        precision: of the networks' arithmetic; the diffusion's is float32.
        lanes: where a processor's cores each take some of the images, if the networks are from `frozen.freeze`; others
            see whole batches, in the calling thread.

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
    shape = (len(walks), len(label), *x_t.shape[1:])
    networks = _Networks(unet, tuple(walks), conditional=conditional)
    divided = lanes if device.type == "cpu" and _are_frozen(unet, walks) else None
    for index in reversed(range(len(process))):
        step = torch.full((len(x_t),), index, device=device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output, shift = networks.evaluate(x_t, process.timesteps[step], labels, divided)
        x_t, x_0 = solver.step(process.predict(output.float(), x_t, step), x_t, index, shift, draw)
        yield SamplingStep(index, x_t.reshape(shape)[walk_of], x_0.reshape(shape)[walk_of])


@dataclass(frozen=True)
class _Networks:
    """The U-Net and the guided walks' classifiers, which are independent of each other within a step.

    Attributes:
        unet: sees the images of all walks.
        walks: a guidance each; the images are in their order, equally many of each.
        conditional: whether the U-Net is told the label.
    """

    unet: Predict
    walks: tuple[Guidance, ...]
    conditional: bool

    def evaluate(self, x_t: Tensor, timestep: Tensor, label: Tensor, lanes: Lanes | None) -> tuple[Tensor, Tensor]:
        """Return the U-Net's output, (A N, C', H, W), and the scaled gradients, (A N, C, H, W), zero where unguided."""
        inputs, size = (x_t, timestep, label), len(x_t) // len(self.walks)
        guided = [arm for arm, walk in enumerate(self.walks) if walk.classifier is not None]
        at_least = lanes.count if lanes else None
        share = ceil(lanes.count / max(1, len(guided))) if lanes else None
        predicted = _rows(x_t, 0, len(x_t), at_least)
        steered = [(arm, rows) for arm in guided for rows in _rows(x_t, arm * size, size, share)]
        calls: list[Call] = [
            *(("predict", _of(rows, inputs)) for rows in predicted),
            *(("shift", (arm, *_of(rows, inputs))) for arm, rows in steered),
        ]
        results = lanes.run(self, calls) if lanes else [getattr(self, name)(*arguments) for name, arguments in calls]
        shift = torch.zeros_like(x_t)
        for (_, rows), gradient in zip(steered, results[len(predicted) :], strict=True):
            shift[rows] = gradient
        return torch.cat(results[: len(predicted)]), shift

    @torch.no_grad()
    def predict(self, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        """Return the U-Net's output for some images of any walks."""
        return predict_for_classes(self.unet, x_t, timestep, label if self.conditional else None)

    def shift(self, arm: int, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        """Return the scaled gradients for some images of a walk."""
        return self.walks[arm].shift(x_t, timestep, label)


def _rows(x_t: Tensor, start: int, count: int, at_least: int | None) -> list[slice]:
    """Divide a batch's rows into at least so many pieces, or leave them together."""
    parts = [slice(0, count)] if at_least is None else pieces(count, x_t[0, 0].numel(), at_least)
    return [slice(start + part.start, start + part.stop) for part in parts]


def _of(rows: slice, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor[rows] for tensor in tensors)


def _are_frozen(unet: Predict, walks: Sequence[Guidance]) -> bool:
    """Say whether all networks are known to take images one by one, from any thread."""
    networks = (unet, *(walk.classifier for walk in walks if walk.classifier is not None))
    return all(isinstance(network, FrozenNetwork) for network in networks)


def _distinct(guidances: Sequence[Guidance]) -> tuple[list[Guidance], list[int]]:
    """Return the guidances that differ, and which of them each arm has.

    Arms that are steered alike share one walk, and are then equal to the bit whatever a batch does to rounding.
    """
    steered = [guidance if guidance.classifier is not None and guidance.scale else Guidance() for guidance in guidances]
    walks = [guidance for place, guidance in enumerate(steered) if guidance not in steered[:place]]
    return walks, [walks.index(guidance) for guidance in steered]
