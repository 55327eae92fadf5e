"""The API for staff's scripts, and raters' own front ends."""

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token

from survey.models import Rater, Response, Study
from survey.selectors import plan_of

from .factories import answer_all, make_rater

pytestmark = pytest.mark.django_db

ADDRESSES = ["", "demo/", "demo/pairs/", "demo/progress/", "demo/exports/answers.csv"]


@pytest.fixture
def script() -> Client:
    """A script with a staff member's token."""
    token = Token.objects.create(user=User.objects.create_user("ada", is_staff=True))
    return Client(headers={"Authorization": f"Token {token.key}"})


def get(client: Client, address: str) -> Any:
    reply = client.get(f"/api/v1/studies/{address}")
    assert reply.status_code == 200, reply.content
    return reply.json()


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_staff_may_read(client: Client, study: Study, address: str) -> None:
    token = Token.objects.create(user=User.objects.create_user("bob"))
    for headers, code in (
        ({}, 401),
        ({"Authorization": f"Token {token.key}"}, 403),
        ({"Authorization": "Token x"}, 401),
    ):
        reply = client.get(f"/api/v1/studies/{address}", headers=headers)
        assert reply.status_code == code
        assert set(reply.json()["error"]) == {"code", "message"}


def test_studies_come_in_pages_with_their_plan(script: Client, study: Study) -> None:
    answer_all(make_rater(study))
    plan = plan_of(study)
    assert plan is not None
    page = get(script, "")
    assert (page["count"], page["next"]) == (1, None)
    [told] = page["results"]
    assert told == get(script, "demo/")
    assert (told["slug"], told["arms"], told["answers"]) == ("demo", ["robust", "vanilla"], 4)
    assert told["plan_sha256"] == plan.sha256


def test_pairs_come_in_pages(script: Client, study: Study) -> None:
    answer_all(make_rater(study))
    page = get(script, "demo/pairs/?page_size=3")
    assert (page["count"], len(page["results"])) == (4, 3)
    assert page["results"][0] == {
        "index": 0,
        "class_name": "sneaker",
        "first_arm": "robust",
        "second_arm": "vanilla",
        "width": 8,
        "height": 8,
        "served": 1,
    }
    assert len(get(script, "demo/pairs/?page_size=3&page=2")["results"]) == 1


def test_progress_tells_nothing_of_preferences(script: Client, study: Study) -> None:
    answer_all(make_rater(study), "left")
    progress = get(script, "demo/progress/")
    assert (progress["raters"], progress["finished"], progress["answers"], progress["left_share"]) == (1, 1, 4, 1.0)
    assert "robust" not in json.dumps(progress)


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_exports_are_streamed(script: Client, study: Study, file_format: str) -> None:
    answer_all(make_rater(study), "left")
    reply: Any = script.get(f"/api/v1/studies/demo/exports/answers.{file_format}")
    assert reply.streaming
    content = b"".join(reply.streaming_content)
    if file_format == "csv":
        assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 4
    elif file_format == "json":
        assert len(json.loads(content)) == 4
    else:
        assert content[:4] == content[-4:] == b"PAR1"


def test_what_is_not_there_has_the_one_error_shape(script: Client, study: Study) -> None:
    for address in ("nothing/", "nothing/pairs/", "demo/exports/answers.xlsx", "demo/exports/secrets.csv"):
        reply = script.get(f"/api/v1/studies/{address}")
        assert reply.status_code == 404
        assert set(reply.json()["error"]) == {"code", "message"}


def test_the_reference_lists_the_operations_and_the_columns(client: Client, study: Study) -> None:
    page = client.get("/api/v1/docs/").content.decode()
    assert "/api/v1/studies/{slug}/raters" in page
    assert "plan_sha256" in client.get("/api/v1/exports/").content.decode()
    schema = client.get("/api/v1/schema/")
    assert schema.status_code == 200
    assert b"/api/v1/trials/{token}/response" in schema.content


def test_a_front_end_of_ones_own_can_run_a_whole_survey(client: Client, study: Study) -> None:
    def post(address: str, body: object, token: str = "") -> Any:
        headers = {"Authorization": f"Rater {token}"} if token else {}
        return Client(enforce_csrf_checks=True).post(
            f"/api/v1/{address}", json.dumps(body), content_type="application/json", headers=headers
        )

    reply = post("studies/demo/raters", {"consent": True})
    assert reply.status_code == 201
    state = reply.json()
    token = state["token"]
    assert len(state["next"]) == 3
    assert post(f"trials/{state['next'][0]['token']}/response", {"choice": "left"}, "forged").status_code == 404
    while state["next"]:
        reply = post(f"trials/{state['next'][0]['token']}/response", {"choice": "left"}, token)
        assert reply.status_code == 201
        state = reply.json()
    assert state["done_url"] == "/s/demo/thanks/"
    assert Response.objects.count() == 4
    again = client.get("/api/v1/studies/demo/trials", headers={"Authorization": f"Rater {token}"})
    assert again.json()["progress"] == {"answered": 4, "total": 4}
    assert not Rater.objects.get().simulated


@pytest.mark.parametrize("body", [{}, {"consent": False}, {"consent": True, "participant": "x" * 129}])
def test_nobody_is_enrolled_without_consent_or_by_a_malformed_body(client: Client, study: Study, body: object) -> None:
    reply = client.post("/api/v1/studies/demo/raters", json.dumps(body), content_type="application/json")
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"code", "message"}
    assert not Rater.objects.exists()
