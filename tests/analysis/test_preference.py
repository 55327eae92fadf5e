"""The rule of Table 2 and the counts under it."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.answers import AnswersError
from analysis.preference import (
    THRESHOLDS,
    check_printed_row,
    natural_key,
    pair_counts,
    parse_threshold,
    parse_thresholds,
    percent_text,
    threshold_table,
)
from tests.analysis.paper import GROUPS, Counts, answers_frame, paper_counts

counts_of_pairs = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12).filter(
    lambda pairs: any(map(sum, pairs))
)


def row(first: int, second: int, threshold: str) -> tuple[int, int, int]:
    (result,) = threshold_table(np.array([first]), np.array([second]), [parse_threshold(threshold)])
    return result.first, result.second, result.none


@pytest.mark.parametrize(
    ("first", "second", "threshold", "expected"),
    [
        (6, 4, "60", (0, 0, 1)),  # exactly 60 % is not preferred at 60
        (6, 4, "59.999999", (1, 0, 0)),
        (7, 4, "60", (1, 0, 0)),
        (4, 7, "60", (0, 1, 0)),
        (5, 5, "50", (0, 0, 1)),
        (0, 0, "50", (0, 0, 1)),
        (7, 3, "70", (0, 0, 1)),
        (2, 1, "66.7", (0, 0, 1)),  # 66.666... %
        (2, 1, "66.6", (1, 0, 0)),
        (667, 333, "66.7", (0, 0, 1)),
        (9, 0, "100", (0, 0, 1)),
        (29, 21, "58", (0, 0, 1)),  # 0.58 · 50 is 28.999999999999996 in floats
    ],
)
def test_a_pair_is_preferred_strictly_above_the_threshold(
    first: int, second: int, threshold: str, expected: tuple[int, int, int]
) -> None:
    assert row(first, second, threshold) == expected


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.decimals(50, 100, places=6))
def test_the_integer_rule_is_that_of_exact_fractions(first: int, second: int, threshold: Decimal) -> None:
    share = Fraction(first, first + second) if first + second else Fraction(1, 2)
    bar = Fraction(threshold) / 100
    assert row(first, second, str(threshold)) == (share > bar, 1 - share > bar, share <= bar and 1 - share <= bar)


@settings(deadline=None)
@given(counts_of_pairs)
def test_a_row_adds_up_to_all_pairs_and_a_higher_threshold_prefers_no_more(pairs: list[Counts]) -> None:
    first, second = np.array(pairs)[:, 0], np.array(pairs)[:, 1]
    rows = threshold_table(first, second, parse_thresholds(range(50, 101)))
    assert {row.first + row.second + row.none for row in rows} == {len(pairs)}
    for lower, higher in pairwise(rows):
        assert higher.first <= lower.first
        assert higher.second <= lower.second
        assert higher.none >= lower.none


@settings(max_examples=40, deadline=None)
@given(counts_of_pairs)
def test_swapping_the_arms_names_swaps_the_columns(pairs: list[Counts]) -> None:
    counts = pair_counts(answers_frame(pairs))
    swapped = pair_counts(answers_frame(pairs, arms=("vanilla", "robust")))
    assert counts["first"].tolist() == swapped["second"].tolist()
    assert counts["second"].tolist() == swapped["first"].tolist()
    assert counts["same"].tolist() == swapped["same"].tolist()


@settings(max_examples=40, deadline=None)
@given(counts_of_pairs, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_the_sides_do_not_matter(pairs: list[Counts], seed: int) -> None:
    frame = answers_frame(pairs)
    rng = np.random.default_rng(seed)
    flip = rng.random(len(frame)) < 0.5
    other = frame.assign(
        left_arm=frame["left_arm"].where(~flip, frame["right_arm"]),
        right_arm=frame["right_arm"].where(~flip, frame["left_arm"]),
        choice=frame["choice"].where(~flip, frame["choice"].map({"left": "right", "right": "left", "same": "same"})),
    ).iloc[rng.permutation(len(frame))]
    assert pair_counts(other).equals(pair_counts(frame))


def test_counts_per_pair_are_those_that_the_answers_were_built_from() -> None:
    counts = pair_counts(answers_frame(paper_counts()))
    assert list(counts[["first", "second", "same"]].itertuples(index=False, name=None)) == paper_counts()
    assert counts["pair"].tolist() == [str(pair) for pair in range(200)]


def test_the_papers_shares_make_its_table_with_its_60_percent_row_mended() -> None:
    first, second = (np.repeat([group[side] for group in GROUPS], [group[0] for group in GROUPS]) for side in (1, 2))
    rows = threshold_table(first, second, THRESHOLDS)
    assert [(row.first, row.second, row.none) for row in rows] == [
        (123, 63, 14),
        (102, 41, 57),
        (70, 27, 103),
        (43, 17, 140),
    ]


def test_the_printed_60_percent_row_of_the_paper_fails_the_check() -> None:
    assert check_printed_row({"robust": "61.5", "vanilla": "31.5", "none": "7.0"}, 200) == []
    assert check_printed_row({"robust": "51.0", "vanilla": "20.5", "none": "28.5"}, 200) == []
    assert check_printed_row({"robust": "51.0", "vanilla": "28.5", "none": "28.5"}, 200) == [
        "the row adds up to 108%, which cannot be all of 200 pairs"
    ]


def test_a_printed_percent_that_no_whole_number_of_pairs_gives_fails_the_check() -> None:
    assert "robust: 61.3%" in check_printed_row({"robust": "61.3", "vanilla": "31.5", "none": "7.0"}, 200)[0]


@settings(deadline=None)
@given(st.integers(1, 3000), st.data())
def test_what_is_printed_passes_the_check(pairs: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, pairs))
    second = data.draw(st.integers(0, pairs - first))
    shares = (first, second, pairs - first - second)
    assert (
        check_printed_row({str(place): percent_text(count, pairs) for place, count in enumerate(shares)}, pairs) == []
    )


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(123, 200, "61.5"), (1, 3, "33.3"), (2, 3, "66.7"), (1, 16, "6.3"), (0, 5, "0.0"), (5, 5, "100.0"), (0, 0, "–")],
)
def test_percents_are_rounded_half_up(count: int, total: int, text: str) -> None:
    assert percent_text(count, total) == text


def test_thresholds_are_sorted_and_each_stands_once() -> None:
    assert list(parse_thresholds(["80", " 50", "66.7", 80, Decimal(60)])) == [50, 60, Fraction(667, 10), 80]


@pytest.mark.parametrize("value", ["49.9", "100.1", "-60", "sixty", "", "nan", "inf", "60.0000001", "1/3"])
def test_a_bad_threshold_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="threshold"):
        parse_threshold(value)


def test_a_float_threshold_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'66\.7'"):
        parse_threshold(66.7)  # type: ignore[arg-type]


def test_no_threshold_is_an_error() -> None:
    with pytest.raises(ValueError, match="no threshold"):
        parse_thresholds([])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"choice": "maybe"}, "choice 'maybe'"),
        ({"left_arm": "robust", "right_arm": "robust"}, "'robust' twice"),
        ({"left_arm": "none"}, "cannot be called 'none'"),
    ],
)
def test_counting_refuses_answers_that_make_no_sense(change: dict[str, str], match: str) -> None:
    frame = answers_frame([(1, 0, 0)]).assign(**change)
    with pytest.raises(AnswersError, match=match):
        pair_counts(frame)


def test_counting_refuses_a_pair_of_several_arms() -> None:
    frame = answers_frame([(2, 0, 0)])
    frame.loc[0, ["left_arm", "right_arm"]] = ["robust", "unguided"]
    with pytest.raises(AnswersError, match="pair '0' is shown with several sets of arms"):
        pair_counts(frame)


def test_pairs_stand_in_natural_order() -> None:
    names = ["10", "2", "x2", "x10", "1", "01", "0:b:c", "0:a:b", "9" * 5000]
    assert sorted(names, key=natural_key) == ["0:a:b", "0:b:c", "01", "1", "2", "10", "9" * 5000, "x2", "x10"]
