"""An acknowledged answer is stored once and stays."""

from unittest.mock import ANY

import pytest

from survey.errors import ConflictingResponse, InvalidResponse, StudyClosed
from survey.models import Rater, Response
from survey.selectors import answers_total, progress_of
from survey.services import close_study, open_study, record_response

from .factories import first_trial

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("choice", ["left", "same", "right"])
def test_an_answer_is_stored(rater: Rater, choice: str) -> None:
    response, created = record_response(trial=first_trial(rater), choice=choice, response_ms=1234)
    assert created
    assert Response.objects.values().get() == {
        "id": response.pk,
        "trial_id": first_trial(rater).pk,
        "choice": choice,
        "response_ms": 1234,
        "answered_at": ANY,
        "key": None,
    }
    assert (progress_of(rater).answered, answers_total(rater.study)) == (1, 1)


def test_the_same_answer_again_returns_the_stored_one(rater: Rater) -> None:
    trial = first_trial(rater)
    first, _ = record_response(trial=trial, choice="left", response_ms=10)
    again, created = record_response(trial=trial, choice="left", response_ms=99)
    assert (again.pk, again.response_ms, created) == (first.pk, 10, False)
    assert Response.objects.count() == 1


def test_another_answer_is_refused_and_the_first_stays(rater: Rater) -> None:
    trial = first_trial(rater)
    record_response(trial=trial, choice="left")
    with pytest.raises(ConflictingResponse):
        record_response(trial=trial, choice="right")
    assert Response.objects.get().choice == "left"


@pytest.mark.parametrize("choice", ["", "LEFT", "both", "left "])
def test_an_unknown_choice_is_refused(rater: Rater, choice: str) -> None:
    with pytest.raises(InvalidResponse, match="left, same, right"):
        record_response(trial=first_trial(rater), choice=choice)
    assert not Response.objects.exists()


@pytest.mark.parametrize("response_ms", [-1, 86_400_001, 10**30])
def test_a_time_out_of_range_is_refused(rater: Rater, response_ms: int) -> None:
    with pytest.raises(InvalidResponse, match="from 0 to 86400000"):
        record_response(trial=first_trial(rater), choice="left", response_ms=response_ms)
    assert not Response.objects.exists()


@pytest.mark.parametrize("response_ms", [None, 0, 86_400_000])
def test_a_time_in_range_or_none_is_stored(rater: Rater, response_ms: int | None) -> None:
    record_response(trial=first_trial(rater), choice="left", response_ms=response_ms)
    assert Response.objects.get().response_ms == response_ms


def test_a_closed_study_takes_no_new_answer_and_keeps_the_old(rater: Rater) -> None:
    answered, waiting = rater.trials.order_by("position")[:2]
    record_response(trial=answered, choice="left")
    close_study(study=rater.study)
    with pytest.raises(StudyClosed):
        record_response(trial=waiting, choice="left")
    assert record_response(trial=answered, choice="left")[1] is False
    with pytest.raises(ConflictingResponse):
        record_response(trial=answered, choice="right")
    open_study(study=rater.study)
    assert record_response(trial=waiting, choice="left")[1] is True
