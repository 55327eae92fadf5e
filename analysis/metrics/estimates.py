"""An estimate with its standard error from the influence of each image; differences of two estimates."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from scipy import stats
from torch import Tensor

from analysis.metrics.errors import MetricsError


@dataclass(frozen=True)
class Estimate:
    """A metric's value, and how much each image contributes to its error.

    To first order a metric is its limit plus the mean of the images' influences, so that the influences' variance
    over their number is the metric's variance (infinitesimal jackknife; B. Efron, *The Jackknife, the Bootstrap and
    Other Resampling Plans*, 1982). Constants in the influences do not matter.

    Attributes:
        value: the metric.
        generated: (N,) float64, each generated image's influence; None where those are not known, or where the metric
            takes them as given.
        reference: (M,) float64, each reference image's, likewise.
    """

    value: float
    generated: Tensor | None = None
    reference: Tensor | None = None

    @property
    def standard_error(self) -> float | None:
        """Of the value; None where no image's influence is known."""
        return _standard_error(self.generated, self.reference)

    def minus(self, other: Self, *, matched: bool) -> "Difference":
        """Return this estimate less another one that was made against the same reference images.

        Args:
            other: of the other arm.
            matched: the generated images are pairs, in the same order, so that what a pair's images share falls out;
                otherwise the arms are independent.

        Raises:
            MetricsError: matched arms have different numbers of images.
        """
        value = self.value - other.value
        reference = _subtract(self.reference, other.reference)
        if not matched:
            opposite = None if other.generated is None else -other.generated
            return Difference(value, _standard_error(self.generated, opposite, reference), matched=False)
        if self.generated is not None and other.generated is not None and len(self.generated) != len(other.generated):
            raise MetricsError(
                f"The arms have {len(self.generated)} and {len(other.generated)} images, so they are no pairs: "
                "give the same pairs of both."
            )
        return Difference(value, _standard_error(_subtract(self.generated, other.generated), reference), matched=True)


@dataclass(frozen=True)
class Difference:
    """One arm's metric less another's."""

    value: float
    standard_error: float | None
    matched: bool


def share_interval(estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of images, which is honest near 0 and 1 too.

    Args:
        estimate: a mean of zeros and ones, as one set's influences.
        confidence: between 0 and 1.
    """
    images = estimate.generated if estimate.generated is not None else estimate.reference
    if images is None:
        raise MetricsError("A share's interval needs to know which images are in it.")
    inside = round(float(images.sum()))
    result = stats.binomtest(inside, len(images)).proportion_ci(confidence, method="wilson")
    return float(result.low), float(result.high)


def interval(value: float, standard_error: float, confidence: float) -> tuple[float, float]:
    """Return the normal interval of that confidence around a value."""
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * standard_error
    return value - reach, value + reach


def _subtract(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else first - second


def _standard_error(*independent: Tensor | None) -> float | None:
    known = [influence for influence in independent if influence is not None and len(influence) > 1]
    if not known:
        return None
    return math.sqrt(sum(float(torch.var(influence.double())) / len(influence) for influence in known))
