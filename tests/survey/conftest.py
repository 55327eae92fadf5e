"""What most survey tests start from."""

from pathlib import Path

import pytest
from django.test import Client
from hypothesis import settings

from survey.cookies import cookie_name
from survey.models import Rater, Study

from .factories import make_rater, make_study

# The machine may be busy with other work: a slow example is no fault of the rule that it tests.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def study(db: None, tmp_path: Path) -> Study:
    """An open study of four pairs."""
    return make_study(tmp_path)


@pytest.fixture
def rater(study: Study) -> Rater:
    """A rater who has answered nothing yet."""
    return make_rater(study)


@pytest.fixture
def browser(rater: Rater) -> Client:
    """The rater's browser, which has the cookie."""
    return browser_of(rater)


def browser_of(rater: Rater, *, enforce_csrf_checks: bool = False) -> Client:
    """Return a client with the rater's cookie."""
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.cookies[cookie_name(rater.study.slug)] = rater.token
    return client
