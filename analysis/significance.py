"""Is the preference more than chance, if every answer were independent of every other?"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ASSUMES = (
    "Every answer that chose a side is taken as independent of every other.",
    "They are not quite: answers of one rater, and answers on one pair, tend to agree.",
    "So the p-value is likely too small and the interval too narrow.",
    "“Same” answers are left out.",
    "The chance of choosing an arm is taken as the same for every rater and pair, and as 1/2 under no preference.",
)


@dataclass(frozen=True)
class SideTest:
    """The numbers of a test of answers against 1/2.

    Attributes:
        share: first / (first + second), from 0 to 1.
        p_value: Two-sided, exact binomial, against 1/2.
        z: The score statistic (first - second) / sqrt(first + second), without continuity correction.
        low: The lower end of Wilson's interval for the share.
        high: Its upper end.
        exact_low: The lower end of Clopper and Pearson's interval for the share.
        exact_high: Its upper end.
    """

    share: float
    p_value: float
    z: float
    low: float
    high: float
    exact_low: float
    exact_high: float


@dataclass(frozen=True)
class Significance:
    """A two-sided test of the answers that chose a side against an even split.

    Attributes:
        first: Answers that chose the first arm.
        second: Answers that chose the second arm.
        confidence: Of the interval, between 0 and 1.
        result: The numbers, or None if no answer chose a side: then there is nothing to test.
        assumes: What the numbers take for granted, in sentences.
    """

    first: int
    second: int
    confidence: float
    result: SideTest | None
    assumes: tuple[str, ...] = ASSUMES


def parse_confidence(value: float | str) -> float:
    """Return a confidence level strictly between 0 and 1.

    Raises:
        ValueError: If it is no such number.
    """
    try:
        confidence = float(value)
    except ValueError as error:
        message = f"confidence {value!r} is not a number; write it as 0.95"
        raise ValueError(message) from error
    if not 0 < confidence < 1:
        message = f"confidence {value} is not between 0 and 1; write 95 % as 0.95"
        raise ValueError(message)
    return confidence


def side_choice(first: int, second: int, confidence: float = 0.95) -> Significance:
    """Test first against second, with Wilson's and Clopper and Pearson's intervals for first's share.

    The p-value is the exact binomial's, two-sided by summing all outcomes no likelier than the one seen. The
    interval inverts the score test (Wilson, 1927; Newcombe, 1998, method 3): with n = first + second, p = first / n
    and the normal quantile z,

        (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n).

    Clopper and Pearson's (1934; Newcombe's method 5) inverts the exact test, each tail by itself, and covers at least
    as often as it says. All take the n answers as independent.

    Args:
        first: Answers for the first arm, 0 or more.
        second: Answers for the second arm, 0 or more.
        confidence: Of the interval, between 0 and 1.

    Raises:
        ValueError: For a negative count or a confidence that is not between 0 and 1.
    """
    confidence = parse_confidence(confidence)
    if first < 0 or second < 0:
        message = f"counts of answers cannot be negative: {first} and {second}"
        raise ValueError(message)
    answers = first + second
    if answers == 0:
        return Significance(first, second, confidence, None)
    test = stats.binomtest(first, answers, 0.5)
    interval = test.proportion_ci(confidence_level=confidence, method="wilson")
    exact = test.proportion_ci(confidence_level=confidence, method="exact")
    result = SideTest(
        share=first / answers,
        p_value=float(test.pvalue),
        z=(first - second) / math.sqrt(answers),
        low=float(interval.low),
        high=float(interval.high),
        exact_low=float(exact.low),
        exact_high=float(exact.high),
    )
    return Significance(first, second, confidence, result)


SIGN_ASSUMES = (
    "Every pair counts once: for the arm that more of its raters chose, however many raters that were.",
    "Pairs are independent of each other; that the same raters answered them is not allowed for.",
    "Pairs that split evenly are left out.",
)


@dataclass(frozen=True)
class SignTest:
    """The exact sign test on pairs.

    Attributes:
        first: Pairs of which more raters chose the first arm.
        second: Pairs of which more raters chose the second.
        even: Pairs that split evenly, or on which nobody chose a side.
        p_value: Two-sided, exact; None if all pairs are even.
        assumes: What the numbers take for granted, in sentences.
    """

    first: int
    second: int
    even: int
    p_value: float | None
    assumes: tuple[str, ...] = SIGN_ASSUMES


def sign_test(first: NDArray[np.int64], second: NDArray[np.int64]) -> SignTest:
    """Test whether pairs are as likely to go either way.

    Args:
        first: (N,) per pair, the raters who chose the first arm.
        second: (N,) per pair, the raters who chose the second arm.
    """
    a, b = int(np.count_nonzero(first > second)), int(np.count_nonzero(first < second))
    return SignTest(a, b, len(first) - a - b, float(stats.binomtest(a, a + b).pvalue) if a + b else None)
