"""Who is preferred: counts per pair of images, and the paper's Table 2 by its integer rule.

Of each pair, a and b count the raters who chose the image of the first and of the second arm; arms stand in the
order of their names. The first is preferred at threshold t when 100·a > t·(a + b), the second when
100·b > t·(a + b); otherwise, or when nobody chose a side, neither is. "Same" answers are not in a + b. (Kawar, Ganz
and Elad, 2023, Table 2: "passes a certain threshold" is a strict inequality, so exactly 60 % is not preferred at 60.)
The comparison is made in integers: shares in floating point would decide pairs at a threshold by rounding error.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.answers import RESERVED_ARM, AnswersError

THRESHOLDS = (Fraction(50), Fraction(60), Fraction(70), Fraction(80))
# With more decimals, 100·q·a could leave 64 bits for a huge survey.
MAX_DECIMALS = 6


@dataclass(frozen=True)
class ThresholdRow:
    """One row of the threshold table: how many pairs prefer each arm.

    Attributes:
        threshold: In percent of the answers that chose a side, from 50 to 100.
        first: Pairs in which the first arm is preferred.
        second: Pairs in which the second arm is preferred.
        none: Pairs in which neither is.
    """

    threshold: Fraction
    first: int
    second: int
    none: int

    @property
    def pairs(self) -> int:
        """All pairs that the row is about."""
        return self.first + self.second + self.none


def parse_threshold(value: int | str | Decimal | Fraction) -> Fraction:
    """Return a threshold, in percent, as an exact number.

    Args:
        value: From 50 to 100, with at most six decimals. Below 50 % both arms could be preferred at once.

    Raises:
        TypeError: For a float, which cannot hold 66.7 exactly.
        ValueError: For anything else that is no such number.
    """
    if isinstance(value, float):
        message = f"threshold {value!r} is a float and not exact; give it as the text '{value}'"
        raise TypeError(message)
    try:
        threshold = Fraction(Decimal(value.strip())) if isinstance(value, str) else Fraction(value)
    except (InvalidOperation, ValueError, OverflowError) as error:
        message = f"threshold {value!r} is not a number; write percents such as 60 or 66.7"
        raise ValueError(message) from error
    if not 50 <= threshold <= 100:
        message = f"threshold {value} is not between 50 and 100 percent; below 50 both arms could be preferred at once"
        raise ValueError(message)
    if (threshold * 10**MAX_DECIMALS).denominator != 1:
        message = f"threshold {value} has more than {MAX_DECIMALS} decimals; round it"
        raise ValueError(message)
    return threshold


def parse_thresholds(values: Iterable[int | str | Decimal | Fraction]) -> tuple[Fraction, ...]:
    """Return thresholds in rising order, each once; see `parse_threshold`.

    Raises:
        ValueError: If there is none.
    """
    thresholds = tuple(sorted({parse_threshold(value) for value in values}))
    if not thresholds:
        message = "no threshold given; write percents such as 50,60,70,80"
        raise ValueError(message)
    return thresholds


def pair_counts(answers: pd.DataFrame) -> pd.DataFrame:
    """Count each pair's answers.

    Args:
        answers: A long frame with the columns pair, left_arm, right_arm and choice (see `analysis.answers`);
            class_name is taken along if it is there. Row order does not matter.

    Returns:
        One row per pair that has an answer, in the pairs' natural order ("2" before "10"), with the columns pair,
        class_name, first_arm, second_arm (in name order), first, second, same and answers (their sum).

    Raises:
        AnswersError: For an unknown choice, an arm shown against itself or called "none", or a pair of several arms.
    """
    pair, names = pd.factorize(answers["pair"])
    left, right, arms = _arm_codes(answers)
    low, high = np.minimum(left, right), np.maximum(left, right)
    choice = answers["choice"].to_numpy(dtype=object)
    chose_left, chose_right, chose_same = (choice == word for word in ("left", "right", "same"))
    if not (chose_left | chose_right | chose_same).all():
        unknown = choice[~(chose_left | chose_right | chose_same)][0]
        message = f"choice {unknown!r} is not left, right or same"
        raise AnswersError(message)
    chosen = np.where(chose_left, left, right)
    size = len(names)
    counts = pd.DataFrame(
        {
            "pair": pd.Series(names, dtype=str),
            "class_name": _class_names(answers, pair, size),
            "first_arm": _arm_of_pair(pair, low, arms, names),
            "second_arm": _arm_of_pair(pair, high, arms, names),
            "first": np.bincount(pair[(chosen == low) & ~chose_same], minlength=size),
            "second": np.bincount(pair[(chosen == high) & ~chose_same], minlength=size),
            "same": np.bincount(pair[chose_same], minlength=size),
            "answers": np.bincount(pair, minlength=size),
        }
    )
    order = sorted(range(size), key=lambda place: natural_key(str(names[place])))
    return counts.iloc[order].reset_index(drop=True)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key that puts "2" before "10"; different names have different keys."""
    keys = [(1, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]
    for place, (_, _, part) in enumerate(keys):
        if part[0] in "0123456789":
            # By length, then digit by digit: int() refuses numbers of thousands of digits.
            digits = part.lstrip("0")
            keys[place] = (0, len(digits), digits)
    return (*keys, (-1, 0, name))


def _arm_codes(answers: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's left and right arm as places in the sorted arm names, and these names."""
    codes, arms = pd.factorize(pd.concat([answers["left_arm"], answers["right_arm"]]), sort=True)
    left, right = np.split(codes, 2)
    names = np.asarray(arms, dtype=object)
    if (left == right).any():
        message = f"a pair shows the arm {names[left[left == right][0]]!r} twice; it must compare two different arms"
        raise AnswersError(message)
    if RESERVED_ARM in names:
        message = f"an arm cannot be called {RESERVED_ARM!r}, the report's word for no preference; rename it"
        raise AnswersError(message)
    return left, right, names


def _arm_of_pair(pair: np.ndarray, code: np.ndarray, arms: np.ndarray, names: "pd.Index[Any]") -> np.ndarray:
    """Return each pair's one arm on this side of the name order."""
    of_pair = np.zeros(len(names), dtype=np.intp)
    of_pair[pair] = code
    if (of_pair[pair] != code).any():
        name = names[pair[of_pair[pair] != code][0]]
        message = f"pair {name!r} is shown with several sets of arms; give every two images a pair of their own"
        raise AnswersError(message)
    return arms[of_pair] if len(arms) else np.array([], dtype=object)


def _class_names(answers: pd.DataFrame, pair: np.ndarray, size: int) -> pd.Series:
    """Return each pair's class name, or "" where it is not known."""
    if "class_name" not in answers:
        return pd.Series([""] * size, dtype=str)
    known = pd.DataFrame({"pair": pair, "class_name": answers["class_name"].to_numpy(dtype=object)}).dropna()
    first = known.drop_duplicates().groupby("pair")["class_name"].min()
    return first.reindex(range(size)).fillna("").astype(str)


def threshold_table(
    first: np.ndarray, second: np.ndarray, thresholds: Iterable[Fraction] = THRESHOLDS
) -> tuple[ThresholdRow, ...]:
    """Apply the rule of Table 2 (see the module).

    Args:
        first: (N,) integers, per pair the raters who chose the first arm.
        second: (N,) integers, per pair the raters who chose the second arm.
        thresholds: In percent, from `parse_threshold`.

    Returns:
        One row per threshold; each row's counts add up to N.
    """
    rows = []
    for threshold in thresholds:
        a, b = (int(np.count_nonzero(wins)) for wins in preferred(first, second, threshold))
        rows.append(ThresholdRow(threshold, a, b, len(first) - a - b))
    return tuple(rows)


def preferred(
    first: np.ndarray, second: np.ndarray, threshold: Fraction
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return per pair whether the first arm, and whether the second, is preferred at a threshold (see the module)."""
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    bar = threshold.numerator * (a + b)
    scale = 100 * threshold.denominator
    return scale * a > bar, scale * b > bar


@dataclass(frozen=True)
class Consistency:
    """Whether what a table prints can be true: the shares of each row add up, and each is of a whole number of pairs.

    Attributes:
        rows: Rows that were checked.
        wrong: What is wrong, in sentences; empty if nothing is.
    """

    rows: int
    wrong: tuple[str, ...]


def check_table(rows: Iterable[ThresholdRow], first_arm: str, second_arm: str) -> Consistency:
    """Check a threshold table as it is printed; see `check_printed_row`."""
    wrong, checked = [], 0
    for row in rows:
        if not row.pairs:
            continue
        checked += 1
        counts = {first_arm: row.first, second_arm: row.second, "none": row.none}
        printed = {name: percent_text(count, row.pairs) for name, count in counts.items()}
        wrong += [f"{float(row.threshold):g}%: {what}" for what in check_printed_row(printed, row.pairs)]
    return Consistency(checked, tuple(wrong))


def percent(count: int, total: int) -> float | None:
    """Return 100·count/total, or None of a total of 0."""
    return 100 * count / total if total else None


def percent_text(count: int, total: int, decimals: int = 1) -> str:
    """Return 100·count/total in decimals, halves rounded up, by integer arithmetic; a dash of a total of 0."""
    if not total:
        return "–"
    scale = 10**decimals
    scaled = (2 * 100 * scale * count + total) // (2 * total)
    return f"{scaled // scale}.{scaled % scale:0{decimals}d}" if decimals else str(scaled)


def check_printed_row(percents: Mapping[str, str], pairs: int) -> list[str]:
    """Return what is wrong with a printed row of the threshold table; an empty list if nothing is.

    Each percent must be k/N of a whole k, rounded as printed, and such k must add up to N. The paper's 60 % row
    (51.0, 28.5, 28.5 of 200 pairs) fails: it adds up to 108.

    Args:
        percents: What is printed per column, such as {"robust": "51.0", "vanilla": "28.5", "none": "20.5"}.
        pairs: N, more than 0.
    """
    wrong, least, most = [], 0, 0
    for column, text in percents.items():
        half = Fraction(1, 2 * 10 ** len(text.partition(".")[2]))
        low = math.ceil((Fraction(text) - half) * pairs / 100)
        high = math.ceil((Fraction(text) + half) * pairs / 100) - 1
        if low > high:
            wrong.append(f"{column}: {text}% is not a whole number of {pairs} pairs")
        least, most = least + low, most + max(low, high)
    if not least <= pairs <= most:
        total = sum(map(Fraction, percents.values()))
        wrong.append(f"the row adds up to {float(total):g}%, which cannot be all of {pairs} pairs")
    return wrong
