"""Squared distances in blocks: products in float32 decide what they can, float64 the rest.

A product in float32 is off by at most a bound that follows from the vectors' lengths. Where a comparison is closer than
that bound, the distance is computed anew from the vectors' differences, in float64. So the answers are those of exact
arithmetic on the float32 features, ties included, at the speed of float32 products.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 2048
"""Columns of a block of distances."""
ROWS = 512
"""Rows of a block, which divide BLOCK. 4 MiB stay in a processor's cache from the product to the last comparison."""
UNIT = 2.0**-24
"""Half the distance from 1 to the next float32."""
GATHERED = 1 << 18
"""Numbers at once where distances are computed pair by pair."""


@dataclass(frozen=True)
class Points:
    """Vectors, and what is needed to bound the error of their products.

    Attributes:
        exact: (N, D) as they were given.
        near: (N, D) float32, moved and scaled so that little is lost.
        squares: (N,) float32, the squared lengths of `near`.
        scale: `near` is this many times smaller than `exact`.
    """

    exact: Tensor
    near: Tensor
    squares: Tensor
    scale: float

    def __len__(self) -> int:
        return len(self.exact)


def prepare(*sets: Tensor) -> tuple[Points, ...]:
    """Centre and scale sets of (N, D) vectors alike, so that their distances can be taken."""
    count = sum(len(features) for features in sets)
    sums = [part.sum(0, dtype=torch.float64) for features in sets for part in torch.split(features, BLOCK)]
    centre = torch.stack(sums).sum(0) / count
    near, largest = [], 0.0
    for features in sets:
        near.append(torch.empty(features.shape, dtype=torch.float32, device=features.device))
        for own, part in zip(torch.split(near[-1], ROWS), torch.split(features, ROWS), strict=True):
            torch.sub(part, centre, out=own)
            least, most = own.aminmax()
            largest = max(largest, -float(least), float(most))
    # A power of two, so that scaling rounds nothing.
    scale = 2.0 ** math.ceil(math.log2(largest)) if largest else 1.0
    for own in near:
        own.div_(scale)
    return tuple(Points(features, own, _squares(own), scale) for features, own in zip(sets, near, strict=True))


def _squares(vectors: Tensor) -> Tensor:
    return torch.cat([part.square().sum(1) for part in torch.split(vectors, BLOCK)])


def block_distances(
    first: Points, rows: slice, second: Points, columns: slice, room: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the block's squared distances in float32, and each row's and column's share of their error's bound.

    Args:
        first: the rows' set.
        rows: which of them.
        second: the columns' set.
        columns: which of them.
        room: where to put the distances, of a block's size at least; each block then takes the place of the last.
    """
    own, other = first.squares[rows], second.squares[columns]
    place = None if room is None else room[: len(own) * len(other)].view(len(own), len(other))
    distances = torch.addmm(other[None, :], first.near[rows], second.near[columns].T, alpha=-2, out=place)
    distances.add_(own[:, None])
    # |fl(xᵀy) - xᵀy| is at most D u |x| |y|, and 2 |x| |y| at most |x|² + |y|²; the rest of the bound is for the
    # roundings of `near`, of the squares and of the sums, and for the radius that is compared with.
    bound = (first.near.shape[1] + 32) * UNIT
    return distances, own * bound, other * bound


def room_for(*sets: Points) -> Tensor:
    """Return room for the distances of a block of any two of the sets."""
    longest = max(len(points) for points in sets)
    return torch.empty(min(ROWS, longest) * min(BLOCK, longest), device=sets[0].near.device)


def pair_distances(first: Points, rows: np.ndarray, second: Points, columns: np.ndarray) -> np.ndarray:
    """Return the squared distances of the pairs (rows[i], columns[i]) in float64, in units of `near`.

    A pair's distance is the same whichever of the two comes first.
    """
    result = np.empty(len(rows))
    step = max(1, GATHERED // max(1, first.exact.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        left = first.exact[torch.from_numpy(rows[part])].double()
        difference = left.sub_(second.exact[torch.from_numpy(columns[part])]).cpu().numpy()
        result[part] = np.einsum("ij,ij->i", difference, difference)
    return result / first.scale**2


def blocks(first: Points, second: Points) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks of a matrix of distances, columns by columns."""
    for columns in _slices(len(second), BLOCK):
        for rows in _slices(len(first), ROWS):
            yield rows, columns


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
