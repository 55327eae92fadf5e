"""From the database to a frame of answers."""

import pandas as pd
import pytest

from analysis.answers import COLUMNS, parse_answers, write_csv
from analysis.frames import responses
from tests.analysis.study import answer, make_study

pytestmark = pytest.mark.django_db


def test_a_row_tells_who_saw_what_where_and_chose() -> None:
    study = make_study(pairs=2)
    first = answer(study, ["left", "same"])
    second = answer(study, ["left"], first_is_left=False)
    frame = responses(study)
    assert tuple(frame) == COLUMNS
    assert frame.drop(columns="answered_at").to_numpy().tolist() == [
        [f"r{first.pk}", "0", "robust", "vanilla", "left", 1001, 1, "class 0"],
        [f"r{first.pk}", "1", "robust", "vanilla", "same", 1002, 2, "class 1"],
        [f"r{second.pk}", "0", "vanilla", "robust", "left", 1001, 1, "class 0"],
    ]


def test_simulated_raters_are_never_mixed_with_real_ones() -> None:
    study = make_study()
    real, simulated = answer(study, ["left"]), answer(study, ["right"], simulated=True)
    assert responses(study)["rater"].tolist() == [f"r{real.pk}"]
    assert responses(study, simulated=True)["rater"].tolist() == [f"simulated{simulated.pk}"]


def test_another_studys_answers_stay_out() -> None:
    study = make_study()
    answer(make_study("other"), ["left"])
    assert responses(study).empty


def test_with_three_arms_each_pair_of_images_has_its_own_name() -> None:
    study = make_study(pairs=1, arms=("robust", "unguided", "vanilla"))
    answer(study, ["left", "right", "same"])
    assert responses(study)["pair"].tolist() == ["0:robust:unguided", "0:robust:vanilla", "0:unguided:vanilla"]


def test_an_empty_frame_has_the_columns_and_dtypes_of_a_full_one() -> None:
    study = make_study()
    empty = responses(study)
    answer(study, ["left"])
    assert empty.dtypes.to_dict() == responses(study).dtypes.to_dict()


def test_the_csv_of_a_study_is_read_back_as_the_same_frame() -> None:
    study = make_study()
    answer(study, ["left", "same", "right"])
    answer(study, ["right"], first_is_left=False)
    frame = responses(study)
    pd.testing.assert_frame_equal(parse_answers(write_csv(frame).encode()), frame)


def test_reading_a_study_takes_few_queries(django_assert_max_num_queries: pytest.FixtureRequest) -> None:
    study = make_study(pairs=5)
    for _ in range(4):
        answer(study, ["left"] * 5)
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        responses(study)
