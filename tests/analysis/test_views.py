"""The report's pages."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone
from PIL import Image

from analysis.answers import parse_answers
from analysis.models import Computation
from analysis.services import record_progress
from generation.models import GenerationRun
from tests.analysis.study import answer, make_study

pytestmark = pytest.mark.django_db
PAGES = [
    "/report/", "/report/demo/", "/report/demo/report.json", "/report/demo/answers.csv", "/report/demo/status.json",
]  # fmt: skip


@pytest.fixture(autouse=True)
def static_root(tmp_path: Path) -> Iterator[None]:
    """WhiteNoise warns of a static root that collectstatic has not made yet."""
    with override_settings(STATIC_ROOT=tmp_path):
        yield


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", is_staff=True))
    return client


@pytest.mark.parametrize("page", [*PAGES, "/report/demo/image/1/first.png"])
def test_only_staff_may_read(client: Client, page: str) -> None:
    answer(make_study(), ["left"])
    for login in (None, User.objects.create_user("bob")):
        if login:
            client.force_login(login)
        response = client.get(page)
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_read_only_and_stay_out_of_caches(staff: Client, page: str) -> None:
    make_study()
    staff.get("/report/demo/")
    assert staff.post(page).status_code == 405
    assert "no-store" in staff.get(page)["Cache-Control"]


@pytest.mark.parametrize("page", PAGES[1:])
def test_an_unknown_study_is_not_found(staff: Client, page: str) -> None:
    assert staff.get(page).status_code == 404


def test_the_page_shows_the_report_and_no_inline_style(staff: Client) -> None:
    answer(make_study(), ["left", "left", "right"])
    text = staff.get("/report/demo/").content.decode()
    assert "The demo study" in text
    assert "66.7% chose robust" in text
    assert "if every answer were independent" in text
    assert "<style" not in text
    assert "style=" not in text
    assert "<script" not in text


def test_a_page_is_computed_once_for_the_same_answers(staff: Client) -> None:
    answer(make_study(), ["left", "left", "right"])
    staff.get("/report/demo/")
    before = Computation.objects.get().computed_at
    staff.get("/report/demo/")
    assert Computation.objects.get().computed_at == before


def test_new_answers_are_reported_on_the_next_visit(staff: Client) -> None:
    study = make_study()
    answer(study, ["left"])
    staff.get("/report/demo/")
    answer(study, ["left", "left"])
    assert json.loads(staff.get("/report/demo/report.json").content)["answers"]["total"] == 3


def never(_command: Sequence[str]) -> None:
    """A launcher whose process never gets to anything."""


def test_while_a_report_is_computed_the_page_shows_the_last_one_and_the_progress(staff: Client) -> None:
    study = make_study()
    answer(study, ["left", "right", "right"])
    staff.get("/report/demo/")
    answer(study, ["left"] * 3)
    with override_settings(SAMESEED_LAUNCHER="tests.analysis.test_views.never"):
        text = staff.get("/report/demo/").content.decode()
        record_progress(key="report:demo:real", progress=0.5, stage="mixed model")
        status = json.loads(staff.get("/report/demo/status.json").content)
    assert "New answers are being counted" in text
    assert "66.7% chose vanilla" in text
    assert "progress.js" in text
    assert (status["state"], status["progress"], status["stage"]) == ("running", 0.5, "mixed model")


def test_a_running_computation_is_not_started_twice_unless_its_process_is_gone(staff: Client) -> None:
    make_study()
    with override_settings(SAMESEED_LAUNCHER="tests.analysis.test_views.never"):
        assert b"first report is being computed" in staff.get("/report/demo/").content
        assert staff.get("/report/demo/report.json").status_code == 202
    assert b"first report is being computed" in staff.get("/report/demo/").content
    Computation.objects.update(heartbeat=timezone.now() - timedelta(minutes=5))
    assert b"There are no answers yet" in staff.get("/report/demo/").content


def test_images_of_a_pair_are_shown_to_staff(staff: Client, tmp_path: Path) -> None:
    study = make_study(pairs=1)
    path = tmp_path / "0.png"
    Image.new("RGB", (4, 4), (10, 20, 30)).save(path)
    GenerationRun.objects.update(directory=str(tmp_path))
    answer(study, ["left"])
    address = f"/report/demo/image/{study.pairs.get().pk}"
    assert staff.get(f"{address}/first.png")["Content-Type"] == "image/png"
    assert staff.get(f"{address}/third.png").status_code == 404
    path.unlink()
    assert staff.get(f"{address}/second.png").status_code == 404


def test_a_study_without_answers_has_a_friendly_page(staff: Client) -> None:
    make_study()
    response = staff.get("/report/demo/")
    assert response.status_code == 200
    assert b"There are no answers yet" in response.content


def test_a_study_without_pairs_has_a_page_too(staff: Client) -> None:
    make_study(pairs=0, arms=())
    assert b"There are no answers yet" in staff.get("/report/demo/").content


def test_simulated_raters_are_shown_alone_and_marked(staff: Client) -> None:
    study = make_study()
    answer(study, ["left"])
    answer(study, ["right", "right"], simulated=True)
    assert b"Simulated raters are left out: 2" in staff.get("/report/demo/").content
    text = staff.get("/report/demo/?raters=simulated").content.decode()
    assert "simulated raters only" in text
    assert "100.0% chose vanilla" in text


def test_an_arm_that_cannot_be_reported_is_explained(staff: Client) -> None:
    answer(make_study(arms=("none", "robust")), ["left"])
    for page in ("/report/demo/", "/report/demo/report.json"):
        response = staff.get(page)
        assert response.status_code == 422
        assert b"cannot be called" in response.content


def test_report_json_is_the_commands(staff: Client) -> None:
    answer(make_study(), ["left", "same"])
    read = json.loads(staff.get("/report/demo/report.json").content)
    assert read["answers"]["per_arm"] == {"robust": 1, "vanilla": 0}


def test_answers_csv_is_an_answers_file_to_save(staff: Client) -> None:
    answer(make_study(), ["left", "same"])
    response = staff.get("/report/demo/answers.csv")
    assert response["Content-Disposition"] == 'attachment; filename="demo-answers.csv"'
    assert parse_answers(response.content)["choice"].tolist() == ["left", "same"]


def test_the_list_counts_real_raters_who_answered(staff: Client) -> None:
    study = make_study()
    make_study("other")
    answer(study, ["left", "same"])
    answer(study, ["left"])
    answer(study, [])
    answer(study, ["left"], simulated=True)
    studies = {row.slug: (row.answers, row.answering) for row in staff.get("/report/").context["studies"]}
    assert studies == {"demo": (3, 2), "other": (0, 0)}


def test_an_empty_list_says_how_to_make_a_study(staff: Client) -> None:
    assert b"create_study" in staff.get("/report/").content


def test_the_pages_load_nothing_that_computes() -> None:
    code = (
        "import django; django.setup(); import config.urls, sys; "
        "sys.exit(','.join(sorted({'torch', 'pandas', 'scipy', 'statsmodels', 'matplotlib'} & set(sys.modules))) or 0)"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=environment, check=False, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (0, b"")
