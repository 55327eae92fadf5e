"""Precision, recall, density and coverage: who lies within whose nearest neighbours' reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor

from analysis.metrics.distances import Points, block_distances, blocks, pair_distances, prepare
from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Estimate

SPARE = 8
"""Neighbours that are looked at beyond the k-th, so that rounding in float32 cannot hide one."""


@dataclass(frozen=True)
class Neighbourhoods:
    """The four metrics, each with its images' influences.

    The influences take the neighbourhoods as given: the standard error is that of a share of images inside fixed
    neighbourhoods, and does not cover the neighbourhoods' own randomness.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def neighbourhood_metrics(generated: Tensor, reference: Tensor, *, k: int = 3, density_k: int = 5) -> Neighbourhoods:
    """Compare two sets of features by their nearest neighbours.

    Precision and recall after T. Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative
    Models*, 2019, Eq. 1 and 2: a vector at exactly the k-th neighbour's distance lies within. Density and coverage
    after M. Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, 2020, with the same ≤.
    Distances are Euclidean, and decided exactly (`analysis.metrics.distances`). Memory grows with N and not with N².

    Args:
        generated: (N, D).
        reference: (M, D).
        k: the neighbour that ends a neighbourhood, for precision and recall.
        density_k: the same, for density and coverage.

    Raises:
        MetricsError: A set has no k-th neighbour, or the dimensions differ.
    """
    if generated.shape[1] != reference.shape[1]:
        raise MetricsError(f"The sets have features of {generated.shape[1]} and {reference.shape[1]} dimensions.")
    fake, real = prepare(generated, reference)
    real_radii = squared_radii(real, (k, density_k))
    fake_radii = squared_radii(fake, (k,))
    within = _Within(fake, real)
    for rows, columns in blocks(fake, real):
        within.take(rows, columns, real_radii, fake_radii[0])
    return Neighbourhoods(
        _share(within.precise, of_generated=True),
        _share(within.recalled, of_generated=False),
        _share(within.holders.double() / density_k, of_generated=True),
        _share(within.covered, of_generated=False),
    )


def expected_coverage(generated: int, reference: int, k: int = 5) -> float:
    """Return the coverage to expect of that many generated images if they were as real as the reference ones.

    A reference image is missed if its k nearest among all the others are reference images; Naeem et al., 2020, Eq. 9,
    for any numbers.
    """
    return 1 - comb(reference - 1, k) / comb(reference - 1 + generated, k)


class _Within:
    """Who lies within whose neighbourhood, gathered block by block."""

    def __init__(self, fake: Points, real: Points) -> None:
        self.fake, self.real = fake, real
        device = fake.near.device
        self.precise = torch.zeros(len(fake), dtype=torch.bool, device=device)
        self.holders = torch.zeros(len(fake), dtype=torch.int64, device=device)
        self.recalled = torch.zeros(len(real), dtype=torch.bool, device=device)
        self.covered = torch.zeros(len(real), dtype=torch.bool, device=device)

    def take(self, rows: slice, columns: slice, real_radii: Sequence[np.ndarray], fake_radii: np.ndarray) -> None:
        distances, row_bound, column_bound = block_distances(self.fake, rows, self.real, columns)
        for place, radii in enumerate(real_radii):
            inside = self._inside(distances, row_bound, column_bound, rows, columns, radii[columns][None, :])
            if place == 0:
                self.precise[rows] |= inside.any(1)
            if place == len(real_radii) - 1:
                self.holders[rows] += inside.sum(1)
                self.covered[columns] |= inside.any(0)
        inside = self._inside(distances, row_bound, column_bound, rows, columns, fake_radii[rows][:, None])
        self.recalled[columns] |= inside.any(0)

    def _inside(
        self,
        distances: Tensor,
        row_bound: Tensor,
        column_bound: Tensor,
        rows: slice,
        columns: slice,
        radii: np.ndarray,
    ) -> Tensor:
        limit = torch.from_numpy(radii).float().to(distances.device)
        excess = distances - limit
        inside = excess <= 0
        doubtful = excess.abs_().sub_(row_bound[:, None]) <= column_bound[None, :]
        if bool(doubtful.any()):
            at = doubtful.nonzero().cpu().numpy()
            exact = pair_distances(self.fake, at[:, 0] + rows.start, self.real, at[:, 1] + columns.start)
            wanted = np.broadcast_to(radii, tuple(distances.shape))[at[:, 0], at[:, 1]]
            inside[doubtful] = torch.from_numpy(exact <= wanted).to(inside.device)
        return inside


def _share(values: Tensor, *, of_generated: bool) -> Estimate:
    influence = values.double()
    value = float(influence.mean())
    return Estimate(value, influence, None) if of_generated else Estimate(value, None, influence)


def squared_radii(points: Points, ks: Sequence[int]) -> list[np.ndarray]:
    """Return, for each k, the squared distance from each point to its k-th nearest other; (N,) float64.

    In units of `points.near`.

    Raises:
        MetricsError: There are not k others.
    """
    count, most = len(points), max(ks)
    if count <= most:
        raise MetricsError(
            f"The {most}. nearest neighbour needs more than {most} images, this set has {count}: give more, or ask for "
            "a smaller k."
        )
    candidates, reached = _candidates(points, min(most + SPARE, count - 1))
    width = candidates.shape[1]
    exact = pair_distances(points, np.repeat(np.arange(count), width), points, candidates.ravel())
    exact = np.sort(exact.reshape(count, width), axis=1)
    if width < count - 1:
        # Beyond `reached` there may be others; up to it every neighbour is a candidate. No distance is below 0.
        unsure = (exact[:, most - 1] > reached) & (exact[:, most - 1] > 0)
        for row in np.flatnonzero(unsure):
            others = np.delete(np.arange(count), row)
            exact[row] = np.sort(pair_distances(points, np.full(count - 1, row), points, others))[:width]
    return [exact[:, k - 1] for k in ks]


def _candidates(points: Points, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's nearest others by float32, (N, width), and the squared distance that is sure to be complete.

    Each block off the diagonal serves its rows and its columns.
    """
    count, device = len(points), points.near.device
    best = torch.full((count, width), torch.inf, device=device)
    index = torch.zeros((count, width), dtype=torch.int64, device=device)

    def enter(distances: Tensor, rows: slice, start: int) -> None:
        found = distances.topk(min(width, distances.shape[1]), dim=1, largest=False)
        values = torch.cat([best[rows], found.values], 1)
        places = torch.cat([index[rows], found.indices + start], 1)
        chosen = values.topk(width, dim=1, largest=False)
        best[rows], index[rows] = chosen.values, places.gather(1, chosen.indices)

    bounds = torch.zeros(count, device=device)
    for rows, columns in blocks(points, points):
        if columns.start < rows.start:
            continue
        distances, row_bound, _ = block_distances(points, rows, points, columns)
        bounds[rows] = row_bound
        if rows.start == columns.start:
            distances.fill_diagonal_(torch.inf)
        else:
            enter(distances.T.contiguous(), columns, rows.start)
        enter(distances, rows, columns.start)
    # Whoever is no candidate is at least as far as the last one, less the error of either product.
    reached = best[:, -1] - bounds - bounds.max()
    return index.cpu().numpy(), reached.double().cpu().numpy()
