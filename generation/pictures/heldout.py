"""Held-out images for the pictures: which ones, with which noise, through which classifiers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from generation import noise
from generation.datasets import LabelledImages, to_unit_range
from generation.diffusion.process import Process
from generation.errors import SettingsError
from generation.guidance.attack import Classify

CHOICE, NOISE, TARGETS = range(3)


@dataclass(frozen=True)
class Named:
    """A classifier with the name that it has in pictures, and the SHA-256 of its file."""

    name: str
    classify: Classify
    sha256: str = ""


def in_precision(network: nn.Module, device: torch.device, precision: torch.dtype) -> Classify:
    """Return a classifier on its device, whose networks' arithmetic is of a precision and whose logits are float32."""
    network = network.to(device)

    def classify(x_t: Tensor, timestep: Tensor) -> Tensor:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits: Tensor = network(x_t, timestep)
        return logits.float()

    return classify


def choose_rows(images: int, limit: int | None, seed: int) -> list[int]:
    """Return which of so many images to measure on, rising; fewer are among more. All without a limit."""
    order = noise.stream(seed, noise.PICTURES, CHOICE).permutation(images)
    return sorted(order[:limit].tolist())


def choose_examples(data: LabelledImages, count: int, seed: int) -> list[int]:
    """Return images to show: one of each class while there are classes left, drawn by the seed alone; by class."""
    order = noise.stream(seed, noise.PICTURES, CHOICE).permutation(len(data)).tolist()
    seen: Counter[int] = Counter()
    turns = {}
    for row in order:
        label = int(data.labels[row])
        turns[row] = seen[label]
        seen[label] += 1
    # The first image of each class, then the second of each, and so on.
    chosen = sorted(order, key=lambda row: turns[row])[:count]
    return sorted(chosen, key=lambda row: (int(data.labels[row]), row))


def check_rows(rows: Sequence[int], data: LabelledImages) -> list[int]:
    """Return rows that somebody named.

    Raises:
        SettingsError: the data set has no such image.
    """
    for row in rows:
        if row >= len(data):
            raise SettingsError(f"No held-out image {row}: {data.name} has {len(data)}, counted from 0.")
    return list(rows)


def clean_images(data: LabelledImages, rows: Sequence[int], device: torch.device) -> Tensor:
    """Return some images as the networks take them: (N, C, H, W) in [-1, 1]."""
    return to_unit_range(data.images[torch.tensor(list(rows))].to(device))


def noisy_images(x_0: Tensor, rows: Sequence[int], process: Process, timestep: int, seed: int) -> Tensor:
    """Return x_t of some images.

    The noise follows from the seed, the timestep and the image's row: it is the same for every classifier, batch size,
    choice of images and device.

    Args:
        x_0: (N, C, H, W) in [-1, 1].
        rows: the images' places in their data set.
        process: over all training timesteps.
        timestep: 0 to T - 1.
        seed: decides the noise.
    """
    streams = [noise.stream(seed, noise.PICTURES, NOISE, timestep, row) for row in rows]
    drawn = np.stack([stream.standard_normal(tuple(x_0.shape[1:]), dtype=np.float32) for stream in streams])
    step = torch.full((len(x_0),), timestep, device=x_0.device)
    return process.add_noise(x_0, step, torch.from_numpy(drawn).to(x_0.device))
