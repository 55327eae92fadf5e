"""An answer takes as long in a large study as in a small one: its queries are few, and none looks through a table."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from survey.models import Rater

from .conftest import browser_of
from .factories import answer, make_rater, make_study, next_trial

pytestmark = pytest.mark.django_db

READ_OR_CHANGED = ("SELECT", "UPDATE")


@pytest.fixture
def rater(tmp_path: Path) -> Rater:
    """A rater midway through a study with a limit, who has had a repeat and check pairs."""
    study = make_study(tmp_path, count=12, raters_per_pair=5, pairs_per_rater=9, repeats=1, same_catches=1)
    rater = make_rater(study)
    answer(rater, "left", "right", "left")
    return rater


def plans(queries: CaptureQueriesContext) -> dict[str, list[str]]:
    """Return how the database would go about each of the queries."""
    with connection.cursor() as cursor:
        found: dict[str, list[str]] = {}
        for query in list(queries):
            if query["sql"].startswith(READ_OR_CHANGED):
                cursor.execute("EXPLAIN QUERY PLAN " + query["sql"].replace("%", "%%"))
                found[query["sql"]] = [str(row[3]) for row in cursor.fetchall()]
    return found


def send_answer(browser: Client, rater: Rater) -> Any:
    trial = next_trial(rater)
    assert trial is not None
    showing = {"key": "showing-1", "shown_at": "2026-01-01T00:00:00Z"}
    body = json.dumps({"choice": "left", "response_ms": 900, "key": "answer-1", "showing": showing})
    with CaptureQueriesContext(connection) as queries:
        reply = browser.post(f"/api/v1/trials/{trial.token}/response", body, content_type="application/json")
    assert reply.status_code == 201
    return queries


def test_an_answer_takes_few_queries(rater: Rater) -> None:
    """With its transaction, the answer, what the browser measured, the next pair and the reply."""
    queries = send_answer(browser_of(rater), rater)
    assert len(queries) <= 14


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="plans of an empty PostgreSQL say nothing of a full one")
def test_no_query_of_a_raters_looks_through_a_whole_table(rater: Rater) -> None:
    browser = browser_of(rater)
    asked = plans(send_answer(browser, rater))
    trial = next_trial(rater)
    assert trial is not None
    with CaptureQueriesContext(connection) as queries:
        assert browser.get("/s/demo/trial/").status_code == 200
        assert browser.get(f"/s/demo/image/{trial.token}/left.png").status_code == 200
        assert browser.get("/s/demo/pause/").status_code == 200
        make_rater(rater.study, seed=2)
    asked |= plans(queries)
    assert len(asked) > 15
    scans = {sql: steps for sql, steps in asked.items() if any(step.startswith("SCAN survey") for step in steps)}
    assert scans == {}
    of_pairs = [
        steps for sql, steps in asked.items() if sql.startswith("SELECT") and '"survey_balance"."served"' in sql
    ]
    assert len(of_pairs) >= 2
    assert [steps for steps in of_pairs if any("TEMP B-TREE" in step for step in steps)] == [], "all pairs are sorted"
