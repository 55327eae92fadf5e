"""How raters come: by an open link, an invitation, a panel; and back by a link of their own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from survey.models import Invite, Rater, Study
from survey.services import create_invites

from .conftest import browser_of
from .factories import answer_all, make_rater, make_study

pytestmark = pytest.mark.django_db

PROLIFIC = {"PROLIFIC_PID": "5a9d64f5f6dfdd0001eaa73d", "STUDY_ID": "study-one", "SESSION_ID": "visit-one"}
MTURK = {"workerId": "A1B2C3", "hitId": "HIT9", "assignmentId": "ASG7"}


def arrive(study: Study, parameters: dict[str, str], client: Client | None = None) -> Client:
    """Open the link as a panel sends somebody, and consent."""
    client = client or Client()
    address = f"/s/{study.slug}/"
    reply = client.get(address, parameters)
    assert (reply.status_code, reply["Location"]) == (302, address)
    client.post(f"{address}consent/")
    return client


def rows() -> Iterator[Any]:
    yield from Rater.objects.values_list("participant", "panel_study", "panel_session")


@pytest.mark.parametrize(("panel", "sent"), [("prolific", PROLIFIC), ("mturk", MTURK)])
def test_a_panels_numbers_are_kept_plain_where_the_study_says_so(
    tmp_path: Path, panel: str, sent: dict[str, str]
) -> None:
    arrive(make_study(tmp_path, panel=panel, panel_ids="plain"), sent)
    assert list(rows()) == [tuple(sent.values())]


@pytest.mark.parametrize(("panel", "sent"), [("prolific", PROLIFIC), ("mturk", MTURK)])
def test_they_are_kept_hashed_otherwise_and_otherwise_in_each_study(
    tmp_path: Path, panel: str, sent: dict[str, str]
) -> None:
    for slug in ("one", "two"):
        arrive(make_study(tmp_path, slug=slug, panel=panel), sent)
    kept = [value for row in rows() for value in row]
    assert all(len(value) == 64 for value in kept)
    assert len(set(kept)) == 6


def test_opening_the_link_stores_nothing_and_leaves_no_number_in_the_address(tmp_path: Path) -> None:
    study = make_study(tmp_path, panel="prolific")
    client = Client()
    reply = client.get("/s/demo/", PROLIFIC)
    assert reply["Location"] == "/s/demo/"
    assert client.get("/s/demo/").status_code == 200
    assert client.get("/s/demo/consent/").status_code == 200
    assert not Rater.objects.exists()
    cookie = client.cookies["arrival-demo"]
    assert cookie["httponly"]
    assert PROLIFIC["PROLIFIC_PID"] not in cookie.value
    assert study.panel_key not in cookie.value


def test_the_same_participant_is_the_same_rater_in_any_browser(tmp_path: Path) -> None:
    study = make_study(tmp_path, panel="prolific")
    first = arrive(study, PROLIFIC)
    second = Client()
    second.get("/s/demo/", PROLIFIC | {"SESSION_ID": "visit-two"})
    assert second.get("/s/demo/")["Location"] == "/s/demo/trial/"
    assert Rater.objects.count() == 1
    assert first.cookies["rater-demo"].value == second.cookies["rater-demo"].value


def test_another_participant_at_the_same_browser_is_another_rater(tmp_path: Path) -> None:
    study = make_study(tmp_path, panel="prolific")
    client = arrive(study, PROLIFIC)
    one = client.cookies["rater-demo"].value
    arrive(study, PROLIFIC | {"PROLIFIC_PID": "another"}, client)
    assert Rater.objects.count() == 2
    assert client.cookies["rater-demo"].value != one


def test_a_study_for_a_panel_lets_nobody_else_in(tmp_path: Path) -> None:
    make_study(tmp_path, panel="prolific", access="panel")
    page = Client().post("/s/demo/consent/")
    assert page.status_code == 403
    assert b"open it from the panel" in page.content
    assert not Rater.objects.exists()


def test_a_forged_arrival_is_none(tmp_path: Path) -> None:
    make_study(tmp_path, panel="prolific")
    client = Client()
    client.cookies["arrival-demo"] = json.dumps({"participant": "somebody-else"})
    client.post("/s/demo/consent/")
    assert list(rows()) == [(None, "", "")]


def test_an_invitation_lets_one_rater_in_and_brings_them_back(tmp_path: Path) -> None:
    study = make_study(tmp_path, access="invited")
    [invite] = create_invites(study=study, number=1)
    arrive(study, {"invite": invite.token})
    rater = Rater.objects.get()
    assert Invite.objects.get().rater == rater
    again = Client()
    again.get("/s/demo/", {"invite": invite.token})
    assert again.cookies["rater-demo"].value == rater.token


@pytest.mark.parametrize("token", ["", "forged", "used"])
def test_without_a_fresh_invitation_nobody_is_let_in(tmp_path: Path, token: str) -> None:
    study = make_study(tmp_path, access="invited")
    [invite] = create_invites(study=study, number=1)
    Invite.objects.update(used_at="2026-01-01T00:00:00Z")
    client = Client()
    client.get("/s/demo/", {"invite": invite.token if token == "used" else token})
    page = client.post("/s/demo/consent/")
    assert page.status_code == 403
    assert b"by invitation" in page.content
    assert not Rater.objects.exists()


def test_the_completion_code_and_the_way_back_come_with_the_last_answer(tmp_path: Path) -> None:
    rater = make_rater(
        make_study(tmp_path, completion_code="C0DE-42", completion_url="https://panel.example/submit?cc=C0DE-42")
    )
    browser = browser_of(rater)
    assert b"C0DE-42" not in browser.get("/s/demo/trial/").content
    answer_all(rater)
    page = browser.get("/s/demo/thanks/").content
    assert b"C0DE-42" in page
    assert b'href="https://panel.example/submit?cc=C0DE-42"' in page


def test_a_personal_link_brings_a_rater_to_another_device(browser: Client, rater: Rater) -> None:
    page = browser.get("/s/demo/pause/").content.decode()
    link = f"/s/demo/me/{rater.link_token}/"
    assert f"http://testserver{link}" in page
    assert rater.token not in page
    other = Client()
    assert other.get(link)["Location"] == "/s/demo/trial/"
    assert other.get("/s/demo/trial/").status_code == 200
    assert other.get("/s/demo/me/forged/").status_code == 404
    assert Rater.objects.count() == 1


def test_no_address_of_a_computer_is_stored(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    client = Client(REMOTE_ADDR="203.0.113.77", headers={"X-Forwarded-For": "203.0.113.77"})
    client.get("/s/demo/")
    client.post("/s/demo/consent/")
    client.get("/s/demo/trial/")
    rater = Rater.objects.get()
    assert "203.0.113.77" not in repr([vars(rater), vars(study), [vars(trial) for trial in rater.trials.all()]])
