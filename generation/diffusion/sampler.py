"""Guided sampling: several arms from the same x_T, the same labels and the same noise at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from torch import Tensor

from generation.diffusion.frozen import FrozenNetwork
from generation.diffusion.lanes import Lanes, pieces
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
) -> Iterator[SamplingStep]:
    """Walk from x_T to x_0 with every arm at once.

    Args:
        unet: (x_t, timestep, label or None) -> output; sees all arms in one batch. Networks from `frozen.freeze` are
            faster, and on a processor each of torch's threads takes some of the images.
        process: over the respaced timesteps.
        guidances: one for each of the A arms.
        label: (N,) class indices, the same for every arm; or several classes an image, as `guidance.score` has it.
        draw_noise: gives (N, C, H, W) standard normal noise: x_T, then each step's, in order.
        sampler: `ddpm`, ancestral sampling; `ddim`; or `dpmpp2m`, second order for few steps.
        eta: DDIM's share of ancestral noise, 0 to 1; with 0, and by dpmpp2m, no noise is drawn after x_T.
        conditional: whether the U-Net is told the label.
        precision: of the networks' arithmetic; the diffusion's is float32.

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
    threads = torch.get_num_threads() if device.type == "cpu" and _are_frozen(unet, walks) else None
    with Lanes(threads or 1) as lanes:
        networks = _Networks(unet, walks, lanes, conditional=conditional, divided=threads is not None)
        for index in reversed(range(len(process))):
            step = torch.full((len(x_t),), index, device=device)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                output, shift = networks.evaluate(x_t, process.timesteps[step], labels)
            x_t, x_0 = solver.step(process.predict(output.float(), x_t, step), x_t, index, shift, draw)
            yield SamplingStep(index, x_t.reshape(shape)[walk_of], x_0.reshape(shape)[walk_of])


@dataclass(frozen=True)
class _Networks:
    """The U-Net and the guided walks' classifiers, which are independent of each other within a step.

    Attributes:
        unet: sees the images of all walks.
        walks: a guidance each; the images are in their order, equally many of each.
        lanes: where the networks run.
        conditional: whether the U-Net is told the label.
        divided: whether the images are divided among the lanes; whole batches run in the calling thread.
    """

    unet: Predict
    walks: Sequence[Guidance]
    lanes: Lanes
    conditional: bool
    divided: bool

    def evaluate(self, x_t: Tensor, timestep: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return the U-Net's output, (A N, C', H, W), and the scaled gradients, (A N, C, H, W), zero where unguided."""
        inputs, size = (x_t, timestep, label), len(x_t) // len(self.walks)
        guided = [(arm, walk) for arm, walk in enumerate(self.walks) if walk.classifier is not None]
        share = ceil(self.lanes.count / max(1, len(guided)))
        predicted = self._rows(x_t, 0, len(x_t), self.lanes.count)
        steered = [(walk, rows) for arm, walk in guided for rows in self._rows(x_t, arm * size, size, share)]
        calls: list[Callable[[], Tensor]] = [
            *(partial(self._predict, *(each[rows] for each in inputs)) for rows in predicted),
            *(partial(walk.shift, *(each[rows] for each in inputs)) for walk, rows in steered),
        ]
        results, shift = self.lanes.run(calls), torch.zeros_like(x_t)
        for (_, rows), gradient in zip(steered, results[len(predicted) :], strict=True):
            shift[rows] = gradient
        return torch.cat(results[: len(predicted)]), shift

    def _rows(self, x_t: Tensor, start: int, count: int, at_least: int) -> list[slice]:
        if not self.divided:
            return [slice(start, start + count)]
        parts = pieces(count, x_t[0, 0].numel(), at_least)
        return [slice(start + part.start, start + part.stop) for part in parts]

    @torch.no_grad()
    def _predict(self, x_t: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        return predict_for_classes(self.unet, x_t, timestep, label if self.conditional else None)


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
