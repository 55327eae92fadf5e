"""Every random number's origin: a stream that its names alone decide.

A pair's noise depends on the run's seed and the pair's index, and on nothing else: not on the batch, the shard, the
device, the order or a resume. It is drawn on the processor, so that every device gets the same.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from generation.errors import SettingsError

T = TypeVar("T")

# Streams of different purposes never meet: each has a word of its own in its key.
PAIR, LABELS, BATCHES, ITERATION, AUGMENTATION, EVALUATION, PICTURES = range(7)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of a seed and a key.

    Args:
        seed: the run's seed, 0 or more.
        key: non-negative integers, the purpose first.

    Returns:
        A counter-based generator (Philox), independent of those of all other seeds and keys.

    Raises:
        SettingsError: a negative seed.
    """
    if seed < 0:
        raise SettingsError(f"seed = {seed} cannot be: take a whole number of at least 0.")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


class PairNoise:
    """The noise of some pairs: x_T first, then one draw for each reverse step.

    Each pair draws from its own stream, so a pair's noise is the same in any company.
    """

    def __init__(self, seed: int, pair_indices: Sequence[int], shape: tuple[int, int, int]) -> None:
        """Open the pairs' streams.

        Args:
            seed: the run's seed.
            pair_indices: the pairs, in the batch's order.
            shape: an image's (channels, height, width).
        """
        self.streams = [stream(seed, PAIR, index) for index in pair_indices]
        self.shape = shape

    def draw(self) -> Tensor:
        """Return the next (N, C, H, W) standard normal float32 noise."""
        noise = [generator.standard_normal(self.shape, dtype=np.float32) for generator in self.streams]
        return torch.from_numpy(np.stack(noise))


def choose_labels(seed: int, pair_indices: Sequence[int], classes: Sequence[T]) -> list[T]:
    """Return each pair's class: every class once in random order, then again in another, and so on.

    Args:
        seed: the run's seed.
        pair_indices: the pairs.
        classes: the classes to take, or combinations of classes, without repetition.

    Returns:
        A class for each pair; it depends on the seed, the pair's index and the list of classes only.
    """
    orders: dict[int, np.ndarray] = {}
    labels = []
    for index in pair_indices:
        turn, place = divmod(index, len(classes))
        if turn not in orders:
            orders[turn] = stream(seed, LABELS, turn).permutation(len(classes))
        labels.append(classes[int(orders[turn][place])])
    return labels


def torch_generator(device: torch.device, seed: int, *key: int) -> torch.Generator:
    """Return a torch generator on a device, seeded from the named stream; for training, not for pairs."""
    generator = torch.Generator(device)
    generator.manual_seed(int(stream(seed, *key).integers(2**63)))
    return generator
