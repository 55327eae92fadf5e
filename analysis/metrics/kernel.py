"""KID: the squared maximum mean discrepancy with the cubic kernel, over all pairs, unbiased."""

from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Estimate

BLOCK = 2048


def kernel_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Return KID: mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k(x, y) = (xᵀy / D + 1)³.

    M. Bińkowski et al., *Demystifying MMD GANs*, 2018, Eq. 4; of all pairs at once, and not as a mean over random
    subsets, whose expectation is the same and whose variance is larger. Products are in the features' own precision,
    sums in float64. The value may be negative: it is unbiased.

    Args:
        generated: (N, D), N at least 2.
        reference: (M, D), M at least 2.

    Raises:
        MetricsError: A set has fewer than two vectors, or the dimensions differ.
    """
    for features in (generated, reference):
        if len(features) < 2:
            raise MetricsError(f"KID needs at least 2 images in each set, one has {len(features)}: give more.")
    if generated.shape[1] != reference.shape[1]:
        raise MetricsError(f"The sets have features of {generated.shape[1]} and {reference.shape[1]} dimensions.")
    within_generated, within_reference = _own_means(generated), _own_means(reference)
    across, back = _cross_sums(generated, reference)
    across, back = across / len(reference), back / len(generated)
    value = within_generated.mean() + within_reference.mean() - 2 * across.mean()
    return Estimate(float(value), 2 * (within_generated - across), 2 * (within_reference - back))


def _own_means(features: Tensor) -> Tensor:
    """Return, of each vector, the kernel's mean over the others; (N,) float64."""
    total = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for rows, columns in _blocks(len(features), len(features)):
        if columns.start < rows.start:
            continue
        kernel = _kernel(features[rows], features[columns])
        if rows.start == columns.start:
            kernel.fill_diagonal_(0)
            total[rows] += kernel.sum(1, dtype=torch.float64)
        else:
            total[rows] += kernel.sum(1, dtype=torch.float64)
            total[columns] += kernel.sum(0, dtype=torch.float64)
    return total / (len(features) - 1)


def _cross_sums(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    of_first = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    of_second = torch.zeros(len(second), dtype=torch.float64, device=first.device)
    for rows, columns in _blocks(len(first), len(second)):
        kernel = _kernel(first[rows], second[columns])
        of_first[rows] += kernel.sum(1, dtype=torch.float64)
        of_second[columns] += kernel.sum(0, dtype=torch.float64)
    return of_first, of_second


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    product = (first @ second.T).div_(first.shape[1]).add_(1)
    return product.square().mul_(product)


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, BLOCK):
        for column in range(0, columns, BLOCK):
            yield slice(row, min(row + BLOCK, rows)), slice(column, min(column + BLOCK, columns))
