"""`/s/<slug>/thanks/`: only once the server holds every answer of the plan."""

import pytest
from django.test import Client

from survey.models import Rater, Study
from survey.services import close_study

from .factories import answer, answer_all

pytestmark = pytest.mark.django_db


def test_the_thanks_come_with_the_last_answer(browser: Client, rater: Rater) -> None:
    for _ in range(4):
        assert browser.get("/s/demo/thanks/")["Location"] == "/s/demo/trial/"
        answer(rater, "same")
    page = browser.get("/s/demo/thanks/")
    assert page.status_code == 200
    assert b"All 4 answers" in page.content


def test_they_stay_when_the_study_closes(browser: Client, rater: Rater) -> None:
    answer_all(rater)
    close_study(study=rater.study)
    page = browser.get("/s/demo/", follow=True)
    assert page.redirect_chain[-1][0] == "/s/demo/thanks/"
    assert page.status_code == 200


def test_a_stranger_is_sent_to_the_landing_page(client: Client, study: Study) -> None:
    assert client.get("/s/demo/thanks/")["Location"] == "/s/demo/"
