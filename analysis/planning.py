"""How many pairs and how many raters: the power of the report's headline test, by simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from analysis.crossed import Array, estimate, sums_of_grid
from analysis.simulation import Scenario, share_of, simulate

ASSUMES = (
    "Answers are made as by the mixed logistic model, with the spread of raters and pairs given.",
    "The test is the report's headline: the share of answers, allowing for raters and pairs.",
    "Every rater is asked about every pair, or about as many as given, drawn anew for each rater.",
    "A study in which the test cannot be had counts as one that finds nothing.",
)
MOST_CELLS = 400_000_000


@dataclass(frozen=True)
class PowerGrid:
    """Power by pairs and raters.

    Attributes:
        scenario: What the studies are like, its own numbers of pairs and raters aside.
        share: The share of answers for the first arm that the effect amounts to.
        pairs: P numbers of pairs, rising.
        raters: R numbers of raters, rising.
        power: (P, R) the share of simulated studies whose test rejects.
        half_width: (P, R) the mean half-width of the interval, as a share; NaN where it can never be had.
        studies: Simulated per cell.
        confidence: Of the interval; the test's level is 1 less this.
        seed: Of the simulation.
        assumes: What the numbers take for granted, in sentences.
    """

    scenario: Scenario
    share: float
    pairs: tuple[int, ...]
    raters: tuple[int, ...]
    power: Array
    half_width: Array
    studies: int
    confidence: float
    seed: int
    assumes: tuple[str, ...] = ASSUMES


def power_grid(
    scenario: Scenario,
    *,
    pairs: Sequence[int],
    raters: Sequence[int],
    studies: int = 400,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda _share, _what: None,
) -> PowerGrid:
    """Simulate studies of every size and count how often the headline finds a preference.

    Args:
        scenario: Effect, spreads and ties; its pairs and raters are replaced. Where it asks raters about fewer pairs
            than all, a size with fewer pairs than that asks about all of them.
        pairs: Numbers of pairs.
        raters: Numbers of raters.
        studies: Per size; a power is known to about ± 1/sqrt(studies).
        confidence: Of the interval.
        seed: Each size has a stream of its own, so that adding sizes changes no other.
        progress: Called with the share that is done and what is done next.

    Raises:
        ValueError: For sizes below 2, no sizes, fewer than 2 studies, or a simulation too large to wait for.
    """
    pairs, raters = sorted(set(pairs)), sorted(set(raters))
    if not pairs or not raters or min(*pairs, *raters) < 2:
        message = "give numbers of pairs and raters of 2 or more, such as 50,100,200"
        raise ValueError(message)
    if studies < 2:
        message = f"{studies} studies per size tell nothing; simulate 2 or more, better 400"
        raise ValueError(message)
    cells = studies * sum(pairs) * sum(raters)
    if cells > MOST_CELLS:
        message = f"{cells:,} answers to simulate are over {MOST_CELLS:,}; ask for smaller sizes or fewer studies"
        raise ValueError(message)
    power, width = np.empty((len(pairs), len(raters))), np.empty((len(pairs), len(raters)))
    done = 0
    for row, count in enumerate(pairs):
        for column, size in enumerate(raters):
            progress(done / (sum(pairs) * sum(raters)), f"{count:,} pairs, {size:,} raters")
            done += count * size
            asked = scenario.pairs_per_rater
            here = replace(scenario, pairs=count, raters=size, pairs_per_rater=min(asked, count) if asked else None)
            rng = np.random.default_rng([seed, count, size])
            power[row, column], width[row, column] = _power(here, rng, studies, confidence)
    return PowerGrid(
        scenario, share_of(scenario), tuple(pairs), tuple(raters), power, width, studies, confidence, seed
    )  # fmt: skip


def _power(scenario: Scenario, rng: np.random.Generator, studies: int, confidence: float) -> tuple[float, float]:
    rejected, widths = 0, []
    for ones, answered in simulate(scenario, rng, studies):
        found = estimate(sums_of_grid(ones, answered))
        half = stats.t.ppf((1 + confidence) / 2, found.freedom) * np.sqrt(found.variance)
        known = np.isfinite(half)
        rejected += int(np.count_nonzero(np.abs(found.share - 0.5)[known] > half[known]))
        widths.append(half[known])
    known_widths = np.concatenate(widths)
    return rejected / studies, float(known_widths.mean()) if len(known_widths) else float("nan")


def trade(grid: PowerGrid) -> str:
    """Return whether more pairs beat more answers here, in one sentence.

    Of all two sizes of which one has more pairs and no more answers, the two whose powers differ most in its favour.
    """
    sizes = [(row, column) for row in range(len(grid.pairs)) for column in range(len(grid.raters))]

    def asked(size: tuple[int, int]) -> int:
        pairs = grid.pairs[size[0]]
        return grid.raters[size[1]] * min(grid.scenario.pairs_per_rater or pairs, pairs)

    rivals = [
        (float(grid.power[many] - grid.power[few]), many, few)
        for many in sizes
        for few in sizes
        if grid.pairs[many[0]] > grid.pairs[few[0]] and asked(many) <= asked(few)
    ]
    gain, many, few = max(rivals, default=(0.0, (0, 0), (0, 0)))
    if gain <= 0:
        return "None of these sizes has more pairs, no more answers and more power than another."
    more, fewer = (
        f"{grid.pairs[size[0]]:,} pairs by {grid.raters[size[1]]:,} raters ({asked(size):,} answers)"
        for size in (many, few)
    )
    return (
        f"More pairs beat more answers: {more} have a power of {100 * grid.power[many]:.0f}%, {fewer} one of "
        f"{100 * grid.power[few]:.0f}%."
    )
