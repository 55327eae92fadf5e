"""The Fréchet distance of two Gaussians, without forming a matrix square root, and its error.

For covariances A = FᵀF and B = GᵀG the trace of the square root of AB is the sum of the singular values of F Gᵀ (its
nuclear norm). Those are the square roots of the eigenvalues of the symmetric F B Fᵀ, found without squaring: they are
real and not negative, nothing needs to be added to a diagonal, and a set against itself gives 0. Any factor will do,
so a set with fewer vectors than dimensions is its own, which keeps the product small.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Estimate
from analysis.metrics.moments import CHUNK, Moments

# Singular values below this share of the largest are 0 but for rounding.
RANK_TOLERANCE = 1e-10
# Eigenvalues of a covariance below minus this share of the largest are more than rounding of a float32 file.
NEGATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution, and the vectors that it was fitted to where they are known.

    Attributes:
        mean: (D,) float64.
        factor: (R, D) float64, factorᵀ factor is the covariance.
        features: (N, D), or None.
    """

    mean: Tensor
    factor: Tensor
    features: Tensor | None = None

    @property
    def trace(self) -> float:
        """The covariance's trace."""
        return float(self.factor.square().sum())


def fit(features: Tensor, moments: Moments | None = None) -> Gaussian:
    """Fit a Gaussian to (N, D) features, with the unbiased covariance.

    Args:
        features: at least two vectors.
        moments: the features' own, where they are known already.

    Raises:
        MetricsError: There are fewer than two vectors, or one is not finite.
    """
    if len(features) < 2:
        raise MetricsError(f"A covariance needs at least 2 images, this set has {len(features)}: give more.")
    if not bool(torch.isfinite(features).all()):
        raise MetricsError("The features are not all finite numbers: check the weights and the images.")
    if len(features) - 1 < features.shape[1]:
        mean = features.double().mean(0)
        return Gaussian(mean, (features.double() - mean) / math.sqrt(len(features) - 1), features)
    moments = moments or Moments.of(features)
    return Gaussian(moments.mean, covariance_factor(moments.covariance), features)


def from_statistics(mean: Tensor, covariance: Tensor) -> Gaussian:
    """Return the Gaussian of a mean (D,) and a covariance (D, D).

    Raises:
        MetricsError: Their shapes do not fit, or the covariance is none.
    """
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise MetricsError(
            f"A mean of shape {tuple(mean.shape)} and a covariance of shape {tuple(covariance.shape)} do not belong "
            "together: make the reference anew."
        )
    return Gaussian(mean.double(), covariance_factor(covariance.double()))


def covariance_factor(covariance: Tensor) -> Tensor:
    """Return (R, D) F with FᵀF the (D, D) covariance, which may be singular.

    Raises:
        MetricsError: The matrix is not symmetric, or has negative eigenvalues beyond rounding.
    """
    scale = float(covariance.abs().max()) if covariance.numel() else 0.0
    if not math.isfinite(scale) or float((covariance - covariance.T).abs().max()) > NEGATIVE_TOLERANCE * scale:
        raise MetricsError("This covariance is not symmetric, or not finite: make the reference anew.")
    symmetric = (covariance + covariance.T) / 2
    cholesky: Tensor
    cholesky, failed = torch.linalg.cholesky_ex(symmetric, upper=True)
    if not int(failed):
        return cholesky
    values, vectors = torch.linalg.eigh(symmetric)
    if float(values[0]) < -NEGATIVE_TOLERANCE * scale:
        raise MetricsError(
            f"This covariance has the negative eigenvalue {float(values[0]):.3g}, so it is none: "
            "make the reference anew."
        )
    kept = values > 0
    factor: Tensor = values[kept].sqrt()[:, None] * vectors[:, kept].T
    return factor


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return |mean - mean'|² + tr(A + B - 2 √(AB)), which is not negative.

    D. Dowson and B. Landau, *The Fréchet Distance between Multivariate Normal Distributions*, 1982; M. Heusel et al.,
    *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium*, 2017.

    Raises:
        MetricsError: The dimensions differ.
    """
    product = _product(first, second)
    return _distance(first, second, float(torch.linalg.svdvals(product).sum()))


def frechet_estimate(generated: Gaussian, reference: Gaussian) -> Estimate:
    """Return the distance with the influence of each vector that is known.

    With T the optimal transport's matrix from A to B, the derivative of the distance by A is I - T, so that a vector x
    of A's has the influence 2 (mean - mean')ᵀ c + cᵀ (I - T) c with c = x - mean. With F Gᵀ = U S Vᵀ, cᵀ T c is the
    squared length of S^(-1/2) Vᵀ G c.

    Raises:
        MetricsError: The dimensions differ.
    """
    left, values, right = torch.linalg.svd(_product(generated, reference), full_matrices=False)
    kept = values > RANK_TOLERANCE * values[:1]
    scale = values[kept].rsqrt()[:, None]
    return Estimate(
        _distance(generated, reference, float(values.sum())),
        _influence(generated, reference, scale * (right[kept] @ reference.factor)),
        _influence(reference, generated, scale * (left.T[kept] @ generated.factor)),
    )


def _product(first: Gaussian, second: Gaussian) -> Tensor:
    if first.mean.shape != second.mean.shape:
        raise MetricsError(
            f"The sets have features of {len(first.mean)} and {len(second.mean)} dimensions: compute both "
            "with the same network."
        )
    return first.factor @ second.factor.T


def _distance(first: Gaussian, second: Gaussian, root_trace: float) -> float:
    # A negative rest is rounding: the distance is a squared metric.
    return max(0.0, float((first.mean - second.mean).square().sum()) + first.trace + second.trace - 2 * root_trace)


def _influence(own: Gaussian, other: Gaussian, transport: Tensor) -> Tensor | None:
    if own.features is None:
        return None
    shift = 2 * (own.mean - other.mean)
    parts = []
    for chunk in torch.split(own.features, CHUNK):
        centred = chunk.double() - own.mean
        parts.append(centred @ shift + centred.square().sum(1) - (centred @ transport.T).square().sum(1))
    return torch.cat(parts)
