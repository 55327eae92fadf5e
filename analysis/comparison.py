"""Everything that is computed of two arms' answers, as one frozen value."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import stats

from analysis.absent import Absent
from analysis.agreement import Agreement, agreement
from analysis.answers import ordinary
from analysis.audit import Audit, audit
from analysis.clustered import BootstrapShare, ClusteredShare, bootstrap_share, clustered_share
from analysis.heterogeneity import Heterogeneity, Shrunken, examples, shrunken_classes, shrunken_pairs
from analysis.mixed import ASSUMES as MIXED_ASSUMES
from analysis.mixed import MixedFit, fit_mixed_logit
from analysis.monitoring import Monitoring, monitor
from analysis.preference import Consistency, ThresholdRow, check_table, pair_counts, threshold_table
from analysis.ranking import Contest, Worths, davidson, rao_kupper
from analysis.resampling import RowIntervals, ThresholdTest, threshold_intervals, threshold_tests
from analysis.sides import Codes, Sides, sides
from analysis.significance import Significance, SignTest, side_choice, sign_test

Step = Callable[[str], None]


@dataclass(frozen=True)
class PairCounts:
    """One pair's answers: how many chose the first arm, the second, or neither."""

    pair: str
    class_name: str
    first: int
    second: int
    same: int

    @property
    def answers(self) -> int:
        """All answers on this pair."""
        return self.first + self.second + self.same


@dataclass(frozen=True)
class Caterpillar:
    """Random effects of one kind in rising order: names, effects on the logit scale, and standard deviations."""

    names: tuple[str, ...]
    effects: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Mixed:
    """The crossed mixed logistic model of the answers that chose a side.

    Attributes:
        effect: The logit of an average rater's choosing the first arm on an average pair.
        standard_error: Of the effect.
        low: The lower end of the effect's normal interval.
        high: Its upper end.
        p_value: Two-sided, normal, of no effect.
        rater_sd: On the logit scale; None where no rater answered twice, so that it cannot be told.
        pair_sd: On the logit scale; None where no pair was answered twice.
        log_likelihood: The Laplace approximation.
        raters: Their effects; none without `rater_sd`.
        pairs: Their effects; none without `pair_sd`.
        confidence: Of the interval.
        assumes: What the numbers take for granted, in sentences.
    """

    effect: float
    standard_error: float
    low: float
    high: float
    p_value: float
    rater_sd: float | None
    pair_sd: float | None
    log_likelihood: float
    raters: Caterpillar
    pairs: Caterpillar
    confidence: float
    assumes: tuple[str, ...] = MIXED_ASSUMES


@dataclass(frozen=True)
class Comparison:
    """Two arms against each other, the first before the second in the order of their names.

    Attributes:
        first_arm: The first's name.
        second_arm: The second's.
        pairs: Their pairs with an answer, in natural order.
        same: Answers that chose neither side.
        thresholds: The paper's table.
        intervals: Of the table's shares.
        consistency: Of the table as printed.
        tests: Of the table's rows, together.
        significance: Taking answers as independent.
        headline: The share of answers for the first arm, allowing for raters and pairs.
        by_pair: The same with every pair weighing alike.
        bootstrap: Of the headline's share.
        signs: The sign test on pairs.
        mixed: The crossed mixed model.
        davidson: Worths with ties.
        rao_kupper: Worths with ties, otherwise.
        agreement: Between raters.
        differences: By pair and by class.
        audit: What stands out.
        monitoring: What could have been known when.
    """

    first_arm: str
    second_arm: str
    pairs: tuple[PairCounts, ...]
    same: int
    thresholds: tuple[ThresholdRow, ...]
    intervals: tuple[RowIntervals, ...] | Absent
    consistency: Consistency
    tests: tuple[ThresholdTest, ...] | Absent
    significance: Significance
    headline: ClusteredShare | Absent
    by_pair: ClusteredShare | Absent
    bootstrap: BootstrapShare | Absent
    signs: SignTest
    mixed: Mixed | Absent
    davidson: Worths | Absent
    rao_kupper: Worths | Absent
    agreement: Agreement | Absent
    differences: Heterogeneity
    audit: Audit
    monitoring: Monitoring | Absent

    @property
    def first(self) -> int:
        """Answers that chose the first arm."""
        return self.significance.first

    @property
    def second(self) -> int:
        """Answers that chose the second arm."""
        return self.significance.second

    @property
    def answers(self) -> int:
        """All ordinary answers to this comparison."""
        return self.first + self.second + self.same


