"""What the templates show of the audit."""

from typing import Any

from analysis.absent import Absent
from analysis.audit import Audit, Trend
from analysis.clustered import ClusteredShare
from analysis.comparison import Comparison
from analysis.preference import percent_text
from analysis.wording import interval_text, number, p_text

Rows = list[tuple[str, str]]
FLAGGED_SHOWN = 50


def audit_section(comparison: Comparison) -> dict[str, Any]:
    """Return the audit of one comparison, written out."""
    found = comparison.audit
    return {
        "rows": [
            *_side_rows(found, comparison.first_arm),
            *_trial_rows(found),
            *_order_rows(found, comparison.first_arm),
        ],
        "flagged": [(flag.rater, f"{flag.answers:,}", "; ".join(flag.reasons)) for flag in found.flagged][
            :FLAGGED_SHOWN
        ],
        "flagged_count": len(found.flagged),
        "flagged_left_out": max(0, len(found.flagged) - FLAGGED_SHOWN),
        "rules": list(found.rules.items()),
        "beside": [
            (name, *_beside(share))
            for name, share in (("all raters", found.with_flagged), ("without the flagged", found.without_flagged))
        ],
        "influence": [
            (one.rater, f"{one.answers:,}", f"{100 * one.share:.2f}%", f"{number(100 * one.change, 2)}")
            for one in found.influence
        ],
        "assumes": found.assumes,
    }


def _beside(share: ClusteredShare | Absent) -> tuple[str, str, str, str]:
    if isinstance(share, Absent):
        return "–", share.reason, "–", "–"
    p_value = p_text(share.p_value).removeprefix("= ")
    return f"{100 * share.share:.1f}%", interval_text(share), p_value, f"{share.answers:,}"


def _side_rows(found: Audit, arm: str) -> Rows:
    first, answers = found.first_left
    shown = f"{percent_text(first, answers)}% of {answers:,} answers" if answers else "–"
    bias, (left, sides) = found.side_bias, found.left_chosen
    said = (
        f"{left:,} of {sides:,} ({bias.reason})" if isinstance(bias, Absent)
        else f"{100 * bias.share:.1f}% ({interval_text(bias)}; p {p_text(bias.p_value)} against 50%)"
    )  # fmt: skip
    return [(f"{arm} shown on the left", shown), ("left chosen, of the sides chosen", said)]


def _trial_rows(found: Audit) -> Rows:
    rows: Rows = []
    if isinstance(found.times, Absent):
        rows.append(("response times", found.times.reason))
    else:
        low, _, middle, _, high = (f"{value / 1000:.1f}" for value in found.times.quantiles)
        rows.append(("response time, median (5th to 95th percentile)", f"{middle} s ({low} to {high} s)"))
        rows.append(("answers in under 0.5 s", f"{found.times.fast:,} of {found.times.known:,}"))
    catches, repeats = found.catches, found.repeats
    rows.append(
        ("catch trials answered right", catches.reason if isinstance(catches, Absent)
         else f"{catches.right:,} of {catches.trials:,} ({percent_text(catches.right, catches.trials)}%)")
    )  # fmt: skip
    rows.append(
        ("repeats answered alike", repeats.reason if isinstance(repeats, Absent)
         else f"{repeats.same_answer:,} of {repeats.trials:,} "
              f"({percent_text(repeats.same_answer, repeats.trials)}%; by chance {100 * repeats.expected:.1f}%)")
    )  # fmt: skip
    return rows


def _order_rows(found: Audit, arm: str) -> Rows:
    order = found.order
    if isinstance(order, Absent):
        return [("order and fatigue", order.reason)]
    rows = []
    for name, trend, scale, unit in (
        (f"share of {arm}, first to last trial", order.first_arm, 100, "%"),
        ("share of “Same”, first to last trial", order.same, 100, "%"),
        ("response time, first to last trial", order.seconds, 1, " s"),
    ):
        if isinstance(trend, Trend):
            tested = "" if trend.p_value is None else f" (p {p_text(trend.p_value)} of no change)"
            rows.append((name, f"{scale * trend.start:.1f} to {scale * trend.end:.1f}{unit}{tested}"))
        else:
            rows.append((name, trend.reason))
    return rows
