"""A rater at a real browser while the real server is cut off and started again."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.survey import chromium

from .site import free_port, kill, quickstart, serving

PAIRS = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with an open study of three pairs."""
    done = quickstart(tmp_path / "data", "--pairs", str(PAIRS), "--no-serve")
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "data"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser of its own."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium.executable(playwright), args=chromium.ARGUMENTS) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page


def choices(data: Path) -> list[str]:
    """Return the stored answers, in the order of their trials."""
    query = "select choice from survey_response join survey_trial on trial_id = survey_trial.id"
    query += " where kind <> 'practice' order by position"
    with contextlib.closing(sqlite3.connect(data / "db.sqlite3")) as connection:
        return [choice for (choice,) in connection.execute(query)]


def ready(page: Page, number: int) -> None:
    """Wait until the trial of that number can be answered."""
    expect(page.locator("#count")).to_have_text(f"{number} of {PAIRS}", timeout=30_000)
    expect(page.locator("#trial[data-state=ready]")).to_be_visible(timeout=30_000)


def test_answers_given_while_the_server_is_down_are_stored_once_after_it_is_back(data: Path, page: Page) -> None:
    port = free_port()
    with serving(data, port) as (process, site):
        page.goto(f"{site}/s/demo/")
        page.get_by_role("link", name="Begin").click()
        page.get_by_role("button", name="I agree, start").click()
        expect(page.locator("#trial[data-state=ready]")).to_be_visible(timeout=30_000)
        page.keyboard.press("ArrowLeft")  # the practice trial
        ready(page, 1)
        page.wait_for_load_state("networkidle")  # the next two pairs' images are there
        kill(process)
        page.keyboard.press("ArrowLeft")
        ready(page, 2)
        page.keyboard.press("ArrowDown")
        ready(page, 3)
        expect(page.locator("#message")).to_contain_text("The connection is slow", timeout=30_000)
        assert choices(data) == []
    with serving(data, port):
        expect(page.locator("#message")).to_be_empty(timeout=60_000)
        page.keyboard.press("ArrowRight")
        expect(page.get_by_text(f"All {PAIRS} answers are stored")).to_be_visible(timeout=60_000)
    assert choices(data) == ["left", "same", "right"]
