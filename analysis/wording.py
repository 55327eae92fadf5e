"""Results in plain sentences and written numbers."""

from analysis.absent import Absent
from analysis.clustered import ClusteredShare
from analysis.comparison import Comparison
from analysis.preference import Consistency, percent_text

NO_ANSWERS = "There are no answers yet, so there is no preference to report."
NO_SIDES = "No answer has chosen a side yet, so there is no preference to report."


def verdict(comparison: Comparison) -> str:
    """Return the result in plain words: what is claimed allowing for raters and pairs, then the naive test."""
    naive = comparison.significance.result
    if naive is None:
        return NO_SIDES if comparison.answers else NO_ANSWERS
    sides, level = comparison.first + comparison.second, f"{100 * comparison.significance.confidence:g}%"
    swap = comparison.second > comparison.first
    arm = comparison.second_arm if swap else comparison.first_arm
    answers = "the 1 answer" if sides == 1 else f"{sides:,} answers"
    share = 1 - naive.share if swap else naive.share
    low, high = (1 - naive.high, 1 - naive.low) if swap else (naive.low, naive.high)
    seen = f"of {answers} that chose a side, {100 * share:.1f}% chose {arm}"
    independent = (
        f"if every answer were independent, the interval would be {100 * low:.1f}–{100 * high:.1f}% "
        f"and p {p_text(naive.p_value)}"
    )
    headline = comparison.headline
    if isinstance(headline, Absent):
        return (
            f"No claim beyond these answers: {seen}. An interval that allows for raters and pairs cannot be had: "
            f"{headline.reason}. Only {independent}."
        )
    claim = f"Raters preferred {arm}" if headline.p_value < 1 - headline.confidence else "No clear preference"
    interval = f"{level} interval {interval_text(headline, swap=swap)}, p {p_text(headline.p_value)}"
    return f"{claim}: {seen} ({interval}, allowing for raters and pairs). For comparison, {independent}."


def interval_text(share: ClusteredShare, *, swap: bool = False) -> str:
    """Return a share's interval in percent, of the other arm if `swap`."""
    low, high = (1 - share.high, 1 - share.low) if swap else (share.low, share.high)
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def consistency_line(consistency: Consistency) -> str:
    """Return what the check of the printed table found, in one sentence."""
    if consistency.wrong:
        return "The table as printed cannot be right: " + "; ".join(consistency.wrong) + "."
    if not consistency.rows:
        return "There is no row to check."
    rows = "The row was" if consistency.rows == 1 else f"All {consistency.rows} rows were"
    return f"{rows} checked as printed: shares add up to 100, and each is a whole number of pairs."


def p_text(value: float) -> str:
    """Return a p-value with its sign of equality: "= 0.034", "= 3.5e-11", "< 1e-300"."""
    if value < 1e-300:
        return "< 1e-300"
    return f"= {value:.1e}" if value < 0.001 else f"= {value:.3f}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals, a minus sign for negatives, and no "-0"."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def heading(arm: str) -> str:
    """Return an arm's name as a column's heading."""
    return arm[:1].upper() + arm[1:]


def share_text(count: int, total: int) -> str:
    """Return a share in percent, a dash of nothing."""
    return f"{percent_text(count, total)}%" if total else "–"
