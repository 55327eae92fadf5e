"""The staff's pages: they show, and only open and close."""

import re
from pathlib import Path

import pytest
from django.test import Client

from survey.admin_forms import NewStudyForm
from survey.models import QUESTION, Peek, Rater, Response, Study, Trial
from survey.services import close_study, record_response

from .factories import answer, answer_all, first_trial, make_rater, make_study, write_pairs

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
    if model != "study":
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


def test_what_is_frozen_cannot_be_changed(admin_client: Client, study: Study) -> None:
    form = {"title": "Toys", "slug": "other", "question": "Why?", "status": "closed", "pairs_per_rater": "1"}
    admin_client.post(f"/admin/survey/study/{study.pk}/change/", form)
    page = admin_client.post(f"/admin/survey/study/{study.pk}/draft/", definition(question="Why?"))
    assert page.status_code == 400
    assert b"is frozen since it was opened first" in page.content
    known = Study.objects.values().get()
    assert (known["title"], known["question"], known["status"], known["slug"]) == ("", QUESTION, "open", "demo")


def definition(**changes: object) -> dict[str, object]:
    """Return what the study form sends when nothing is changed but this."""
    form = NewStudyForm()
    usual = {name: form[name].initial for name in form.fields}
    given = {name: value for name, value in usual.items() if value is not None and value is not False}
    return given | {"rules": "{}", "interim_results": "on"} | changes


def test_staff_make_a_draft_change_it_and_open_it(admin_client: Client, db: None, tmp_path: Path) -> None:
    write_pairs(tmp_path, count=3)
    page = admin_client.get("/admin/survey/study/add/")
    assert page.status_code == 200
    sent = definition(slug="demo", pairs_name="toys", same_catches="2", compare="vanilla:robust")
    made = admin_client.post("/admin/survey/study/add/", sent)
    study = Study.objects.get()
    assert made["Location"] == f"/admin/survey/study/{study.pk}/change/"
    assert (study.status, study.same_catches, study.pairs.count()) == ("draft", 2, 3)
    assert b"not frozen yet" in admin_client.get(made["Location"]).content
    admin_client.post(f"/admin/survey/study/{study.pk}/draft/", definition(question="Which is sharper?"))
    admin_client.post("/admin/survey/study/", {"action": "open_studies", "_selected_action": [study.pk]})
    study.refresh_from_db()
    assert (study.status, study.question) == ("open", "Which is sharper?")
    assert study.plan.sha256.encode() in admin_client.get(made["Location"]).content


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pairs_per_rater": "9"}, "wants 9 pairs per rater but there are 3"),
        ({"compare": "robust"}, "is not two arms"),
        ({"compare": "robust:other"}, "no complete arm &#x27;other&#x27;"),
        ({"rules": '{"fast": 3}'}, "there is no rule &#x27;fast&#x27;"),
        ({"access": "panel"}, "say which panel"),
        ({"slug": "two words"}, "valid"),
    ],
)
def test_what_a_study_cannot_be_is_told_on_the_form(
    admin_client: Client, db: None, tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    write_pairs(tmp_path, count=3)
    page = admin_client.post("/admin/survey/study/add/", definition(slug="demo", pairs_name="toys") | changes)
    assert page.status_code == 400
    assert told in page.content.decode()
    assert not Study.objects.exists()


def test_the_dashboard_tells_how_a_study_runs_and_not_which_arm_is_liked(admin_client: Client, tmp_path: Path) -> None:
    study = make_study(tmp_path, lease_s=60, rules={"straight_run": 4}, interim_results=False)
    answer_all(make_rater(study, seed=1), "left")
    gone = make_rater(study, seed=2)
    answer(gone, "right")
    Trial.objects.filter(rater=gone).update(lease_until="2026-01-01T00:00:00Z")
    page = admin_client.get(f"/admin/survey/study/{study.pk}/dashboard/").content.decode()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "2: 1 finished, 0 screened out, 0 withdrawn" in text
    assert "80 % of those who chose a side chose the left one" in text
    assert "straight_lining: 1" in text
    assert "left at raters drawn 2 1" in text
    assert "The plan lets nobody see preferences before the study closes." in text
    assert "robust" not in text


def test_looks_at_the_report_of_an_open_study_are_recorded_and_withheld_where_the_plan_says_so(
    admin_client: Client, tmp_path: Path
) -> None:
    shown = make_study(tmp_path, slug="shown")
    hidden = make_study(tmp_path, slug="hidden", interim_results=False)
    for seed, study in enumerate((shown, hidden)):
        answer_all(make_rater(study, seed=seed), "left")
    assert admin_client.get("/report/shown/").status_code == 200
    assert admin_client.get("/report/hidden/").status_code == 422
    assert list(Peek.objects.values_list("study__slug", "place", "answers", "user__username")) == [
        ("shown", "report", 4, "admin")
    ]
    close_study(study=hidden)
    assert admin_client.get("/report/hidden/").status_code == 200
    assert Peek.objects.count() == 1


def test_raters_tokens_are_not_shown(admin_client: Client, rater: Rater) -> None:
    trial = first_trial(rater)
    for address in (f"rater/{rater.pk}", f"trial/{trial.pk}"):
        page = admin_client.get(f"/admin/survey/{address}/change/").content.decode()
        assert rater.token not in page
        assert trial.token not in page


def test_the_public_cannot_enter(client: Client, study: Study) -> None:
    for model in MODELS:
        assert client.get(f"/admin/survey/{model}/").status_code == 302
