"""The site as it is served: Django's own checks, and staff's sign-in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery staple"


def test_djangos_deployment_checks_have_nothing_to_say(tmp_path: Path) -> None:
    environment = os.environ | {
        "SAMESEED_DATA": str(tmp_path),
        "SAMESEED_HTTPS": "1",
        "SAMESEED_HOSTS": "survey.example.org",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = subprocess.run(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "check", "--deploy", "--fail-level", "INFO"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "no issues" in done.stdout


def sign_in(name: str, password: str) -> int:
    return Client().post("/admin/login/", {"username": name, "password": password}).status_code


def test_who_guesses_a_password_waits_and_others_at_the_same_address_do_not() -> None:
    for name in ("ada", "bob"):
        User.objects.create_user(name, password=PASSWORD, is_staff=True)
    tries = [sign_in("ada", "guess") for _ in range(settings.AXES_FAILURE_LIMIT)]
    assert tries[0] == 200
    assert sign_in("ada", PASSWORD) == 429
    assert sign_in("bob", PASSWORD) == 302


def test_no_address_is_stored_of_those_who_guess() -> None:
    from axes.models import AccessAttempt  # noqa: PLC0415

    Client(REMOTE_ADDR="203.0.113.77").post("/admin/login/", {"username": "ada", "password": "guess"})
    assert "203.0.113.77" not in repr([vars(attempt) for attempt in AccessAttempt.objects.all()])
    assert AccessAttempt.objects.count() == 1
