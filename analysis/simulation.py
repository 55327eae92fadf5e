"""Studies made by chance, to plan real ones and to see whether intervals keep what they promise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit

from analysis.crossed import Array

# So many answers are held at a time; it bounds the memory.
BLOCK = 2_000_000


@dataclass(frozen=True)
class Scenario:
    """A study as it might be: answer k chooses the first arm with logit `effect` + rater's part + pair's part.

    Attributes:
        pairs: How many.
        raters: How many.
        effect: On the logit scale; 0 is no preference.
        pair_sd: Standard deviation of the pairs' parts, which are normal, on the logit scale.
        rater_sd: The same of the raters'.
        tie_rate: How often a rater answers "same" instead, from 0 up to 1, whatever the pair.
        pairs_per_rater: How many pairs a rater is asked about, drawn anew for each; None is all of them.
        stops_early: Let each rater stop after a number of pairs that is uniform from 1 to all they are asked about.
    """

    pairs: int
    raters: int
    effect: float = 0.0
    pair_sd: float = 0.0
    rater_sd: float = 0.0
    tie_rate: float = 0.0
    pairs_per_rater: int | None = None
    stops_early: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no study.

        Raises:
            ValueError: Naming the value.
        """
        for name, least in (("pairs", 1), ("raters", 1), ("pair_sd", 0), ("rater_sd", 0), ("tie_rate", 0)):
            if not getattr(self, name) >= least:
                message = f"{name.replace('_', ' ')} {getattr(self, name)} is below {least}"
                raise ValueError(message)
        if not self.tie_rate < 1:
            message = f"tie rate {self.tie_rate} leaves no answer that chooses a side; it must be below 1"
            raise ValueError(message)
        if not np.isfinite([self.effect, self.pair_sd, self.rater_sd]).all():
            message = "effect and standard deviations must be finite numbers"
            raise ValueError(message)
        if self.pairs_per_rater is not None and not 1 <= self.pairs_per_rater <= self.pairs:
            message = f"{self.pairs_per_rater} pairs per rater of {self.pairs} pairs; it must be from 1 to all of them"
            raise ValueError(message)


def share_of(scenario: Scenario) -> float:
    """Return the share that chooses the first arm over all raters and pairs like these, by Gauss-Hermite quadrature."""
    nodes, weights = hermegauss(80)
    spread = np.hypot(scenario.pair_sd, scenario.rater_sd)
    return float(weights @ expit(scenario.effect + spread * nodes) / weights.sum())


def effect_of(share: float, *, pair_sd: float, rater_sd: float) -> float:
    """Return the effect on the logit scale under which a share, strictly between 0 and 1, chooses the first arm."""
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        below = share_of(Scenario(1, 1, middle, pair_sd, rater_sd)) < share
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def simulate(scenario: Scenario, rng: np.random.Generator, studies: int) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of studies: (S, raters, pairs) ones where the first arm was chosen, and where a side was.

    Args:
        scenario: What the studies are like.
        rng: Decides everything.
        studies: How many, in all blocks together.
    """
    shape = scenario.raters, scenario.pairs
    block = max(1, BLOCK // (scenario.raters * scenario.pairs))
    for start in range(0, studies, block):
        size = min(block, studies - start)
        rater = scenario.rater_sd * rng.standard_normal((size, scenario.raters, 1))
        pair = scenario.pair_sd * rng.standard_normal((size, 1, scenario.pairs))
        answered = rng.random((size, *shape)) >= scenario.tie_rate
        asked = scenario.pairs if scenario.pairs_per_rater is None else scenario.pairs_per_rater
        if scenario.stops_early or asked < scenario.pairs:
            last = rng.integers(1, asked + 1, (size, scenario.raters, 1)) if scenario.stops_early else asked
            answered &= rng.random((size, *shape)).argsort(axis=-1) < last
        ones = (rng.random((size, *shape)) < expit(scenario.effect + rater + pair)) & answered
        yield ones.astype(float), answered.astype(float)
