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
    real_radii, fake_radii = Radii(real, (k, density_k)), Radii(fake, (k,))
    within = _Within(fake, real)
    for rows, columns in blocks(fake, real):
        within.take(rows, columns, real_radii, fake_radii)
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


class Radii:
    """The squared distances from each point to its k-th nearest others, for some k; exact where that is asked for.

    In units of `points.near`.

    Attributes:
        near: (ks, N) float32, off by at most `bound`.
        bound: (N,) float32.
    """

    def __init__(self, points: Points, ks: Sequence[int]) -> None:
        """Find each point's nearest others.

        Raises:
            MetricsError: There are not k others.
        """
        count, most = len(points), max(ks)
        if count <= most:
            raise MetricsError(
                f"The {most}. nearest neighbour needs more than {most} images, this set has {count}: give more, or "
                "ask for a smaller k."
            )
        self._points, self._ranks = points, [k - 1 for k in ks]
        distances, self._candidates, self.bound = _candidates(points, min(most + SPARE, count - 1))
        self.near = distances.T[self._ranks]
        # Beyond the last candidate there may be others, less far than it by the error of either product.
        self._complete_to = (distances[:, -1] - self.bound).double().cpu().numpy()
        self._exact = np.full((len(ks), count), np.nan)

    def exact(self, place: int, rows: np.ndarray) -> np.ndarray:
        """Return the exact squared radii of some points for the place-th k, float64."""
        missing = np.unique(rows[np.isnan(self._exact[place, rows])])
        if len(missing):
            self._exact[:, missing] = self._sorted(missing)[:, self._ranks].T
        radii: np.ndarray = self._exact[place, rows]
        return radii

    def _sorted(self, rows: np.ndarray) -> np.ndarray:
        """Return the exact squared distances of these points to their candidates, ascending."""
        count, width = len(self._points), self._candidates.shape[1]
        others = self._candidates[rows]
        flat = pair_distances(self._points, np.repeat(rows, width), self._points, others.ravel())
        result = np.sort(flat.reshape(len(rows), width), axis=1)
        last = result[:, max(self._ranks)]
        # No distance is below 0, and with every other point a candidate none is missing.
        unsure = (last > self._complete_to[rows]) & (last > 0) & (width < count - 1)
        for place in np.flatnonzero(unsure):
            everyone = np.delete(np.arange(count), rows[place])
            apart = pair_distances(self._points, np.full(count - 1, rows[place]), self._points, everyone)
            result[place] = np.sort(apart)[:width]
        return result


class _Within:
    """Who lies within whose neighbourhood, gathered block by block."""

    def __init__(self, fake: Points, real: Points) -> None:
        self.fake, self.real = fake, real
        device = fake.near.device
        self.precise = torch.zeros(len(fake), dtype=torch.bool, device=device)
        self.holders = torch.zeros(len(fake), dtype=torch.int64, device=device)
        self.recalled = torch.zeros(len(real), dtype=torch.bool, device=device)
        self.covered = torch.zeros(len(real), dtype=torch.bool, device=device)

    def take(self, rows: slice, columns: slice, real_radii: Radii, fake_radii: Radii) -> None:
        """Enter the block of these generated and these reference images."""
        block = _Block(self.fake, self.real, rows, columns)
        self.precise[rows] |= block.within_columns(real_radii, 0).any(1)
        dense = block.within_columns(real_radii, 1)
        self.holders[rows] += dense.sum(1)
        self.covered[columns] |= dense.any(0)
        self.recalled[columns] |= block.within_rows(fake_radii, 0).any(0)


class _Block:
    """A block of distances, compared with radii."""

    def __init__(self, first: Points, second: Points, rows: slice, columns: slice) -> None:
        self.first, self.second, self.rows, self.columns = first, second, rows, columns
        self.distances, self.row_bound, self.column_bound = block_distances(first, rows, second, columns)

    def within_columns(self, radii: Radii, place: int) -> Tensor:
        """Tell which rows lie within which columns' radii; (rows, columns)."""
        limit, slack = radii.near[place, self.columns], radii.bound[self.columns] + self.column_bound
        excess = self.distances - limit
        inside = excess <= 0
        doubtful = (excess.abs_().sub_(self.row_bound[:, None]) <= slack).nonzero().cpu().numpy()
        return self._settled(inside, doubtful, radii, place, doubtful[:, 1] + self.columns.start)

    def within_rows(self, radii: Radii, place: int) -> Tensor:
        """Tell which columns lie within which rows' radii; (rows, columns)."""
        limit, slack = radii.near[place, self.rows, None], (radii.bound[self.rows] + self.row_bound)[:, None]
        excess = self.distances - limit
        inside = excess <= 0
        doubtful = (excess.abs_().sub_(self.column_bound) <= slack).nonzero().cpu().numpy()
        return self._settled(inside, doubtful, radii, place, doubtful[:, 0] + self.rows.start)

    def _settled(self, inside: Tensor, doubtful: np.ndarray, radii: Radii, place: int, owners: np.ndarray) -> Tensor:
        """Decide the doubtful pairs, whose radii are the owners', exactly."""
        if len(doubtful):
            rows, columns = doubtful[:, 0], doubtful[:, 1]
            exact = pair_distances(self.first, rows + self.rows.start, self.second, columns + self.columns.start)
            verdict = torch.from_numpy(exact <= radii.exact(place, owners))
            inside[torch.from_numpy(rows), torch.from_numpy(columns)] = verdict.to(inside.device)
        return inside


def _share(values: Tensor, *, of_generated: bool) -> Estimate:
    influence = values.double()
    value = float(influence.mean())
    return Estimate(value, influence, None) if of_generated else Estimate(value, None, influence)


def _candidates(points: Points, width: int) -> tuple[Tensor, np.ndarray, Tensor]:
    """Return each point's nearest others by float32, ascending, and the bound of the distances' error.

    Each block off the diagonal serves its rows and its columns.

    Returns:
        Squared distances (N, width); the others' indices (N, width); (N,).
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
    return best, index.cpu().numpy(), bounds + bounds.max()
