"""Figure 3: gradients of log p(y | x_t, t) for held-out images, and how much of their energy is on the object."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generation.datasets import LabelledImages, to_bytes
from generation.datasets.masks import Masks
from generation.diffusion.process import Process
from generation.guidance.score import class_gradient
from generation.pictures.heldout import Named, clean_images, noisy_images
from generation.pictures.intervals import Mean, mean_of
from generation.pictures.sheets import Pixels, Sheet, tile

SHOWN_AT = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Timesteps that are shown unless others are asked for, as shares of T."""


def min_max(gradient: Tensor) -> Tensor:
    """Bring each image's smallest value to 0 and its largest to 1, over all channels together (Figure 3).

    Args:
        gradient: (N, C, H, W).

    Returns:
        (N, C, H, W) in [0, 1]; an image of one value becomes 0.5 throughout.
    """
    flat = gradient.double().flatten(1)
    low, high = flat.amin(1)[:, None], flat.amax(1)[:, None]
    scaled = torch.where(high > low, (flat - low) / (high - low), torch.full_like(flat, 0.5))
    return scaled.reshape(gradient.shape).to(gradient.dtype)


def as_picture(gradient: Tensor) -> Tensor:
    """Return min-max normalised gradients as (N, C, H, W) uint8."""
    return to_bytes(2 * min_max(gradient) - 1)


def energy_share(gradient: Tensor, on_object: Tensor) -> Tensor:
    """Return the share of the gradient's energy, the sum of its squares, that is on the object.

    Args:
        gradient: (N, C, H, W).
        on_object: (N, H, W) bool.

    Returns:
        (N,) float64 in [0, 1]; not a number where a gradient is zero throughout.
    """
    # Squares of a confident classifier's gradients are below float32's least number.
    energy = gradient.double().square().sum(1)
    share: Tensor = (energy * on_object).sum((1, 2)) / energy.sum((1, 2))
    return share


def default_timesteps(timesteps: int) -> list[int]:
    """Return the timesteps that are shown of a schedule of so many: 0, 50, 100, 200, 300, 500, 700, 900 of 1000."""
    return sorted({int(share * timesteps) for share in SHOWN_AT})


def gradient_sheet(
    classifiers: Sequence[Named],
    data: LabelledImages,
    process: Process,
    *,
    rows: Sequence[int],
    timesteps: Sequence[int],
    names: Sequence[str],
    seed: int,
    zoom: int | None = None,
) -> Sheet:
    """Draw gradients of images on their true classes: for each image a row of each classifier.

    Args:
        classifiers: in the order of their rows.
        data: held-out images.
        process: over all training timesteps.
        rows: which images.
        timesteps: the columns; the image itself stands before them.
        names: of the classes.
        seed: decides the noise, the same for every classifier.
        zoom: as `Sheet`.
    """
    device = process.timesteps.device
    x_0, label = clean_images(data, rows, device), data.labels[list(rows)].to(device)
    lines: list[list[Pixels | None]] = [[] for _ in range(len(rows) * len(classifiers))]
    for number, timestep in enumerate(timesteps):
        x_t = noisy_images(x_0, rows, process, timestep, seed)
        told = torch.full((len(rows),), timestep, device=device)
        for place, classifier in enumerate(classifiers):
            drawn = as_picture(class_gradient(classifier.classify, x_t, told, label))
            for image in range(len(rows)):
                line = lines[image * len(classifiers) + place]
                if not number:
                    line.append(tile(to_bytes(x_0[image])) if place == 0 else None)
                line.append(tile(drawn[image]))
    labels = [
        f"{names[int(label[image])]}\n{classifier.name}" if place == 0 else classifier.name
        for image in range(len(rows))
        for place, classifier in enumerate(classifiers)
    ]
    headings = ["image", *(f"t = {timestep}" for timestep in timesteps)]
    return Sheet(lines, labels, headings, group=len(classifiers), zoom=zoom)


@dataclass(frozen=True)
class EnergyAt:
    """The share of gradient energy on the object at one timestep.

    Attributes:
        timestep: of the noise.
        shares: each classifier's, in their order.
        difference: the last classifier's less the first one's, image by image.
        left_out: images of which some classifier's gradient is zero throughout; they are in no mean here.
    """

    timestep: int
    shares: tuple[Mean, ...]
    difference: Mean
    left_out: int


@dataclass(frozen=True)
class Energy:
    """Shares of gradient energy by timestep.

    Attributes:
        names: the classifiers'.
        area: the share of pixels on the object, which a gradient that knew of no object would have.
        at: by timestep, rising.
    """

    names: tuple[str, ...]
    area: Mean
    at: tuple[EnergyAt, ...]


def measure_energy(
    classifiers: Sequence[Named],
    data: LabelledImages,
    masks: Masks,
    process: Process,
    *,
    rows: Sequence[int],
    timesteps: Sequence[int],
    seed: int,
    batch_size: int,
    on_batch: Callable[[int], object],
) -> Energy:
    """Measure which share of the gradients' energy is on the object.

    Args:
        classifiers: all see the same noisy images.
        data: held-out images with their true classes.
        masks: where the objects are.
        process: over all training timesteps.
        rows: which images.
        timesteps: at which noise.
        seed: decides the noise.
        batch_size: images at once.
        on_batch: told how many images are done, each once for each timestep.

    Raises:
        DatasetError: an image or its mask cannot be read.
    """
    device, wanted = process.timesteps.device, sorted(set(timesteps))
    areas: list[Tensor] = []
    shares: list[list[list[Tensor]]] = [[[] for _ in classifiers] for _ in wanted]
    for start in range(0, len(rows), batch_size):
        part = list(rows[start : start + batch_size])
        x_0, label = clean_images(data, part, device), data.labels[part].to(device)
        on_object = masks(part).to(device)
        areas.append(on_object.double().mean((1, 2)).cpu())
        for place, timestep in enumerate(wanted):
            x_t = noisy_images(x_0, part, process, timestep, seed)
            told = torch.full((len(part),), timestep, device=device)
            for number, classifier in enumerate(classifiers):
                gradient = class_gradient(classifier.classify, x_t, told, label)
                shares[place][number].append(energy_share(gradient, on_object).cpu())
            on_batch(len(part))
    at = [_summary(timestep, _stack(found)) for timestep, found in zip(wanted, shares, strict=True)]
    return Energy(tuple(classifier.name for classifier in classifiers), mean_of(torch.cat(areas).numpy()), tuple(at))


def _stack(parts: Sequence[Sequence[Tensor]]) -> npt.NDArray[np.float64]:
    """Return (classifiers, images) from each classifier's batches."""
    return np.stack([torch.cat(list(batches)).numpy() for batches in parts])


def _summary(timestep: int, shares: npt.NDArray[np.float64]) -> EnergyAt:
    known = ~np.isnan(shares).any(0)
    kept = shares[:, known]
    return EnergyAt(timestep, tuple(mean_of(row) for row in kept), mean_of(kept[-1] - kept[0]), int((~known).sum()))
