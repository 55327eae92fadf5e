import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from analysis.models import StudyMetrics
from generation.models import GenerationRun
from survey.models import Study
from tests.analysis.metrics.pictures import noise_images, write_folder
from tests.analysis.study import answer, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of eight pairs whose images are on disk."""
    study = make_study("clothes", pairs=8)
    for name, shift in (("robust", 0), ("vanilla", 40)):
        folder = write_folder(tmp_path / name, noise_images(8, seed=1, shift=shift))
        for place in range(8):
            (folder / f"{place:04}.png").rename(folder / f"{place}.png")
        GenerationRun.objects.filter(arm=name).update(directory=str(folder))
    write_folder(tmp_path / "reference", noise_images(12, seed=0))
    return study


def test_a_studys_metrics_stand_in_its_report(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(study, ["left"] * 8)

    call_command("compute_metrics", "--study", "clothes", "--reference", str(tmp_path / "reference"))
    printed = json.loads(capsys.readouterr().out)
    call_command("export_report", "clothes", "--output", str(tmp_path / "report"), "--formats", "html,json")

    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["image_metrics"] == printed
    assert list(printed["arms"]) == ["robust", "vanilla"]
    assert printed["differences"][0]["matched"] is True
    page = (tmp_path / "report" / "report.html").read_text()
    robust = printed["arms"]["robust"]
    assert "What the images measure" in page
    assert f"<td>{robust['values']['fid']:.3f} ± {robust['errors']['fid']:.3f}</td>" in page
    assert "8 of robust, 8 of vanilla, against 12 reference images" in page


def test_measuring_again_replaces_and_renews_the_page(
    study: Study, tmp_path: Path, admin_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(study, ["left"] * 8)
    call_command("compute_report", "clothes")
    assert b"What the images measure" not in admin_client.get("/report/clothes/").content

    for _ in range(2):
        call_command("compute_metrics", "--study", "clothes", "--reference", str(tmp_path / "reference"))
    call_command("compute_report", "clothes")

    assert StudyMetrics.objects.count() == 1
    assert b"What the images measure" in admin_client.get("/report/clothes/").content


def test_a_study_and_folders_at_once_are_refused(study: Study, tmp_path: Path) -> None:
    reference = ("--reference", str(tmp_path / "reference"))
    with pytest.raises(CommandError, match="Give either"):
        call_command("compute_metrics", "--study", "clothes", "--generated", str(tmp_path / "robust"), *reference)
    with pytest.raises(CommandError, match="no study is called 'shoes'"):
        call_command("compute_metrics", "--study", "shoes", *reference)


def test_a_missing_image_is_named(study: Study, tmp_path: Path) -> None:
    (tmp_path / "vanilla" / "3.png").unlink()

    with pytest.raises(CommandError, match=r"3\.png cannot be read as an image"):
        call_command("compute_metrics", "--study", "clothes", "--reference", str(tmp_path / "reference"))
