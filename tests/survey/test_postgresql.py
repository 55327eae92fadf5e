"""The rules that a database could break hold on PostgreSQL too: the same tests, run once more there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from . import postgresql

MODULES = ["test_races", "test_create_study", "test_enrol_rater", "test_record_response", "test_api", "test_admin"]


def test_the_same_rules_hold_on_postgresql(tmp_path: Path) -> None:
    with postgresql.server() as url:
        if url is None:
            remedy = f"install PostgreSQL (apt-get install postgresql) or set {postgresql.VARIABLE} to a server's URL"
            assert "CI" not in os.environ, remedy
            pytest.skip(remedy)
        folder = Path(__file__).parent
        tests = [str(folder / f"{module}.py") for module in MODULES]
        again = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *tests],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": f"{url.rpartition('/')[0]}/sameseed_{os.getpid()}"},
            check=False,
            capture_output=True,
            text=True,
        )
    assert again.returncode == 0, again.stdout + again.stderr
