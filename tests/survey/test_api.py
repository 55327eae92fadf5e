"""`POST /api/v1/trials/<token>/response`: what the trial page's script sends and gets."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix

from survey.api.state import describe
from survey.models import Rater, Response, Study
from survey.services import close_study

from .conftest import browser_of
from .factories import answer, first_trial, make_rater

pytestmark = pytest.mark.django_db


def post(client: Client, token: str, body: object) -> Any:
    """Post a body as JSON; a string goes as it is."""
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post(f"/api/v1/trials/{token}/response", data, content_type="application/json")


def fault(reply: Any) -> tuple[int, str]:
    """Return the status and code of an error, having checked its shape."""
    body = json.loads(reply.content)
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    assert body["error"]["message"]
    return reply.status_code, body["error"]["code"]


def test_an_answer_is_created_and_what_comes_next_is_told(browser: Client, rater: Rater) -> None:
    first = first_trial(rater)
    reply = post(browser, first.token, {"choice": "left", "response_ms": 1234})
    trials = list(rater.trials.order_by("position"))
    assert len(trials) == 4
    assert reply.status_code == 201
    assert reply.json() == {
        "progress": {"answered": 1, "total": 4},
        "next": [
            {
                "token": trial.token,
                "class_name": trial.pair.class_name,
                "small": True,
                "practice": False,
                "left": f"/s/demo/image/{trial.token}/left.png",
                "right": f"/s/demo/image/{trial.token}/right.png",
            }
            for trial in trials[1:]
        ],
    }
    response = Response.objects.get()
    assert (response.trial, response.choice, response.response_ms) == (first, "left", 1234)
    assert "no-store" in reply["Cache-Control"]


def test_a_site_below_a_folder_tells_its_images_addresses_there(rater: Rater) -> None:
    trial = first_trial(rater)
    for prefix in ("/", "/lab/", "/"):
        set_script_prefix(prefix)
        try:
            told = describe(trial, slug="demo")
        finally:
            clear_script_prefix()
        assert told["left"] == f"{prefix}s/demo/image/{trial.token}/left.png"
        assert told["right"] == f"{prefix}s/demo/image/{trial.token}/right.png"


def test_the_last_answer_leads_to_the_thanks(browser: Client, rater: Rater) -> None:
    answer(rater, "left", "left", "left")
    last = rater.trials.get(position=4)
    assert post(browser, last.token, {"choice": "left"}).json() == {
        "progress": {"answered": 4, "total": 4},
        "next": [],
        "done_url": "/s/demo/thanks/",
    }


def test_a_replay_returns_200_and_stores_nothing(browser: Client, rater: Rater) -> None:
    token = first_trial(rater).token
    first = post(browser, token, {"choice": "left"})
    again = post(browser, token, {"choice": "left"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Response.objects.count() == 1


def test_a_conflicting_replay_is_a_409(browser: Client, rater: Rater) -> None:
    token = first_trial(rater).token
    post(browser, token, {"choice": "left"})
    assert fault(post(browser, token, {"choice": "right"})) == (409, "conflicting_response")
    assert Response.objects.get().choice == "left"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choice": "both"},
        {"choice": None},
        {"choice": ["left"]},
        {"choice": {"left": 1}},
        {"choice": "left", "response_ms": -1},
        {"choice": "left", "response_ms": 86_400_001},
        {"choice": "left", "response_ms": "soon"},
        {"choice": "left", "response_ms": 1.5},
        {"choice": "left", "response_ms": True},
        {"choice": "left", "response_ms": int("9" * 400)},
        [],
        ["left"],
        "left",
        "{",
        "",
        '{"choice": "left", "response_ms": NaN}',
        '{"choice": "left", "response_ms": ' + "9" * 5000 + "}",
        b"\xff\xfe",
    ],
)
def test_a_malformed_body_is_a_400_and_stores_nothing(browser: Client, rater: Rater, body: object) -> None:
    assert fault(post(browser, first_trial(rater).token, body))[0] == 400
    assert not Response.objects.exists()


def test_only_json_is_taken(browser: Client, rater: Rater) -> None:
    reply = browser.post(f"/api/v1/trials/{first_trial(rater).token}/response", {"choice": "left"})
    assert fault(reply)[0] == 415


def test_only_post_is_taken(browser: Client, rater: Rater) -> None:
    assert fault(browser.get(f"/api/v1/trials/{first_trial(rater).token}/response"))[0] == 405


def test_a_forged_token_is_a_404(browser: Client) -> None:
    assert fault(post(browser, "forged", {"choice": "left"})) == (404, "unknown_trial")


def test_another_raters_trial_is_a_404(browser: Client, study: Study) -> None:
    token = first_trial(make_rater(study, seed=2)).token
    assert fault(post(browser, token, {"choice": "left"})) == (404, "unknown_trial")


def test_no_cookie_is_a_404(client: Client, rater: Rater) -> None:
    assert fault(post(client, first_trial(rater).token, {"choice": "left"})) == (404, "unknown_trial")
    assert not Response.objects.exists()


def test_a_closed_study_is_a_403(browser: Client, rater: Rater) -> None:
    close_study(study=rater.study)
    assert fault(post(browser, first_trial(rater).token, {"choice": "left"})) == (403, "study_closed")
    assert not Response.objects.exists()


def test_a_post_without_a_csrf_token_is_a_403(rater: Rater) -> None:
    browser = browser_of(rater, enforce_csrf_checks=True)
    browser.get("/s/demo/trial/")
    assert fault(post(browser, first_trial(rater).token, {"choice": "left"})) == (403, "csrf_failed")
    assert not Response.objects.exists()


def test_a_post_with_the_pages_csrf_token_is_taken(rater: Rater) -> None:
    browser = browser_of(rater, enforce_csrf_checks=True)
    csrf = browser.get("/s/demo/trial/").context["csrf_token"]
    reply = browser.post(
        f"/api/v1/trials/{first_trial(rater).token}/response",
        {"choice": "left"},
        content_type="application/json",
        headers={"X-CSRFToken": str(csrf)},
    )
    assert reply.status_code == 201


@pytest.mark.parametrize("address", ["/api/v1/", "/api/v1/trials/a b/response", "/api/v1/trials/x/response/"])
def test_an_unknown_address_has_the_same_error_shape(client: Client, db: None, address: str) -> None:
    assert fault(client.get(address)) == (404, "not_found")
