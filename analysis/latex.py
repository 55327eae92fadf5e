"""The report's tables in LaTeX. They use booktabs where the document loads it, and do without it elsewhere."""

from analysis import plots
from analysis.absent import Absent
from analysis.clustered import ClusteredShare
from analysis.comparison import Comparison
from analysis.preference import ThresholdRow, percent_text
from analysis.report import Report
from analysis.wording import verdict

RULES = r"\providecommand{\toprule}{\hline}\providecommand{\midrule}{\hline}\providecommand{\bottomrule}{\hline}"


def render_latex(report: Report) -> str:
    """Return thresholds.tex: one table per comparison, to put into a document."""
    return f"{RULES}\n" + "\n".join(_table(comparison) for comparison in report.comparisons)


def render_document(report: Report) -> str:
    """Return report.tex: the tables and what they say, as a document of its own that needs no package."""
    parts = [
        r"\documentclass{article}",
        RULES,
        r"\begin{document}",
        rf"\section*{{{escape(report.title)}}}",
        *(escape(note) + "\n" for note in report.notes),
    ]
    for comparison in report.comparisons:
        parts += [escape(verdict(comparison)), "", _table(comparison), _estimates(comparison)]
    return "\n".join([*parts, r"\end{document}", ""])


def _heading(arm: str) -> str:
    return escape(arm[:1].upper() + arm[1:])


def _table(comparison: Comparison) -> str:
    caption = (
        f"Percentage of {len(comparison.pairs):,} image pairs in which more than the threshold's share of the raters "
        f"who chose a side chose {comparison.first_arm}, chose {comparison.second_arm}, or neither."
    )
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        r"\begin{tabular}{rrrr}",
        r"\toprule",
        rf"Threshold & {_heading(comparison.first_arm)} & {_heading(comparison.second_arm)} & No preference \\",
        r"\midrule",
    ]
    for row in comparison.thresholds:
        cells = (rf"{percent_text(count, row.pairs)}\%" if row.pairs else "--" for count in _counts(row))
        lines.append(rf"{plots.threshold_text(row.threshold)}\% & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _counts(row: ThresholdRow) -> tuple[int, int, int]:
    return row.first, row.second, row.none


def _estimates(comparison: Comparison) -> str:
    """Return a table of the share of answers for the first arm by each way of judging it."""
    rows = [
        (name, found)
        for name, found in (("raters and pairs", comparison.headline), ("the same, pairs alike", comparison.by_pair))
        if isinstance(found, ClusteredShare)
    ]
    lines = [rf"{name} & {_share(one.share, one.low, one.high)} & {_p(one.p_value)} \\" for name, one in rows]
    naive, boot = comparison.significance.result, comparison.bootstrap
    if naive is not None and not isinstance(boot, Absent):
        lines.append(rf"two-way bootstrap & {_share(naive.share, boot.low, boot.high)} & -- \\")
    if naive is not None:
        lines.append(rf"independent answers & {_share(naive.share, naive.low, naive.high)} & {_p(naive.p_value)} \\")
    if not lines:
        return ""
    level = f"{100 * comparison.significance.confidence:g}"
    return "\n".join([
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{Share of answers for {escape(comparison.first_arm)}, with {level}\% intervals.}}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Allowing for & Share & $p$ \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _share(share: float, low: float, high: float) -> str:
    return rf"{100 * share:.1f}\% ({100 * low:.1f}--{100 * high:.1f})"


def _p(value: float) -> str:
    if value >= 0.001:
        return f"{value:.3f}"
    if value < 1e-300:
        return r"$<10^{-300}$"
    digits, power = f"{value:.1e}".split("e")
    return rf"${digits}\cdot 10^{{{int(power)}}}$"


def escape(text: str) -> str:
    """Return a text that LaTeX prints as it is; letters that its plain fonts lack are named by their code."""
    return "".join(map(_escape, text))


def _escape(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    if char in "&%$#_{}":
        return f"\\{char}"
    return char if char.isprintable() and ord(char) < LAST_LATIN else f"U+{ord(char):04X}"


LAST_LATIN = 0x180


SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}", "|": r"\ensuremath{|}", "–": "--", "“": "``", "”": "''", "’": "'", "−": r"\ensuremath{-}",
    "\n": " ",
}  # fmt: skip
