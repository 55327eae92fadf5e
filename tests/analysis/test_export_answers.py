"""export_answers."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from analysis.answers import COLUMNS, read_answers
from tests.analysis.study import answer, make_study

pytestmark = pytest.mark.django_db


def test_csv_is_an_answers_file_with_times_in_utc(tmp_path: Path) -> None:
    answer(make_study(), ["left", "right"])
    path = tmp_path / "new" / "answers.csv"
    call_command("export_answers", "demo", "--output", str(path))
    lines = path.read_text().splitlines()
    assert lines[0].startswith(",".join(COLUMNS))
    assert lines[1].split(",")[5].endswith("Z")
    assert len(read_answers(path)) == 2


def test_json_is_a_list_of_the_same_answers(tmp_path: Path) -> None:
    answer(make_study(), ["left", "right"])
    path = tmp_path / "answers.json"
    call_command("export_answers", "demo", "--output", str(path))
    rows = json.loads(path.read_text())
    assert [(row["pair"], row["choice"], row["response_ms"]) for row in rows] == [
        ("0", "left", 1001),
        ("1", "right", 1002),
    ]


def test_simulated_raters_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    study = make_study()
    answer(study, ["left"])
    answer(study, ["right"], simulated=True)
    for flags, choice in (([], "left"), (["--simulated"], "right")):
        call_command("export_answers", "demo", "--output", str(tmp_path / "a.csv"), *flags)
        assert read_answers(tmp_path / "a.csv")["choice"].tolist() == [choice]


@pytest.mark.parametrize("name", ["answers.xlsx", "answers"])
def test_another_ending_is_an_error_naming_the_known_ones(tmp_path: Path, name: str) -> None:
    make_study()
    with pytest.raises(CommandError, match=r"let the file end in \.csv, \.json or \.parquet"):
        call_command("export_answers", "demo", "--output", str(tmp_path / name))


def test_a_directory_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    make_study()
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(CommandError, match="cannot write"):
        call_command("export_answers", "demo", "--output", str(tmp_path / "answers.csv"))


def test_an_unknown_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no study is called 'nope'"):
        call_command("export_answers", "nope", "--output", str(tmp_path / "answers.csv"))
