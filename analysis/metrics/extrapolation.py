"""FID without the bias of finitely many images: the distance at several counts, continued to infinitely many."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.metrics.frechet import Gaussian, fit, frechet_distance

POINTS = 15
SMALLEST_SHARE = 10
"""The smallest subset is this many times smaller than the whole, as in the paper at 50,000 images."""


@dataclass(frozen=True)
class Extrapolation:
    """A line through distances over 1 / count.

    Attributes:
        value: the line at infinitely many generated images; noise may take it below 0.
        counts: of the subsets.
        distances: at these counts.
    """

    value: float
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_infinity(
    generated: Tensor, reference: Gaussian, *, seed: int, points: int = POINTS
) -> Extrapolation | None:
    """Return FID∞, or None where there are too few images: the smallest subset needs twice as many as dimensions.

    M. Chong and D. Forsyth, *Effectively Unbiased FID and Inception Score and Where to Find Them*, 2020, with random
    subsets of evenly spaced sizes. The bias by the reference's own count stays.

    Args:
        generated: (N, D).
        reference: what to compare with.
        seed: decides the subsets.
        points: how many distances to compute.
    """
    count, dimensions = generated.shape
    smallest = max(2 * dimensions, count // SMALLEST_SHARE)
    if count < 2 * smallest:
        return None
    rng = np.random.default_rng(seed)
    counts = [int(size) for size in np.linspace(smallest, count, points).round()]
    distances = []
    for size in counts:
        chosen = torch.from_numpy(np.sort(rng.permutation(count)[:size])).to(generated.device)
        distances.append(frechet_distance(fit(generated[chosen]), reference))
    slope = np.polynomial.polynomial.polyfit(1 / np.array(counts), np.array(distances), 1)
    return Extrapolation(float(slope[0]), tuple(counts), tuple(distances))
