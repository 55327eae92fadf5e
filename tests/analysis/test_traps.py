"""Answers of odd shapes, through the whole report: numbers that can be had are there, the others say why."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.answers import parse_answers
from analysis.rendering import render_files
from analysis.report import build_report
from tests.analysis.paper import HEADER


def reported(frame: pd.DataFrame) -> dict[str, Any]:
    """Return report.json, every format having been written and none of them with a number that is none."""
    files = render_files(build_report(frame), ["html", "json", "csv", "latex", "svg"])
    for name, text in files.items():
        assert not {"nan", "NaN", "inf", "-inf"} & set(
            text.replace(",", " ").replace("<", " ").replace(">", " ").split()
        ), name
    document: dict[str, Any] = json.loads(files["report.json"], parse_constant=pytest.fail)
    return document


def table(*rows: str, header: str = HEADER) -> pd.DataFrame:
    return parse_answers("\n".join([header, *rows]).encode())


def test_one_rater_gets_counts_and_reasons() -> None:
    document = reported(table(*(f"r,{pair},a,b,{'left' if pair % 3 else 'right'}" for pair in range(12))))
    (comparison,) = document["comparisons"]
    assert document["answers"]["per_arm"] == {"a": 8, "b": 4}
    assert comparison["significance"]["clustered"] == {
        "available": False,
        "reason": comparison["significance"]["clustered"]["reason"],
    }
    assert "one rater" in comparison["significance"]["clustered"]["reason"]
    assert comparison["agreement"]["available"] is False
    assert comparison["monitoring"]["available"] is False
    assert comparison["significance"]["interval"]["low"] < 8 / 12 < comparison["significance"]["interval"]["high"]


def test_one_pair_gets_counts_and_reasons() -> None:
    document = reported(table(*(f"r{rater},only,a,b,{'left' if rater % 4 else 'right'}" for rater in range(20))))
    (comparison,) = document["comparisons"]
    assert document["thresholds"][2]["pairs"] == {"a": 1, "b": 0, "none": 0}
    assert document["thresholds"][0]["intervals"]["percent"]["a"] is None
    assert "one pair" in comparison["significance"]["clustered"]["reason"]


def test_all_same_prefers_nobody() -> None:
    document = reported(table(*(f"r{rater},{pair},a,b,same" for rater in range(5) for pair in range(4))))
    assert document["answers"]["same"] == 20
    assert [row["pairs"] for row in document["thresholds"]] == [{"a": 0, "b": 0, "none": 4}] * 4
    assert document["significance"]["available"] is False


def test_all_left_is_a_bias_for_a_side_and_no_preference() -> None:
    """Each arm is on the left in half of the answers, and left is all that anybody chooses."""
    rows = [
        f"r{rater},{pair},{'a,b' if (rater + pair) % 2 else 'b,a'},left" for rater in range(12) for pair in range(20)
    ]
    document = reported(table(*rows))
    (comparison,) = document["comparisons"]
    assert document["answers"]["per_arm"] == {"a": 120, "b": 120}
    assert document["significance"]["p_value"] == 1
    flagged = {row["rater"]: row["reasons"] for row in comparison["audit"]["flagged"]}
    assert set(flagged) == {f"r{rater}" for rater in range(12)}
    assert comparison["audit"]["left_chosen"] == [240, 240]
    assert all("one-sided" in reasons for reasons in flagged.values())


def test_all_for_one_arm_has_finite_intervals_and_no_mixed_model() -> None:
    document = reported(table(*(f"r{rater},{pair},a,b,left" for rater in range(6) for pair in range(5))))
    (comparison,) = document["comparisons"]
    assert document["significance"]["share"] == 1
    # 0.025^(1/30), the closed form where all answers are alike.
    assert document["significance"]["intervals"][1]["low"] == pytest.approx(0.025 ** (1 / 30))
    assert comparison["mixed_model"] == {"available": False, "reason": comparison["mixed_model"]["reason"]}
    assert "alike" in comparison["mixed_model"]["reason"]


def test_pairs_without_a_side_count_as_none_and_in_no_denominator() -> None:
    rows = [f"r{rater},0,a,b,left" for rater in range(3)] + [f"r{rater},1,a,b,same" for rater in range(3)]
    rows += [f"r{rater},0,a,b,same" for rater in range(3, 9)]
    document = reported(table(*rows))
    # Pair 0: 3 of the 3 who chose a side, though 6 more said "same".
    assert document["thresholds"][-1]["pairs"] == {"a": 1, "b": 0, "none": 1}


def test_a_hundred_thousand_raters_of_one_answer_each_are_reported() -> None:
    """Raters cannot be told from answers then: clustering by pair is what is left, and nobody's spread is claimed."""
    rng = np.random.default_rng(0)
    count = 100_000
    left = rng.random(count) < 0.5
    frame = pd.DataFrame({
        "rater": np.arange(count).astype(str),
        "pair": rng.integers(0, 500, count).astype(str),
        "left_arm": np.where(left, "a", "b"),
        "right_arm": np.where(left, "b", "a"),
        "choice": rng.choice(["left", "right", "same"], count),
    }).astype("str")  # fmt: skip
    document = reported(frame)
    (comparison,) = document["comparisons"]
    assert document["raters"] == count
    assert comparison["significance"]["clustered"]["design_effect"] == pytest.approx(1, abs=0.3)
    assert comparison["mixed_model"]["rater_sd"] is None
    assert comparison["mixed_model"]["pair_sd"] < 0.1


def test_unequal_counts_have_alpha_and_no_kappa() -> None:
    """Pair 0 has five answers, the others two to four."""
    rows = [f"r{rater},{pair},a,b,{'left' if (rater + pair) % 3 else 'right'}" for pair, size in enumerate((5, 2, 3, 4))
            for rater in range(size)]  # fmt: skip
    agreement = reported(table(*rows))["comparisons"][0]["agreement"]
    assert agreement["kappa"]["available"] is False
    assert isinstance(agreement["alpha"], float)


def test_odd_columns_and_types_are_read_or_refused_by_their_line() -> None:
    """Columns in another order, unknown ones, numbers for names, spaces, Windows line ends and a byte order mark."""
    header = " choice ,note,pair,rater,right_arm,left_arm,response_ms"
    rows = [f'{"left" if rater else "right"},"a, b",007,{rater},vanilla,robust,{1000 + rater}.0' for rater in range(3)]
    data = ("\ufeff" + "\r\n".join([header, *rows]) + "\r\n").encode()
    document = reported(parse_answers(data))
    assert (document["raters"], document["pairs"]) == (3, 1)
    assert document["answers"]["per_arm"] == {"robust": 2, "vanilla": 1}
