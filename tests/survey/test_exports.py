"""Answers, trials and exposures as files, and answers back from them."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from survey.exports import TABLES
from survey.models import Exposure, Rater, Study
from survey.selectors import pair_loads, plan_of
from survey.services import Showing, record_response

from .factories import answer, answer_all, first_trial, make_rater, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def answered(tmp_path: Path) -> Study:
    """A study of three arms with an answer of each kind, one of them corrected, and a simulated rater's."""
    study = make_study(
        tmp_path, count=4, arms=("robust", "unguided", "vanilla"), pairs_per_rater=4, practice_trials=1, same_catches=1
    )
    rater = make_rater(study)
    showing = Showing(key="showing-1", shown_at=timezone.now(), focus_losses=2, image_width=310.5, pixel_ratio=2.0)
    record_response(trial=first_trial(rater), choice="left", showing=showing)
    answer_all(rater, "left")
    last = rater.trials.order_by("position").last()
    assert last is not None
    record_response(trial=last, choice="right", revises=True)
    call_command("simulate_raters", "demo", "--raters", "1", "--seed", "3", stdout=io.StringIO(), stderr=io.StringIO())
    return study


def export(folder: Path, name: str, *options: str) -> Path:
    call_command("export_answers", "demo", "--output", str(folder / name), *options, stdout=io.StringIO())
    return folder / name


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_answers_are_the_ordinary_ones_with_their_plan_flags_and_first_choice(answered: Study, tmp_path: Path) -> None:
    rows = read(export(tmp_path, "answers.csv"))
    plan = plan_of(answered)
    assert plan is not None
    assert list(rows[0]) == [column.name for column in TABLES["answers"]]
    assert len(rows) == 4
    assert {row["plan_sha256"] for row in rows} == {plan.sha256}
    assert {row["kind"] for row in rows} == {"ordinary"}
    assert rows[0]["pair"].count(":") == 2
    assert {row["first_choice"] for row in rows} == {"left"}


def test_every_kind_is_there_when_asked_for(answered: Study, tmp_path: Path) -> None:
    rows = read(export(tmp_path, "answers.csv", "--every-kind"))
    assert sorted(row["kind"] for row in rows) == ["catch", "ordinary", "ordinary", "ordinary", "ordinary", "practice"]
    [catch] = [row for row in rows if row["kind"] == "catch"]
    assert {catch["left_arm"], catch["right_arm"]} == {"image", "copy"}
    assert (catch["expected"], catch["pair"].split(":")[0]) == ("same", "same")


def test_the_three_formats_say_the_same(answered: Study, tmp_path: Path) -> None:
    for table in TABLES:
        rows = read(export(tmp_path, "table.csv", "--table", table))
        from_json = json.loads(export(tmp_path, "table.json", "--table", table).read_text())
        from_parquet = pd.read_parquet(export(tmp_path, "table.parquet", "--table", table))
        assert len(rows) == len(from_json) == len(from_parquet) > 0
        for name in ("rater", "pair", "left_arm"):
            assert [row[name] for row in rows] == [row[name] for row in from_json] == from_parquet[name].tolist()


def test_exposures_say_what_was_shown_where(answered: Study, tmp_path: Path) -> None:
    [row] = json.loads(export(tmp_path, "exposures.json", "--table", "exposures").read_text())
    shown = Exposure.objects.get()
    assert (row["position"], row["focus_losses"], row["image_width"], row["pixel_ratio"]) == (1, 2, 310.5, 2.0)
    assert row["kind"] == "practice"
    assert {row["left_arm"], row["right_arm"]} == {"image", "noise"}
    assert row["shown_at"] == shown.shown_at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_what_is_exported_can_be_imported_and_exported_again(tmp_path: Path, ending: str) -> None:
    study = make_study(tmp_path, count=3)
    for seed in (1, 2):
        answer(make_rater(study, seed=seed), "left", "same")
    first = export(tmp_path, f"answers.{ending}", "--every-kind")
    before = export(tmp_path, "before.csv")
    copy = make_study(tmp_path, slug="copy", count=3)
    call_command("import_answers", "copy", str(first), stdout=io.StringIO())
    call_command("export_answers", "copy", "--output", str(tmp_path / "after.csv"), stdout=io.StringIO())
    same = [column.name for column in TABLES["answers"] if column.name not in {"plan_sha256", "flags"}]
    one, two = pd.read_csv(before), pd.read_csv(tmp_path / "after.csv")
    pd.testing.assert_frame_equal(one[same], two[same])
    assert sum(load.served for load in pair_loads(copy)) == 4
    with pytest.raises(CommandError, match="has been imported into 'copy' already"):
        call_command("import_answers", "copy", str(first), stdout=io.StringIO())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a,9,robust,vanilla,left", "has no pair '9'"),
        ("a,0,robust,unguided,left", "compares robust and vanilla"),
        ("a,0,robust,vanilla,both", "line 2"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_whole(tmp_path: Path, line: str, told: str) -> None:
    make_study(tmp_path, count=3)
    path = tmp_path / "answers.csv"
    path.write_text(f"rater,pair,left_arm,right_arm,choice\n{line}\nb,1,robust,vanilla,left\n")
    with pytest.raises(CommandError, match=told):
        call_command("import_answers", "demo", str(path))
    assert not Rater.objects.exists()
