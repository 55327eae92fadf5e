"""`/s/<slug>/trial/`: shows the next trial; POST answers the one that the form names."""

import json
import re

import pytest
from django.test import Client

from survey.models import Rater, Response, Study
from survey.services import close_study

from .conftest import browser_of
from .factories import answer_all, first_trial, make_rater

pytestmark = pytest.mark.django_db

ADDRESS = "/s/demo/trial/"


def test_the_page_shows_the_first_trial(browser: Client, rater: Rater) -> None:
    page = browser.get(ADDRESS).content.decode()
    trial = first_trial(rater)
    assert f">{trial.pair.class_name}</h1>" in page
    assert rater.study.question in page
    assert f'<input type="hidden" name="trial" value="{trial.token}">' in page
    assert re.findall(r'<img id="(\w+)"\s+class="small"\s+src="([^"]+)"\s+width="8"\s+height="8"', page) == [
        (side, f"/s/demo/image/{trial.token}/{side}.png") for side in ("left", "right")
    ]
    assert "1 of 4" in page
    assert re.findall(r'value="(left|same|right)"', page) == ["left", "same", "right"]


def test_the_next_two_trials_are_told_to_the_script(browser: Client, rater: Rater) -> None:
    page = browser.get(ADDRESS).content.decode()
    found = re.search(r'<script id="state" type="application/json">(.*?)</script>', page)
    assert found is not None
    state = json.loads(found[1])
    trials = rater.trials.filter(position__lte=3).order_by("position")
    assert [trial["token"] for trial in state["next"]] == [trial.token for trial in trials]
    assert state["progress"] == {"answered": 0, "total": 4}
    assert state["last"] is None


def test_an_answer_is_stored_and_the_next_trial_follows(browser: Client, rater: Rater) -> None:
    trial = first_trial(rater)
    page = browser.post(ADDRESS, {"trial": trial.token, "choice": "right", "response_ms": "1500"})
    assert (page.status_code, page["Location"]) == (302, ADDRESS)
    response = Response.objects.get()
    assert (response.trial, response.choice, response.response_ms) == (trial, "right", 1500)
    assert "2 of 4" in browser.get(ADDRESS).content.decode()


def test_an_answer_without_a_script_has_no_time(browser: Client, rater: Rater) -> None:
    browser.post(ADDRESS, {"trial": first_trial(rater).token, "choice": "same", "response_ms": ""})
    assert Response.objects.get().response_ms is None


def test_a_double_click_is_one_answer(browser: Client, rater: Rater) -> None:
    form = {"trial": first_trial(rater).token, "choice": "left"}
    assert [browser.post(ADDRESS, form).status_code for _ in range(2)] == [302, 302]
    assert Response.objects.count() == 1


def test_a_second_thought_is_a_calm_409_and_the_first_answer_stays(browser: Client, rater: Rater) -> None:
    token = first_trial(rater).token
    browser.post(ADDRESS, {"trial": token, "choice": "left"})
    page = browser.post(ADDRESS, {"trial": token, "choice": "right"})
    assert page.status_code == 409
    assert b"You answered this pair before" in page.content
    assert b'href="/s/demo/"' in page.content
    assert Response.objects.get().choice == "left"


@pytest.mark.parametrize(
    "change",
    [
        {"choice": ""},
        {"choice": "both"},
        {"choice": "left\x00"},
        {"choice": "x" * 10_000},
        {"response_ms": "-1"},
        {"response_ms": "86400001"},
        {"response_ms": "9" * 5000},
        {"response_ms": "soon"},
        {"response_ms": "NaN"},
        {"trial": ""},
    ],
)
def test_a_malformed_answer_is_a_400_and_stores_nothing(browser: Client, rater: Rater, change: dict[str, str]) -> None:
    page = browser.post(ADDRESS, {"trial": first_trial(rater).token, "choice": "left"} | change)
    assert page.status_code == 400
    assert b"That did not work" in page.content
    assert not Response.objects.exists()


def test_an_empty_form_is_a_400(browser: Client) -> None:
    assert browser.post(ADDRESS).status_code == 400


def test_a_forged_trial_is_a_404(browser: Client) -> None:
    page = browser.post(ADDRESS, {"trial": "forged", "choice": "left"})
    assert page.status_code == 404
    assert b"This page is out of date" in page.content


def test_another_raters_trial_is_a_404(browser: Client, study: Study) -> None:
    other = make_rater(study, seed=2)
    assert browser.post(ADDRESS, {"trial": first_trial(other).token, "choice": "left"}).status_code == 404
    assert not Response.objects.exists()


def test_an_answer_without_the_cookie_is_a_404(client: Client, rater: Rater) -> None:
    assert client.post(ADDRESS, {"trial": first_trial(rater).token, "choice": "left"}).status_code == 404
    assert not Response.objects.exists()


def test_an_answer_without_a_csrf_token_is_a_403(rater: Rater) -> None:
    browser = browser_of(rater, enforce_csrf_checks=True)
    assert browser.post(ADDRESS, {"trial": first_trial(rater).token, "choice": "left"}).status_code == 403
    assert not Response.objects.exists()


def test_a_stranger_is_sent_to_the_landing_page(client: Client, study: Study) -> None:
    assert client.get(ADDRESS)["Location"] == "/s/demo/"


def test_after_the_last_trial_comes_the_thanks(browser: Client, rater: Rater) -> None:
    answer_all(rater)
    assert browser.get(ADDRESS)["Location"] == "/s/demo/thanks/"


def test_a_closed_study_shows_and_takes_nothing(browser: Client, rater: Rater, study: Study) -> None:
    close_study(study=study)
    assert browser.get(ADDRESS).status_code == 403
    page = browser.post(ADDRESS, {"trial": first_trial(rater).token, "choice": "left"})
    assert page.status_code == 403
    assert b"This survey is closed" in page.content
    assert not Response.objects.exists()


def test_the_page_is_kept_by_no_cache(browser: Client) -> None:
    assert "no-store" in browser.get(ADDRESS)["Cache-Control"]


def test_other_methods_are_refused(browser: Client) -> None:
    assert browser.put(ADDRESS).status_code == 405
