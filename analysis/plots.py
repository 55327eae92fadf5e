"""Plots as small SVG texts that need no script, style sheet or font of their own.

Blue, orange and light grey differ for colour-blind readers and in greyscale print; every mark's number is also
written, and each plot has a title and a description for screen readers.
"""

from collections.abc import Sequence
from fractions import Fraction
from html import escape

from analysis.preference import ThresholdRow, percent_text
from analysis.svg import FIRST, NEITHER, SECOND, WIDTH, box, label, shorten, svg


def threshold_bars(first_arm: str, second_arm: str, rows: Sequence[ThresholdRow]) -> str:
    """Draw one bar per threshold: the first arm's share of the pairs, nobody's, the second arm's.

    Args:
        first_arm: Drawn from the left.
        second_arm: Drawn from the right.
        rows: The threshold table; each row is about at least one pair.
    """
    left, step, bar = 64, 38, 28
    scale = WIDTH - left
    marks, spoken = [], []
    for place, row in enumerate(rows):
        y, x = place * step + 4, Fraction(left)
        name = threshold_text(row.threshold)
        marks.append(label(left - 8, y + bar / 2 + 5, f"&gt; {name}%", "end"))
        for count, fill, ink in ((row.first, FIRST, "#fff"), (row.none, NEITHER, "#000"), (row.second, SECOND, "#000")):
            width = Fraction(count * scale, row.pairs)
            if count:
                marks.append(box(float(x), y, float(width), bar, fill))
            text = f"{percent_text(count, row.pairs)}%"
            if width >= 8 * len(text) + 4:
                marks.append(label(float(x + width / 2), y + bar / 2 + 5, text, fill=ink))
            x += width
        spoken.append(
            f"over {name}%: {first_arm} {percent_text(row.first, row.pairs)}%, "
            f"{second_arm} {percent_text(row.second, row.pairs)}%, neither {percent_text(row.none, row.pairs)}%"
        )
    return svg("Pairs that prefer each arm, by threshold", "; ".join(spoken), len(rows) * step + 4, marks)


def share_histogram(first_arm: str, second_arm: str, counts: Sequence[tuple[int, int]]) -> str:
    """Draw how many pairs lie in each tenth of the first arm's share, and at exactly a half.

    As in the threshold table, a pair at exactly 60 % lies below 60 and one at exactly 40 % above 40, so the plot
    of the arms swapped is its mirror image.

    Args:
        first_arm: Its share grows to the right.
        second_arm: Its share grows to the left.
        counts: Per pair, the answers that chose the first and the second arm; pairs without either are left out.
    """
    bins = share_bins(counts)
    top, height, slot = 22, 130, WIDTH / len(bins)
    most = max(1, *bins)
    marks = []
    for place, count in enumerate(bins):
        fill = SECOND if place < 5 else NEITHER if place == 5 else FIRST
        size = height * count / most
        x = place * slot
        if count:
            marks.append(box(x + 3, top + height - size, slot - 6, size, fill))
            marks.append(label(x + slot / 2, top + height - size - 6, f"{count:,}"))
    base = top + height
    # The bar of exactly a half stands between the tenths, so the marks right of it lie one slot further.
    marks += [label(place * slot, base + 18, str(10 * place), "start" if not place else "middle") for place in range(5)]
    marks.append(label(5.5 * slot, base + 18, "50"))
    marks += [label(place * slot, base + 18, str(10 * place - 10)) for place in range(7, 11)]
    marks.append(label(WIDTH, base + 18, "100", "end"))
    marks.append(f'<line x1="0" y1="{base}" x2="{WIDTH}" y2="{base}" stroke="currentColor"/>')
    caption = f"% of the raters who chose a side that chose {shorten(first_arm)}"
    marks.append(label(WIDTH / 2, base + 40, escape(caption)))
    spoken = "; ".join(f"{_bin_name(place)}%: {count}" for place, count in enumerate(bins) if count)
    return svg(f"Pairs by the share that chose {first_arm} over {second_arm}", spoken, base + 50, marks)


def share_bins(counts: Sequence[tuple[int, int]]) -> list[int]:
    """Count pairs by the first arm's share: five tenths below a half, exactly a half, five tenths above.

    Below a half the bins are [0, 10), [10, 20), ... percent; above it (50, 60], ... (90, 100]; in integers.
    """
    bins = [0] * 11
    for first, second in counts:
        sides = first + second
        if not sides:
            continue
        if first == second:
            bins[5] += 1
        elif first > second:
            bins[5 + -((-10 * first) // sides) - 5] += 1
        else:
            bins[5 - (-((-10 * second) // sides) - 5)] += 1
    return bins


def threshold_text(threshold: Fraction) -> str:
    """Return a threshold without needless decimals: 60, 66.7."""
    return f"{threshold.numerator / threshold.denominator:.6f}".rstrip("0").rstrip(".")


def _bin_name(place: int) -> str:
    if place == 5:
        return "50"
    low = 10 * (place if place < 5 else place - 1)
    return f"{low}–{low + 10}"
