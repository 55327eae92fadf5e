"""`/s/<slug>/consent/`: GET shows, POST enrols."""

from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.test import Client, override_settings

from survey.models import Rater, Study, Trial
from survey.services import close_study

from .factories import answer_all, make_rater, make_study

pytestmark = pytest.mark.django_db


def test_get_shows_what_is_asked_and_creates_nothing(client: Client, study: Study) -> None:
    page = client.get("/s/demo/consent/").content.decode()
    assert study.question in page
    assert "There are 4 pairs." in page
    assert not Rater.objects.exists()


def test_post_enrols_and_leads_to_the_trials(client: Client, study: Study) -> None:
    page = client.post("/s/demo/consent/")
    assert (page.status_code, page["Location"]) == (302, "/s/demo/trial/")
    rater = Rater.objects.get()
    assert (rater.study, rater.simulated, rater.trials.count()) == (study, False, 3)
    assert client.cookies["rater-demo"].value == rater.token


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: Client, study: Study) -> None:
    cookie = client.post("/s/demo/consent/").cookies["rater-demo"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] == 365 * 24 * 3600
    assert not cookie["secure"]


@override_settings(SESSION_COOKIE_SECURE=True)
def test_the_cookie_is_secure_where_sessions_are(client: Client, study: Study) -> None:
    assert client.post("/s/demo/consent/").cookies["rater-demo"]["secure"]


def test_a_rater_needs_no_session(client: Client, study: Study) -> None:
    client.post("/s/demo/consent/")
    client.get("/s/demo/trial/")
    assert not Session.objects.exists()
    assert set(client.cookies) == {"rater-demo", "csrftoken", "arrival-demo"}
    assert client.cookies["arrival-demo"].value == ""


def test_a_known_rater_is_not_enrolled_again(browser: Client) -> None:
    for page in (browser.post("/s/demo/consent/"), browser.get("/s/demo/consent/")):
        assert page["Location"] == "/s/demo/trial/"
    assert Rater.objects.count() == 1


def test_post_without_a_csrf_token_is_a_calm_403(study: Study) -> None:
    page = Client(enforce_csrf_checks=True).post("/s/demo/consent/")
    assert page.status_code == 403
    assert b"The form had expired" in page.content
    assert not Rater.objects.exists()


def test_a_closed_study_enrols_nobody(client: Client, study: Study) -> None:
    close_study(study=study)
    assert client.post("/s/demo/consent/").status_code == 403
    assert not Rater.objects.exists()
    assert "rater-demo" not in client.cookies


def test_a_full_study_enrols_nobody(client: Client, tmp_path: Path) -> None:
    answer_all(make_rater(make_study(tmp_path, raters_per_pair=1)))
    assert client.post("/s/demo/consent/").status_code == 403
    assert (Rater.objects.count(), Trial.objects.count()) == (1, 4)
