"""Held-out images and the noise that they are measured with."""

from collections.abc import Sequence

import numpy as np
import torch

from generation import noise
from generation.datasets import LabelledImages, to_unit_range
from generation.training.loop import Batch

# The first and the last timestep, both included.
Bucket = tuple[int, int]


def held_out_batch(
    data: LabelledImages, rows: Sequence[int], bucket: Bucket, seed: int, device: torch.device | str
) -> Batch:
    """Return some held-out images, each with a timestep drawn uniformly from a bucket, and noise.

    Both follow from the seed, the bucket and the image's place in the data set, and from nothing else: they are the
    same for every network, batch, device and number of processes.

    Args:
        data: the held-out images.
        rows: places in `data`.
        bucket: the range of timesteps.
        seed: decides timesteps and noise.
        device: where the batch is to be.
    """
    chosen = torch.tensor(rows)
    x_0 = to_unit_range(data.images[chosen].to(device))
    streams = [noise.stream(seed, noise.EVALUATION, *bucket, row) for row in rows]
    step = torch.tensor([int(stream.integers(*bucket, endpoint=True)) for stream in streams])
    drawn = np.stack([stream.standard_normal(tuple(x_0.shape[1:]), dtype=np.float32) for stream in streams])
    return Batch(x_0, data.labels[chosen].to(device), step.to(device), torch.from_numpy(drawn).to(device))
