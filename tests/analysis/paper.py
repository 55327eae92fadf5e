"""An answer set with the margins that the paper prints, built by steps that can be checked by hand.

Each line of GROUPS is (pairs, raters for robust, raters for vanilla). Several groups lie exactly at a threshold.

    robust: 43·16 + 27·12 + 32·11 + 21·9 + 22·8 + 14·6 + 10·4 + 17·2 + 14·10 = 2027
    vanilla: 43·3 + 27·3 + 32·7 + 21·6 + 22·12 + 14·14 + 10·16 + 17·18 + 14·10 = 1626
"""

from collections.abc import Iterable

import pandas as pd

from analysis.answers import parse_answers

GROUPS = (
    (43, 16, 3),  # 84.2 % robust
    (27, 12, 3),  # exactly 80 %
    (32, 11, 7),  # 61.1 %
    (21, 9, 6),  # exactly 60 %
    (22, 8, 12),  # exactly 60 % vanilla
    (14, 6, 14),  # exactly 70 % vanilla
    (10, 4, 16),  # exactly 80 % vanilla
    (17, 2, 18),  # 90 % vanilla
    (14, 10, 10),
)
HEADER = "rater,pair,left_arm,right_arm,choice"
Counts = tuple[int, int, int]


def paper_counts() -> list[Counts]:
    """Return (robust, vanilla, same) of each of the 200 pairs.

    Same: 6 on every pair and one more on 157 of them, but 4 on one of the 15-sided pairs (19 answers, the fewest)
    and 16 on one of the 20-sided ones (36, the most): 198·6 + 157 + 4 + 16 = 1365.
    """
    sides = [(first, second) for pairs, first, second in GROUPS for _ in range(pairs)]
    same = [7] * 157 + [6] * 43
    fewest, most = 43, 199
    same[fewest], same[157], same[most] = 4, 7, 16
    return [(first, second, equal) for (first, second), equal in zip(sides, same, strict=True)]


def answers_csv(counts: Iterable[Counts], arms: tuple[str, str] = ("robust", "vanilla")) -> str:
    """Return an answers file with these counts per pair; sides alternate, raters are r0, r1, ...

    Who gives which answer turns by seven raters from pair to pair, so that no rater is always of one mind.
    """
    lines = [HEADER]
    for pair, (first, second, same) in enumerate(counts):
        outcomes = [0] * first + [1] * second + [None] * same
        for rater in range(len(outcomes)):
            winner = outcomes[(rater + 7 * pair) % len(outcomes)]
            left = (rater + pair) % 2
            choice = "same" if winner is None else "left" if winner == left else "right"
            lines.append(f"r{rater},{pair},{arms[left]},{arms[1 - left]},{choice}")
    return "\n".join(lines) + "\n"


def answers_frame(counts: Iterable[Counts], arms: tuple[str, str] = ("robust", "vanilla")) -> pd.DataFrame:
    """Return the same answers as a frame."""
    return parse_answers(answers_csv(counts, arms).encode())
