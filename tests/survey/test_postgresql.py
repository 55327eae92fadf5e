"""The rules that a database could break hold on PostgreSQL too: the same tests, run once more there."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

VARIABLE = "SAMESEED_TEST_POSTGRES"
USUAL = "postgres://postgres@127.0.0.1:5432/postgres"
MODULES = [
    "test_races",
    "test_balance",
    "test_leases",
    "test_specials",
    "test_revisions",
    "test_withdrawal",
    "test_create_study",
    "test_enrol_rater",
    "test_record_response",
    "test_prepared",
    "test_api",
    "test_admin",
]


@pytest.fixture
def server() -> str:
    """The URL of a server on which databases may be made: `make test` names one, and starts it where none answers."""
    url = os.environ.get(VARIABLE, USUAL)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        pytest.fail(f"no PostgreSQL answers at {url} ({error}): run `make test`, or name one in {VARIABLE}")
    return url


def test_the_same_rules_hold_on_postgresql(server: str) -> None:
    folder = Path(__file__).parent
    tests = [str(folder / f"{module}.py") for module in MODULES]
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *tests],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": f"{server.rpartition('/')[0]}/sameseed_{os.getpid()}"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stdout + again.stderr
