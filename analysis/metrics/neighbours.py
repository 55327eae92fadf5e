"""Precision, recall, density and coverage: who lies within whose nearest neighbours' reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor

from analysis.metrics.distances import Points, block_distances, blocks, pair_distances, prepare, room_for
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
    within = _Within(fake, real, real_radii, fake_radii)
    for rows, columns in blocks(fake, real):
        within.take(rows, columns)
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

    def __init__(self, fake: Points, real: Points, real_radii: Radii, fake_radii: Radii) -> None:
        self.fake, self.real, self.real_radii, self.fake_radii = fake, real, real_radii, fake_radii
        self.room = room_for(fake, real)
        device = fake.near.device
        self.precise = torch.zeros(len(fake), dtype=torch.bool, device=device)
        self.holders = torch.zeros(len(fake), dtype=torch.int64, device=device)
        self.recalled = torch.zeros(len(real), dtype=torch.bool, device=device)
        self.covered = torch.zeros(len(real), dtype=torch.bool, device=device)

    def take(self, rows: slice, columns: slice) -> None:
        """Enter the block of these generated and these reference images."""
        distances, row_bound, column_bound = block_distances(self.fake, rows, self.real, columns, self.room)
        # What is certainly outside is most of it, and one comparison by each set's radii leaves it behind.
        limits, slack = self.real_radii.near[:, columns], self.real_radii.bound[columns] + column_bound
        slack = slack + row_bound.max()
        near = (distances <= limits.amax(0) + slack).nonzero()
        apart = distances[near[:, 0], near[:, 1]]
        near += torch.tensor([rows.start, columns.start], device=near.device)
        near_precise, near_dense = (
            self._inside(near, apart, self.real_radii, place, near[:, 1], column_bound.max() + row_bound.max())
            for place in range(2)
        )
        self.precise[near[near_precise, 0]] = True
        self.holders += torch.bincount(near[near_dense, 0], minlength=len(self.holders))
        self.covered[near[near_dense, 1]] = True
        slack = self.fake_radii.bound[rows] + row_bound + column_bound.max()
        near = (distances <= (self.fake_radii.near[0, rows] + slack)[:, None]).nonzero()
        apart = distances[near[:, 0], near[:, 1]]
        near += torch.tensor([rows.start, columns.start], device=near.device)
        inside = self._inside(near, apart, self.fake_radii, 0, near[:, 0], column_bound.max() + row_bound.max())
        self.recalled[near[inside, 1]] = True

    def _inside(self, near: Tensor, apart: Tensor, radii: Radii, place: int, owners: Tensor, bound: Tensor) -> Tensor:
        """Tell which of some pairs (generated, reference) lie within their owners' radii."""
        excess, slack = apart - radii.near[place, owners], radii.bound[owners] + bound
        inside = excess <= -slack
        doubtful = ((excess <= slack) & ~inside).nonzero()[:, 0]
        if len(doubtful):
            rows, columns, owned = (part[doubtful].cpu().numpy() for part in (near[:, 0], near[:, 1], owners))
            exact = pair_distances(self.fake, rows, self.real, columns)
            inside[doubtful] = torch.from_numpy(exact <= radii.exact(place, owned)).to(inside.device)
        return inside


def _share(values: Tensor, *, of_generated: bool) -> Estimate:
    influence = values.double()
    value = float(influence.mean())
    return Estimate(value, influence, None) if of_generated else Estimate(value, None, influence)


def _candidates(points: Points, width: int) -> tuple[Tensor, np.ndarray, Tensor]:
    """Return each point's nearest others by float32, ascending, and the bound of the distances' error.

    Each block above the diagonal serves its rows and its columns.

    Returns:
        Squared distances (N, width); the others' indices (N, width); (N,).
    """
    nearest, room = _Nearest(len(points), width, points.near.device), room_for(points)
    bounds = torch.zeros(len(points), device=points.near.device)
    for rows, columns in blocks(points, points):
        if rows.start >= columns.stop:
            continue
        distances, row_bound, _ = block_distances(points, rows, points, columns, room)
        bounds[rows] = row_bound
        if rows.start >= columns.start:
            distances.diagonal(rows.start - columns.start).fill_(torch.inf)
        else:
            nearest.enter(distances.T, columns, rows.start)
        nearest.enter(distances, rows, columns.start)
    return nearest.best, nearest.index.cpu().numpy(), bounds + bounds.max()


class _Nearest:
    """The nearest points so far, of each of N.

    Attributes:
        best: (N, width) distances, ascending.
        index: (N, width) whose.
    """

    def __init__(self, count: int, width: int, device: torch.device) -> None:
        self.best = torch.full((count, width), torch.inf, device=device)
        self.index = torch.zeros((count, width), dtype=torch.int64, device=device)

    def enter(self, distances: Tensor, rows: slice, start: int) -> None:
        """Enter the distances from these points to those from `start` on; few are near enough to be looked at again."""
        width, worst = self.best.shape[1], self.best[rows, -1:]
        many = bool(torch.isinf(worst).any())
        near = torch.empty((0, 2)) if many else (distances < worst).nonzero()
        if many or len(near) > width * len(distances):
            found = distances.topk(min(width, distances.shape[1]), dim=1, largest=False)
            values, places = found.values, found.indices + start
        elif len(near):
            values, places = _by_row(distances, near, start)
        else:
            return
        values = torch.cat([self.best[rows], values], 1)
        chosen = values.topk(width, dim=1, largest=False)
        self.best[rows] = chosen.values
        self.index[rows] = torch.cat([self.index[rows], places], 1).gather(1, chosen.indices)


def _by_row(distances: Tensor, near: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Return some of a block's distances, given by (row, column) in order, and whose they are, each row filled up."""
    row, column = near.unbind(1)
    counts = row.bincount(minlength=len(distances))
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    values = torch.full((len(distances), int(counts.max())), torch.inf, device=distances.device)
    others = torch.zeros(values.shape, dtype=torch.int64, device=distances.device)
    values[row, place], others[row, place] = distances[row, column], column + start
    return values, others
