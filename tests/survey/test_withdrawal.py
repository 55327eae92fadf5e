"""Who withdraws leaves nothing behind but that somebody did."""

from pathlib import Path

import pytest
from django.apps import apps
from django.test import Client

from survey.models import Exposure, Rater, Response, Revision, Trial, Withdrawal
from survey.selectors import pair_loads
from survey.services import Arrival, Showing, enrol_rater, record_response, withdraw_rater

from .conftest import browser_of
from .factories import answer, first_trial, make_rater, make_study, rng_of

pytestmark = pytest.mark.django_db


def test_everything_is_deleted_and_the_places_are_free_again(tmp_path: Path) -> None:
    study = make_study(tmp_path, panel="prolific", panel_ids="plain", practice_trials=1, repeats=1)
    stays = make_rater(study, seed=1)
    answer(stays, "left", "left")
    before = pair_loads(study)
    rater = enrol_rater(study=study, rng=rng_of(2), arrival=Arrival(participant="person-57", panel_session="visit-91"))
    answer(rater, "left", "right", "same")
    last = rater.trials.get(position=3)
    record_response(trial=last, choice="left", revises=True)
    withdraw_rater(rater=rater)
    assert list(Rater.objects.all()) == [stays]
    assert pair_loads(study) == before
    assert Response.objects.count() == 2
    assert not Revision.objects.exists()
    assert Withdrawal.objects.get().answers == 2, "practice is no answer"
    rows = [
        repr(vars(row)) for model in apps.get_app_config("survey").get_models() for row in model._default_manager.all()
    ]
    assert not [row for row in rows if "person-57" in row or "visit-91" in row or rater.token in row]


def test_it_asks_first_and_then_forgets_the_browser(browser: Client, rater: Rater) -> None:
    answer(rater, "left")
    page = browser.get("/s/demo/withdraw/")
    assert page.status_code == 200
    assert Response.objects.count() == 1
    page = browser.post("/s/demo/withdraw/")
    assert b"Your answers are deleted" in page.content
    assert not Rater.objects.exists()
    assert browser.cookies["rater-demo"].value == ""
    assert browser.get("/s/demo/trial/")["Location"] == "/s/demo/"


def test_an_exposure_goes_with_its_rater(rater: Rater) -> None:
    from django.utils import timezone  # noqa: PLC0415

    showing = Showing(key="showing-1", shown_at=timezone.now())
    record_response(trial=first_trial(rater), choice="left", showing=showing)
    assert Exposure.objects.count() == 1
    withdraw_rater(rater=rater)
    assert not Exposure.objects.exists()
    assert not Trial.objects.exists()


def test_it_needs_a_csrf_token(rater: Rater) -> None:
    assert browser_of(rater, enforce_csrf_checks=True).post("/s/demo/withdraw/").status_code == 403
    assert Rater.objects.exists()
