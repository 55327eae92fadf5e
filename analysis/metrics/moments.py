"""Mean and covariance of features: streamed, merged, in float64."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from analysis.metrics.errors import MetricsError

CHUNK = 2048
"""Rows that are taken to float64 at once."""


@dataclass(frozen=True)
class Moments:
    """What a set of feature vectors adds up to; sets that were seen apart are merged exactly.

    Attributes:
        count: n, how many vectors.
        mean: (D,) float64.
        scatter: (D, D) float64, the sum of (x - mean)(x - mean)ᵀ.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Return the moments of (N, D) features, N at least 1, seen in chunks."""
        return merge(cls._of_chunk(chunk.double()) for chunk in torch.split(features, CHUNK))

    @classmethod
    def _of_chunk(cls, chunk: Tensor) -> "Moments":
        mean = chunk.mean(0)
        centred = chunk - mean
        return cls(len(chunk), mean, centred.T @ centred)

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both sets together.

        T. Chan, G. Golub and R. LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances*, 1979.
        """
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter.addr_(shift, shift, alpha=self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """The (D, D) unbiased covariance.

        Raises:
            MetricsError: There are fewer than two vectors.
        """
        if self.count < 2:
            raise MetricsError(f"A covariance needs at least 2 images, this set has {self.count}: give more.")
        return self.scatter / (self.count - 1)


def merge(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts together, whatever batches or processes they come from.

    Raises:
        MetricsError: There is no part.
    """
    listed = iter(parts)
    first = next(listed, None)
    if first is None:
        raise MetricsError("There are no features to average: give at least 2 images.")
    return reduce(Moments.merged, listed, first)


def moments_of_batches(batches: Iterable[Tensor]) -> Moments:
    """Return the moments of features that come in batches, none of which is kept."""
    return merge(Moments.of(torch.as_tensor(batch)) for batch in batches if len(batch))
