"""Pages in the study's language or the browser's, from right to left where it is written so."""

import gettext
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from survey.models.study import QUESTION

from .conftest import browser_of
from .factories import make_rater, make_study

pytestmark = pytest.mark.django_db

CATALOGUE = settings.BASE_DIR / "locale" / "ar" / "LC_MESSAGES"


def test_a_study_has_its_own_language_and_direction(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, language="ar"))
    browser = browser_of(rater)
    for address in ("/s/demo/trial/", "/s/demo/pause/", "/s/demo/withdraw/"):
        page = " ".join(browser.get(address).content.decode().split())
        assert '<html lang="ar" dir="rtl"' in page
    assert "اليسرى" in browser.get("/s/demo/trial/").content.decode()


@pytest.mark.parametrize(("asked", "language"), [("ar,en;q=0.5", "ar"), ("en", "en"), ("xx", "en"), ("", "en")])
def test_otherwise_the_browser_is_asked(tmp_path: Path, asked: str, language: str) -> None:
    make_study(tmp_path)
    for address in ("/", "/s/demo/", "/s/demo/consent/", "/s/nothing/"):
        page = Client().get(address, headers={"Accept-Language": asked})
        assert f'<html lang="{language}"' in page.content.decode()


def test_every_text_of_the_raters_pages_is_translated() -> None:
    """The catalogue that is read, not the one that is written, holds what the templates mark."""
    with (CATALOGUE / "django.mo").open("rb") as file:
        known = gettext.GNUTranslations(file)
    marked = set()
    for template in (settings.BASE_DIR / "templates" / "survey").glob("*.html"):
        marked |= set(re.findall(r'\{% translate "([^"]+)"', template.read_text()))
    assert len(marked) > 40
    assert [text for text in sorted(marked) if known.gettext(text) == text] == []


@pytest.mark.parametrize(
    ("question", "told"),
    [(QUESTION, "أي الصورتين أكثر واقعية"), ("<b>50 %</b> A & B?", "&lt;b&gt;50 %&lt;/b&gt; A &amp; B?")],
)
def test_the_usual_question_is_translated_and_ones_own_stays(tmp_path: Path, question: str, told: str) -> None:
    rater = make_rater(make_study(tmp_path, language="ar", question=question))
    assert told in Client().get("/s/demo/consent/").content.decode()
    assert told in browser_of(rater).get("/s/demo/trial/").content.decode()
