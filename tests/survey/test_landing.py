"""`/` and `/s/<slug>/`: the way in."""

from pathlib import Path

import pytest
from django.test import Client

from survey.models import Rater, Study
from survey.services import close_study

from .factories import answer_all, make_rater, make_study

pytestmark = pytest.mark.django_db


def test_the_front_page_names_no_study(client: Client, study: Study) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert b"demo" not in page.content
    assert b"/s/" not in page.content


def test_a_new_rater_is_welcomed_and_nothing_is_written(client: Client, study: Study) -> None:
    page = client.get("/s/demo/")
    assert page.status_code == 200
    assert b'href="/s/demo/consent/"' in page.content
    assert not Rater.objects.exists()
    assert not page.cookies


def test_a_known_rater_goes_on(browser: Client) -> None:
    page = browser.get("/s/demo/")
    assert (page.status_code, page["Location"]) == (302, "/s/demo/trial/")


def test_a_forged_cookie_is_a_new_rater(client: Client, study: Study) -> None:
    client.cookies["rater-demo"] = "forged"
    assert client.get("/s/demo/").status_code == 200


def test_another_studys_cookie_is_a_new_rater(client: Client, rater: Rater, tmp_path: Path) -> None:
    make_study(tmp_path, slug="other")
    client.cookies["rater-other"] = rater.token
    assert client.get("/s/other/").status_code == 200


@pytest.mark.parametrize("address", ["/s/nothing/", "/s/nothing/consent/", "/s/nothing/trial/", "/s/nothing/thanks/"])
def test_an_unknown_study_is_a_404_with_one_line(client: Client, study: Study, address: str) -> None:
    page = client.get(address)
    assert page.status_code == 404
    assert "There is no study &#x27;nothing&#x27;: check the link or the name." in page.content.decode()


@pytest.mark.parametrize("address", ["/s/", "/s/two words/", "/s/demo", "/s/../demo/", "/nowhere"])
def test_a_malformed_address_is_a_404_or_the_right_one(client: Client, study: Study, address: str) -> None:
    assert client.get(address).status_code == (301 if address == "/s/demo" else 404)


@pytest.mark.parametrize("address", ["/s/demo/", "/s/demo/consent/"])
def test_a_closed_study_says_so(client: Client, study: Study, address: str) -> None:
    close_study(study=study)
    page = client.get(address)
    assert page.status_code == 403
    assert b"This survey is closed" in page.content


@pytest.mark.parametrize("address", ["/s/demo/", "/s/demo/consent/"])
def test_a_full_study_says_so(client: Client, tmp_path: Path, address: str) -> None:
    answer_all(make_rater(make_study(tmp_path, raters_per_pair=1)))
    page = client.get(address)
    assert page.status_code == 403
    assert b"This survey is full" in page.content
