"""Means over images and their intervals."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over images.

    Attributes:
        value: the mean.
        low: where its interval begins; not a number with fewer than two images.
        high: where it ends.
        images: how many.
    """

    value: float
    low: float
    high: float
    images: int

    def text(self, unit: str = " %") -> str:
        """Return the mean and its interval in hundredths: `61.2 % (60.4 to 62.0)`."""
        if math.isnan(self.low):
            return "-" if math.isnan(self.value) else f"{100 * self.value:.1f}{unit}"
        return f"{100 * self.value:.1f}{unit} ({100 * self.low:.1f} to {100 * self.high:.1f})"

    def as_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON, which has no word for what is no number."""
        return {
            name: None if math.isnan(value) else value
            for name, value in (("mean", self.value), ("low", self.low), ("high", self.high), ("images", self.images))
        }


def mean_of(values: npt.NDArray[np.float64], confidence: float = CONFIDENCE) -> Mean:
    """Return the mean of one number for each image, with Student's interval.

    The interval takes the images as independent draws from all images like these, and their mean as normal.
    """
    count = len(values)
    if not count:
        return Mean(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if count == 1:
        return Mean(mean, math.nan, math.nan, 1)
    reach = float(student.ppf((1 + confidence) / 2, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return Mean(mean, mean - reach, mean + reach, count)
