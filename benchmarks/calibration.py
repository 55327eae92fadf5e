"""Do the report's intervals cover what they should, and do its tests reject as often as they should?

Simulates studies whose truth is known, takes the share of answers for the first arm with the interval and the test of
the report's headline, and counts. Beside it: taking the answers as independent, every pair weighing alike, and the
two-way bootstrap. Prints a table in Markdown.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from tqdm import tqdm

from analysis.absent import Absent
from analysis.clustered import bootstrap_share, clustered_share
from analysis.crossed import Array, estimate, sums_of_grid
from analysis.simulation import Scenario, share_of, simulate

PAIR_SD, TIE_RATE, EFFECT = 1.07, 0.27, 0.4
RATER_SDS = (0.0, 0.3, 0.8)
SIZES = ((200, 25), (60, 60), (60, 12), (40, 6))


@dataclass(frozen=True)
class Row:
    """Percents of studies, over the scenario with an effect and the one without."""

    scenario: Scenario
    covered: float
    covered_null: float
    rejected: float
    naive_rejected: float
    absent: float


def scenarios(sizes: tuple[tuple[int, int], ...]) -> Iterator[Scenario]:
    """Yield each size with full and partial raters and each spread of raters.

    Partial raters answer half of the pairs on average, and are twice as many: the answers stay as many.
    """
    for (pairs, raters), partial, rater_sd in itertools.product(sizes, (False, True), RATER_SDS):
        count = 2 * raters if partial else raters
        yield Scenario(pairs, count, EFFECT, PAIR_SD, rater_sd, TIE_RATE, stops_early=partial)


def headline(scenario: Scenario, rng: np.random.Generator, studies: int) -> tuple[Array, Array, Array]:
    """Return per study the headline's (t against the truth, its critical value, z taking answers as independent)."""
    truth, t, critical, z = share_of(scenario), [], [], []
    for ones, answered in simulate(scenario, rng, studies):
        found = estimate(sums_of_grid(ones, answered))
        t.append((found.share - truth) / np.sqrt(found.variance))
        critical.append(stats.t.ppf(0.975, found.freedom))
        z.append((found.share - truth) / np.sqrt(found.naive))
    return np.concatenate(t), np.concatenate(critical), np.concatenate(z)


def measure(scenario: Scenario, rng: np.random.Generator, studies: int) -> Row:
    """Return one row of the table."""
    null_t, null_critical, null_z = headline(replace(scenario, effect=0.0), rng, studies)
    t, critical, _ = headline(scenario, rng, studies)
    known, null_known = np.isfinite(t), np.isfinite(null_t)
    inside, null_inside = np.abs(t) <= critical, np.abs(null_t) <= null_critical
    return Row(
        scenario,
        covered=100 * float(inside[known].mean()),
        covered_null=100 * float(null_inside[null_known].mean()),
        rejected=100 * float((~null_inside)[null_known].mean()),
        naive_rejected=100 * float((np.abs(null_z) > stats.norm.ppf(0.975)).mean()),
        absent=100 * float((~known).mean()),
    )


def measure_others(scenario: Scenario, rng: np.random.Generator, studies: int, draws: int) -> tuple[float, float]:
    """Return the coverage, in percent, with every pair weighing alike and by the two-way bootstrap."""
    truth, inside = share_of(scenario), []
    for ones, answered in simulate(scenario, rng, studies):
        for study in range(len(ones)):
            rater, pair = np.nonzero(answered[study])
            rater, pair = (np.unique(codes, return_inverse=True)[1] for codes in (rater, pair))
            chose = ones[study][answered[study] > 0] > 0
            found = (
                clustered_share(chose, rater, pair, by_pair=True),
                bootstrap_share(chose, rater, pair, rng, draws=draws),
            )
            inside.append([not isinstance(one, Absent) and one.low <= truth <= one.high for one in found])
    by_pair, bootstrap = 100 * np.mean(inside, axis=0)
    return float(by_pair), float(bootstrap)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000, help="per row and effect")
    parser.add_argument("--others", type=int, default=1000, help="studies per row of the second table; 0 leaves it out")
    parser.add_argument("--draws", type=int, default=400, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    streams = np.random.SeedSequence(options.seed)
    rows = list(scenarios(SIZES))
    print("| pairs | raters | answer | rater SD | covers, effect 0.4 | covers, no effect | rejects | naive rejects |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for scenario, seed in zip(tqdm(rows, leave=False), streams.spawn(len(rows)), strict=True):
        row = measure(scenario, np.random.default_rng(seed), options.studies)
        print(
            f"| {scenario.pairs} | {scenario.raters} | {answering(scenario)} | {scenario.rater_sd:g} "
            f"| {row.covered:.1f} | {row.covered_null:.1f} | {row.rejected:.1f} | {row.naive_rejected:.1f} |",
            flush=True,
        )
    if not options.others:
        return
    rows = list(scenarios(SIZES[:1]))
    print("\n| pairs | raters | answer | rater SD | pairs alike: covers | bootstrap: covers |")
    print("| --- | --- | --- | --- | --- | --- |")
    for scenario, seed in zip(tqdm(rows, leave=False), streams.spawn(len(rows)), strict=True):
        by_pair, bootstrap = measure_others(scenario, np.random.default_rng(seed), options.others, options.draws)
        print(
            f"| {scenario.pairs} | {scenario.raters} | {answering(scenario)} | {scenario.rater_sd:g} "
            f"| {by_pair:.1f} | {bootstrap:.1f} |",
            flush=True,
        )


def answering(scenario: Scenario) -> str:
    """Return how much of the study a rater answers."""
    return "a part" if scenario.stops_early else "all"


if __name__ == "__main__":
    main()
