"""Figure 5: what the diffusion takes for the final image on its way there, all arms from the same noise."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.batches import BatchMaker, is_out_of_memory
from generation.datasets import to_bytes
from generation.errors import SettingsError
from generation.guidance.score import Classify, class_gradient
from generation.noise import choose_labels
from generation.pictures.gradients import as_picture
from generation.pictures.sheets import Sheet, tile


@dataclass(frozen=True)
class Trajectory:
    """The way of one pair's images.

    Attributes:
        pair: its index.
        class_name: what it was guided towards.
        arms: their names.
        timesteps: the K steps that were looked at, falling.
        x_0: (A, K, C, H, W) uint8, each arm's prediction of x_0 at these steps.
        gradients: for each arm (K, C, H, W), the unscaled gradient of log p(y | x_t, t) by its classifier at the x_t of
            these steps, which steered it; None for an arm without guidance.
        images: (A, C, H, W) uint8, the finished images.
    """

    pair: int
    class_name: str
    arms: tuple[str, ...]
    timesteps: tuple[int, ...]
    x_0: Tensor
    gradients: tuple[Tensor | None, ...]
    images: Tensor


def evenly_spaced(steps: int, columns: int) -> list[int]:
    """Return which of a walk's steps are looked at, first and last included, evenly spaced and falling to 0.

    50 steps in 8 columns: 49, 42, 35, 28, 21, 14, 7, 0. Fewer steps than columns are all looked at.
    """
    if columns >= steps:
        return list(reversed(range(steps)))
    if columns == 1:
        return [0]
    return [round((steps - 1) * place / (columns - 1)) for place in reversed(range(columns))]


def trace_pairs(
    maker: BatchMaker,
    pairs: Sequence[int],
    *,
    columns: int,
    on_step: Callable[[], object],
) -> Iterator[Trajectory]:
    """Make pairs again, in the batches that they were made in, and keep what was on the way.

    So the arithmetic rounds as it did: on the same kind of device, with the same number of threads, the finished images
    are the pairs' to the byte. Where the memory is too small for a batch, its pairs are made one by one.

    Args:
        maker: of the plan that the pairs were made by.
        pairs: their indices.
        columns: how many steps to look at.
        on_step: told of each reverse step.

    Yields:
        A trajectory for each pair, rising.

    Raises:
        SettingsError: the plan has no such pair, or there is not even memory for a single one.
    """
    for pair in pairs:
        if pair >= maker.plan.count:
            raise SettingsError(f"There is no pair {pair}: the set has {maker.plan.count}, counted from 0.")
    for batch in maker.plan.batches:
        wanted = sorted({pair for pair in pairs if pair in batch})
        if not wanted:
            continue
        try:
            yield from _trace(maker, batch, wanted, columns, on_step)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            for pair in wanted:
                yield from _trace(maker, range(pair, pair + 1), [pair], columns, on_step)


def _trace(
    maker: BatchMaker, batch: range, wanted: Sequence[int], columns: int, on_step: Callable[[], object]
) -> list[Trajectory]:
    """Walk one batch."""
    kept = evenly_spaced(len(maker.process), columns)
    rows = [pair - batch.start for pair in wanted]
    label = maker.label(batch)[rows]
    x_t = maker.noise(batch).draw().to(maker.device)[rows].expand(len(maker.plan.arms), -1, -1, -1, -1)
    predictions: list[Tensor] = []
    gradients: list[list[Tensor]] = [[] for _ in maker.plan.arms]
    for step in maker.sample(batch):
        if step.step in kept:
            predictions.append(to_bytes(step.x_0[:, rows]).cpu())
            for arm, guidance in enumerate(maker.networks.guidances):
                if guidance.classifier is not None and guidance.scale:
                    gradients[arm].append(_gradient(maker, guidance.classifier, x_t[arm], label, step.step))
        x_t = step.x[:, rows]
        on_step()
    x_0, images = torch.stack(predictions, dim=2), to_bytes(x_t).cpu()
    targets = choose_labels(maker.plan.seed, wanted, maker.plan.classes)
    return [
        Trajectory(
            pair=pair,
            class_name=target.name,
            arms=tuple(arm.name for arm in maker.plan.arms),
            timesteps=tuple(int(maker.process.timesteps[step]) for step in kept),
            x_0=x_0[:, place],
            gradients=tuple(torch.stack(found)[:, place] if found else None for found in gradients),
            images=images[:, place],
        )
        for place, (pair, target) in enumerate(zip(wanted, targets, strict=True))
    ]


def _gradient(maker: BatchMaker, classifier: Classify, x_t: Tensor, label: Tensor, step: int) -> Tensor:
    """Return an arm's gradient at x_t, (N, C, H, W)."""
    timestep, precision = maker.process.timesteps[step].expand(len(x_t)), maker.plan.precision
    with torch.autocast(maker.device.type, precision, enabled=precision != torch.float32):
        return class_gradient(classifier, x_t, timestep, label).cpu()


def trajectory_sheet(trajectory: Trajectory, *, zoom: int | None = None) -> Sheet:
    """Draw predictions of x_0, arms under one another; the finished images stand last."""
    rows = [
        [*(tile(prediction) for prediction in predictions), tile(image)]
        for predictions, image in zip(trajectory.x_0, trajectory.images, strict=True)
    ]
    return Sheet(rows, trajectory.arms, [*_headings(trajectory), "image"], zoom=zoom)


def steering_sheet(trajectory: Trajectory, *, zoom: int | None = None) -> Sheet | None:
    """Draw the min-max normalised gradients that steered a pair; None where no arm was steered."""
    steered = [
        (arm, gradient, image)
        for arm, gradient, image in zip(trajectory.arms, trajectory.gradients, trajectory.images, strict=True)
        if gradient is not None
    ]
    if not steered:
        return None
    rows = [[*(tile(picture) for picture in as_picture(gradient)), tile(image)] for _, gradient, image in steered]
    return Sheet(rows, [arm for arm, _, _ in steered], [*_headings(trajectory), "image"], zoom=zoom)


def _headings(trajectory: Trajectory) -> list[str]:
    return [f"t = {timestep}" for timestep in trajectory.timesteps]
