"""report.json: what stands where, and what cannot be had."""

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from analysis.absent import Absent
from analysis.document import FORMAT, to_dict
from analysis.plain import plain
from analysis.report import Report, build_report
from tests.analysis.paper import answers_frame, paper_counts


@pytest.fixture(scope="module")
def paper() -> Report:
    return build_report(answers_frame(paper_counts()))


def every_value(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for each in value.values() for inner in every_value(each)]
    return [inner for each in value for inner in every_value(each)] if isinstance(value, list) else [value]


def test_with_two_arms_the_top_level_is_the_one_comparison(paper: Report) -> None:
    document = to_dict(paper)
    (comparison,) = document["comparisons"]
    assert document["format"] == FORMAT
    assert document["thresholds"] == comparison["thresholds"]
    assert document["significance"] == comparison["significance"]
    assert comparison["arms"] == ["robust", "vanilla"]
    assert comparison["answers"] == {"total": 5018, "same": 1365, "per_arm": {"robust": 2027, "vanilla": 1626}}
    assert document["answers"]["per_pair"] == {"min": 19, "mean": 25.09, "max": 36}


def test_everything_is_plain_and_finite_and_survives_json(paper: Report) -> None:
    document = to_dict(paper)
    values = every_value(document)
    assert {type(value) for value in values} <= {str, int, float, bool, type(None)}
    assert all(math.isfinite(value) for value in values if isinstance(value, float))
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_threshold_has_counts_percents_and_an_interval_around_each(paper: Report) -> None:
    row = to_dict(paper)["thresholds"][1]
    assert row["threshold"] == 60
    assert row["pairs"] == {"robust": 102, "vanilla": 41, "none": 57}
    assert row["percent"] == {"robust": 51.0, "vanilla": 20.5, "none": 28.5}
    for arm, (low, high) in row["intervals"]["percent"].items():
        assert low < row["percent"][arm] < high


def test_the_clustered_result_the_naive_one_and_the_model_stand_side_by_side(paper: Report) -> None:
    significance = to_dict(paper)["significance"]
    assert significance["clustered"]["available"] is True
    assert significance["clustered"]["share"] == pytest.approx(2027 / 3653)
    assert significance["share"] == pytest.approx(2027 / 3653)
    assert [each["method"] for each in significance["intervals"]] == ["wilson", "clopper-pearson"]
    assert significance["sign_test"]["first"] + significance["sign_test"]["second"] == 200 - 14
    comparison = to_dict(paper)["comparisons"][0]
    assert comparison["ties"]["davidson"]["ties"] == pytest.approx(0.7519, abs=5e-5)
    assert comparison["mixed_model"]["pair_sd"] > comparison["mixed_model"]["rater_sd"] >= 0
    assert comparison["consistency"] == {
        "ok": True, "rows": 4, "wrong": [], "says": comparison["consistency"]["says"],
    }  # fmt: skip


def test_monitoring_keeps_its_end_and_not_its_path(paper: Report) -> None:
    monitoring = to_dict(paper)["comparisons"][0]["monitoring"]
    assert monitoring["available"] is True
    assert 0 <= monitoring["interval"]["low"] < monitoring["interval"]["high"] <= 1
    assert not {"after", "low", "high", "log_e_values"} & set(monitoring)


def test_what_cannot_be_had_has_a_reason_in_the_numbers_place() -> None:
    (comparison,) = to_dict(build_report(answers_frame([(3, 2, 0)])))["comparisons"]
    for absent in (comparison["significance"]["clustered"], comparison["differences"]["classes"]):
        assert absent["available"] is False
        assert absent["reason"]
    assert comparison["thresholds"][0]["intervals"]["percent"] == {"robust": None, "vanilla": None, "none": None}


def test_no_answers_leave_a_document_of_the_same_form() -> None:
    frame = answers_frame([(3, 2, 1)])
    full, empty = to_dict(build_report(frame)), to_dict(build_report(frame.iloc[:0]))
    assert set(empty) == set(full)
    assert empty["answers"]["total"] == 0
    assert empty["significance"] == {"available": False, "reason": "there is no answer", "assumes": []}


def test_plain_values_have_no_nan_no_array_and_no_fraction() -> None:
    assert plain({1: np.array([1.5, np.nan, np.inf]), "exact": Fraction(60), "part": Fraction(121, 2)}) == {
        "1": [1.5, None, None],
        "exact": 60,
        "part": 60.5,
    }
    assert plain(Absent("there is one rater")) == {"available": False, "reason": "there is one rater"}
    with pytest.raises(TypeError, match="complex has no place in JSON"):
        plain(1j)