def compare(
    arms: tuple[str, str],
    frame: pd.DataFrame,
    *,
    thresholds: tuple[Fraction, ...],
    confidence: float,
    seed: int,
    step: Step,
) -> Comparison:
    """Compute one comparison.

    Args:
        arms: Their names, in order.
        frame: Its answers of every kind; catch and practice trials may show other arms.
        thresholds: In percent.
        confidence: Of every interval, between 0 and 1.
        seed: Of the bootstraps; the same answers and seed give the same numbers.
        step: Called with what is done next.

    Raises:
        AnswersError: If the answers contradict themselves.
    """
    step("counting pairs")
    counts = pair_counts(ordinary(frame))
    first, second = (counts[name].to_numpy(dtype=np.int64) for name in ("first", "second"))
    same = int(counts["same"].sum())
    rows = threshold_table(first, second, thresholds)
    rng = [np.random.default_rng([seed, place]) for place in range(4)]
    columns = ("pair", "class_name", "first", "second", "same")
    pairs = tuple(PairCounts(*row) for row in zip(*(counts[name].tolist() for name in columns), strict=True))
    chosen = sides(frame)
    contests = [Contest(0, 1, int(first.sum()), int(second.sum()), same)]
    step("clustered intervals and bootstraps")
    headline = clustered_share(chosen.first, chosen.rater, chosen.pair, confidence=confidence)
    by_pair = clustered_share(chosen.first, chosen.rater, chosen.pair, confidence=confidence, by_pair=True)
    bootstrap = bootstrap_share(chosen.first, chosen.rater, chosen.pair, rng[0], confidence=confidence)
    intervals = threshold_intervals(first, second, thresholds, rng[1], confidence=confidence)
    tests = threshold_tests(first, second, thresholds, rng[2])
    step("agreement")
    agreed = agreement(counts[["first", "second", "same"]].to_numpy(), rng[3], confidence=confidence)
    step("mixed model")
    fit = _mixed_fit(chosen)
    step("audit")
    audited = audit(frame, chosen, confidence)
    step("monitoring")
    monitored = monitor(frame, confidence=confidence)
    step("where the arms differ")
    return Comparison(
        first_arm=arms[0],
        second_arm=arms[1],
        pairs=pairs,
        same=same,
        thresholds=rows,
        intervals=intervals,
        consistency=check_table(rows, *arms),
        tests=tests,
        significance=side_choice(int(first.sum()), int(second.sum()), confidence),
        headline=headline,
        by_pair=by_pair,
        bootstrap=bootstrap,
        signs=sign_test(first, second),
        mixed=fit if isinstance(fit, Absent) else _mixed(fit, chosen, confidence),
        davidson=davidson(arms, contests, reference=1),
        rao_kupper=rao_kupper(arms, contests, reference=1),
        agreement=agreed,
        differences=_differences(pairs, chosen, fit, confidence),
        audit=audited,
        monitoring=monitored,
    )


@dataclass(frozen=True)
class _Fit:
    """A fit with the places of raters and pairs among its groupings."""

    fit: MixedFit
    rater: int | None
    pair: int | None


def _mixed_fit(chosen: Sides) -> _Fit | Absent:
    """Fit with the groupings of which some group has two answers: of the others the spread cannot be told."""
    if not len(chosen):
        return Absent("no answer chose a side")
    groups: list[Codes] = []
    places: dict[str, int] = {}
    for name, codes in (("rater", chosen.rater), ("pair", chosen.pair)):
        size = np.bincount(codes)
        if len(size) > 1 and size.max() > 1:
            places[name] = len(groups)
            groups.append(codes)
    if not groups:
        return Absent("there are not two raters or two pairs with several answers, to tell how much they differ")
    ones = chosen.first.astype(float)
    fit = fit_mixed_logit(ones, np.ones(len(ones)), np.ones((len(ones), 1)), groups)
    return fit if isinstance(fit, Absent) else _Fit(fit, places.get("rater"), places.get("pair"))


def _mixed(found: _Fit, chosen: Sides, confidence: float) -> Mixed:
    effect, error = float(found.fit.coefficients[0]), float(found.fit.standard_errors[0])
    half = float(stats.norm.ppf((1 + confidence) / 2)) * error

    def spread(place: int | None) -> float | None:
        return None if place is None else float(found.fit.deviations[place])

    def caterpillar(place: int | None, names: "np.ndarray[tuple[int], np.dtype[np.object_]]") -> Caterpillar:
        if place is None:
            return Caterpillar((), (), ())
        effects, errors = found.fit.effects[place], found.fit.effect_errors[place]
        order = np.argsort(effects, kind="stable")
        return Caterpillar(tuple(map(str, names[order])), tuple(effects[order].tolist()), tuple(errors[order].tolist()))

    return Mixed(
        effect=effect,
        standard_error=error,
        low=effect - half,
        high=effect + half,
        p_value=float(2 * stats.norm.sf(abs(effect / error))),
        rater_sd=spread(found.rater),
        pair_sd=spread(found.pair),
        log_likelihood=found.fit.log_likelihood,
        raters=caterpillar(found.rater, chosen.raters),
        pairs=caterpillar(found.pair, chosen.pairs),
        confidence=confidence,
    )


def _differences(
    pairs: tuple[PairCounts, ...], chosen: Sides, found: "_Fit | Absent", confidence: float
) -> Heterogeneity:
    classes = {pair.pair: pair.class_name for pair in pairs}
    shrunken: tuple[Shrunken, ...] | Absent
    if isinstance(found, Absent):
        shrunken = found
    elif found.pair is None:
        shrunken = Absent("no pair was answered twice, so that nothing tells pairs apart")
    else:
        shrunken = shrunken_pairs(chosen, found.fit, found.pair, classes, confidence=confidence)
    order = [row.name for row in shrunken] if isinstance(shrunken, tuple) else None
    sided = [pair for pair in pairs if pair.first + pair.second]
    first, second = (np.array([getattr(pair, name) for pair in sided], dtype=np.int64) for name in ("first", "second"))
    for_first, for_second, disputed = examples([pair.pair for pair in sided], first, second, order)
    return Heterogeneity(
        pairs=shrunken,
        classes=shrunken_classes(chosen, classes, confidence=confidence),
        for_first=for_first,
        for_second=for_second,
        disputed=disputed,
    )
