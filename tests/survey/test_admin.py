"""The staff's pages: they show, and only open and close."""

import pytest
from django.test import Client

from survey.models import Rater, Response, Study
from survey.services import record_response

from .factories import answer_all, first_trial

pytestmark = pytest.mark.django_db

MODELS = ["study", "arm", "pair", "rater", "trial", "response"]


@pytest.fixture
def answered(rater: Rater) -> Response:
    """One answer."""
    return record_response(trial=first_trial(rater), choice="left")[0]


@pytest.mark.parametrize("model", MODELS)
def test_staff_see_lists_and_rows(admin_client: Client, answered: Response, model: str) -> None:
    page = admin_client.get(f"/admin/survey/{model}/")
    assert page.status_code == 200
    row = page.context["cl"].queryset.first()
    assert admin_client.get(f"/admin/survey/{model}/{row.pk}/change/").status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_staff_can_add_and_delete_nothing(admin_client: Client, answered: Response, model: str) -> None:
    row = admin_client.get(f"/admin/survey/{model}/").context["cl"].queryset.first()
    assert admin_client.get(f"/admin/survey/{model}/add/").status_code == 403
    assert admin_client.post(f"/admin/survey/{model}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", MODELS[1:])
def test_staff_can_change_nothing_that_was_shown_or_answered(
    admin_client: Client, answered: Response, model: str
) -> None:
    row = admin_client.get(f"/admin/survey/{model}/").context["cl"].queryset.first()
    assert admin_client.post(f"/admin/survey/{model}/{row.pk}/change/", {"choice": "right"}).status_code == 403
    answered.refresh_from_db()
    assert answered.choice == "left"


def test_the_list_counts_raters_and_answers(admin_client: Client, answered: Response) -> None:
    page = admin_client.get("/admin/survey/study/").content.decode()
    for column, count in (("pairs", 4), ("raters", 1), ("finished", 0), ("answers", 1)):
        assert f'<td class="field-{column}">{count}</td>' in page
    assert 'href="/s/demo/"' in page


def test_finished_raters_are_counted(admin_client: Client, rater: Rater) -> None:
    answer_all(rater)
    assert '<td class="field-finished">1</td>' in admin_client.get("/admin/survey/study/").content.decode()


def test_staff_close_and_open_studies(admin_client: Client, study: Study) -> None:
    for action, status in (("close_studies", "closed"), ("open_studies", "open")):
        admin_client.post("/admin/survey/study/", {"action": action, "_selected_action": [study.pk]})
        study.refresh_from_db()
        assert study.status == status


def test_staff_may_retitle_a_study_and_nothing_else(admin_client: Client, study: Study) -> None:
    form = {"title": "Toys", "slug": "other", "question": "Why?", "status": "closed", "pairs_per_rater": "1"}
    admin_client.post(f"/admin/survey/study/{study.pk}/change/", form)
    known = (study.slug, study.question, study.status, study.pairs_per_rater)
    study.refresh_from_db()
    assert study.title == "Toys"
    assert (study.slug, study.question, study.status, study.pairs_per_rater) == known


def test_raters_tokens_are_not_shown(admin_client: Client, rater: Rater) -> None:
    trial = first_trial(rater)
    for address in (f"rater/{rater.pk}", f"trial/{trial.pk}"):
        page = admin_client.get(f"/admin/survey/{address}/change/").content.decode()
        assert rater.token not in page
        assert trial.token not in page


def test_the_public_cannot_enter(client: Client, study: Study) -> None:
    for model in MODELS:
        assert client.get(f"/admin/survey/{model}/").status_code == 302
