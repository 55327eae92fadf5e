"""A correction is added to the answer that it corrects; a key names an answer once."""

import pytest
from django.test import Client

from analysis.frames import responses
from survey.errors import ConflictingResponse, InvalidResponse, StudyClosed
from survey.models import Rater, Response, Revision
from survey.services import close_study, record_response

from .factories import answer, first_trial, next_trial

pytestmark = pytest.mark.django_db


def test_the_last_choice_counts_once_and_the_first_stays_with_both_times(rater: Rater) -> None:
    trial = first_trial(rater)
    first, _ = record_response(trial=trial, choice="left", response_ms=1000, key="key-00001")
    record_response(trial=trial, choice="right", response_ms=300, key="key-00002", revises=True)
    stored = Response.objects.get()
    assert (stored.choice, stored.response_ms, stored.answered_at) == ("right", 1000, first.answered_at)
    revision = Revision.objects.get()
    assert (revision.number, revision.before, revision.choice, revision.response_ms) == (1, "left", "right", 300)
    assert revision.revised_at > stored.answered_at
    frame = responses(rater.study)
    assert frame["choice"].tolist() == ["right"]
    assert frame["response_ms"].tolist() == [1000]


def test_replays_of_the_answer_and_of_its_correction_change_nothing(rater: Rater) -> None:
    trial = first_trial(rater)
    record_response(trial=trial, choice="left", key="key-00001")
    record_response(trial=trial, choice="right", key="key-00002", revises=True)
    assert record_response(trial=trial, choice="left", key="key-00001")[1] is False
    assert record_response(trial=trial, choice="right", key="key-00002", revises=True)[1] is False
    assert (Response.objects.get().choice, Revision.objects.count()) == ("right", 1)


@pytest.mark.parametrize(("key", "choice"), [("key-00001", "same"), ("key-00002", "left")])
def test_a_key_that_comes_with_another_choice_is_a_conflict(rater: Rater, key: str, choice: str) -> None:
    trial = first_trial(rater)
    record_response(trial=trial, choice="left", key="key-00001")
    record_response(trial=trial, choice="right", key="key-00002", revises=True)
    with pytest.raises(ConflictingResponse):
        record_response(trial=trial, choice=choice, key=key, revises=key == "key-00002")
    assert Response.objects.get().choice == "right"


def test_a_key_of_another_trial_is_a_conflict(rater: Rater) -> None:
    record_response(trial=first_trial(rater), choice="left", key="key-00001")
    second = next_trial(rater)
    assert second is not None
    with pytest.raises(ConflictingResponse, match="names another answer"):
        record_response(trial=second, choice="left", key="key-00001")
    assert Response.objects.count() == 1


def test_only_the_last_answer_can_be_corrected(rater: Rater) -> None:
    first, _ = answer(rater, "left", "left")
    with pytest.raises(ConflictingResponse, match="only your last answer"):
        record_response(trial=first.trial, choice="right", revises=True)
    assert not Revision.objects.exists()


def test_there_is_nothing_to_correct_before_an_answer(rater: Rater) -> None:
    with pytest.raises(InvalidResponse, match="no answer to correct"):
        record_response(trial=first_trial(rater), choice="left", revises=True)


def test_a_closed_study_takes_no_correction(rater: Rater) -> None:
    [response] = answer(rater, "left")
    close_study(study=rater.study)
    with pytest.raises(StudyClosed):
        record_response(trial=response.trial, choice="right", revises=True)


def test_an_answer_can_be_corrected_twice_and_back_without_javascript(browser: Client, rater: Rater) -> None:
    trial = first_trial(rater)
    browser.post("/s/demo/trial/", {"trial": trial.token, "choice": "left"})
    for choice in ("right", "left"):
        page = browser.get("/s/demo/trial/?back=1").content.decode()
        assert f'name="trial" value="{trial.token}"' in page
        assert 'name="revises" value="1"' in page
        assert "1 of 4" in page
        browser.post("/s/demo/trial/", {"trial": trial.token, "choice": choice, "revises": "1"})
    assert list(Revision.objects.values_list("number", "before", "choice")) == [
        (1, "left", "right"),
        (2, "right", "left"),
    ]
    assert "2 of 4" in browser.get("/s/demo/trial/").content.decode()
