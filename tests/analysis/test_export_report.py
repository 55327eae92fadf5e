"""export_report, from end to end."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from generation.models import GenerationRun
from tests.analysis.paper import HEADER, answers_csv, paper_counts
from tests.analysis.study import answer, make_study

DEFAULT_FILES = [
    "effects.csv", "estimates.csv", "monitoring.csv", "pairs.csv", "raters.csv", "report.html", "report.json",
    "thresholds.csv", "totals.csv",
]  # fmt: skip


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text(answers_csv(paper_counts()))
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def error(*arguments: object) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("export_report", *map(str, arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_answers_file_gives_the_papers_table(
    paper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    call_command("export_report", "--answers", str(paper), "--output", str(out))
    assert names(out) == DEFAULT_FILES
    report = json.loads((out / "report.json").read_text())
    assert report["thresholds"][1]["percent"] == {"robust": 51.0, "vanilla": 20.5, "none": 28.5}
    assert report["significance"]["p_value"] == pytest.approx(3.5e-11, rel=0.01)
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].split() == ["60%", "51.0%", "20.5%", "28.5%"]
    assert "55.5% chose robust" in printed
    assert all(str(out / name) in printed.splitlines() for name in DEFAULT_FILES)


def test_formats_thresholds_and_confidence_are_taken(paper: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call_command(
        "export_report", "--answers", str(paper), "--output", str(out), "--formats", "latex,json",
        "--thresholds", "66.7,50", "--confidence", "0.9",
    )  # fmt: skip
    assert names(out) == ["report.json", "report.tex", "thresholds.tex"]
    report = json.loads((out / "report.json").read_text())
    assert [row["threshold"] for row in report["thresholds"]] == [50, 66.7]
    assert report["significance"]["confidence"] == 0.9


def test_other_files_in_the_directory_are_left_alone_and_old_reports_replaced(paper: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "report.json").write_text("old")
    call_command("export_report", "--answers", str(paper), "--output", str(out))
    assert names(out) == sorted([*DEFAULT_FILES, "notes.txt"])
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "report.json").read_text())["answers"]["total"] == 5018


@pytest.mark.django_db
def test_a_study_gives_the_same_report_as_its_exported_answers(tmp_path: Path) -> None:
    study = make_study()
    answer(study, ["left", "right", "same"])
    answer(study, ["left", "left"], first_is_left=False)
    answer(study, ["right"] * 3, simulated=True)
    call_command("export_report", "demo", "--output", str(tmp_path / "a"))
    call_command("export_answers", "demo", "--output", str(tmp_path / "answers.csv"))
    call_command("export_report", "--answers", str(tmp_path / "answers.csv"), "--output", str(tmp_path / "b"))
    assert (tmp_path / "a" / "pairs.csv").read_bytes() == (tmp_path / "b" / "pairs.csv").read_bytes()
    one, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in "ab")
    for key in ("answers", "thresholds", "significance", "comparisons", "period"):
        assert one[key] == other[key]
    assert one["answers"]["total"] == 5
    assert any("Simulated raters are left out: 3" in note for note in one["notes"])


@pytest.mark.django_db
def test_simulated_raters_are_reported_alone_and_marked(tmp_path: Path) -> None:
    study = make_study()
    answer(study, ["left", "right", "same"])
    answer(study, ["right"] * 2, simulated=True)
    call_command("export_report", "demo", "--simulated", "--output", str(tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["answers"]["total"] == 2
    assert any("simulated raters only" in note for note in report["notes"])


@pytest.mark.django_db
def test_a_study_without_answers_gets_a_report_of_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study()
    call_command("export_report", "demo", "--output", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["answers"]["total"] == 0
    assert "There are no answers yet" in capsys.readouterr().out


@pytest.mark.django_db
def test_an_unknown_study_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    assert "there is none yet" in error("nope", "--output", tmp_path / "out")
    make_study("one")
    make_study("two")
    assert error("nope", "--output", tmp_path / "out") == "no study is called 'nope'; there are: one, two"
    assert not (tmp_path / "out").exists()


@pytest.mark.django_db
def test_a_study_with_an_arm_called_none_is_an_error(tmp_path: Path) -> None:
    answer(make_study(arms=("none", "robust")), ["left"])
    assert "an arm cannot be called 'none'" in error("demo", "--output", tmp_path / "out")


def test_bad_answers_name_the_file_and_the_line_and_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"{HEADER}\nr1,0,robust,vanilla,maybe\n")
    out = tmp_path / "out"
    assert error("--answers", path, "--output", out).startswith(f"{path}: line 2: choice 'maybe'")
    assert not out.exists()


def test_a_missing_file_and_a_directory_as_file_are_errors(tmp_path: Path) -> None:
    assert "No such file" in error("--answers", tmp_path / "absent.csv", "--output", tmp_path / "out")
    assert "Is a directory" in error("--answers", tmp_path, "--output", tmp_path / "out")


def test_a_file_as_output_directory_is_an_error(paper: Path) -> None:
    assert "cannot write the report" in error("--answers", paper, "--output", paper)
    assert "cannot write the report" in error("--answers", paper, "--output", paper / "below")


def test_a_directory_in_a_files_place_leaves_nothing_half_written(paper: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "totals.csv").mkdir(parents=True)
    assert "is a directory" in error("--answers", paper, "--output", out)
    assert names(out) == ["totals.csv"]


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--formats", "html,pdf", "unknown format 'pdf'; choose from html,json,csv,latex"),
        ("--formats", ",", "unknown format"),
        ("--thresholds", "50,many", "threshold 'many' is not a number"),
        ("--thresholds", "40", "threshold 40 is not between 50 and 100"),
        ("--thresholds", "", "no threshold given"),
        ("--confidence", "95", "confidence 95 is not between 0 and 1; write 95 % as 0.95"),
    ],
)
def test_a_bad_flag_is_an_error_and_writes_nothing(
    paper: Path, tmp_path: Path, flag: str, value: str, says: str
) -> None:
    out = tmp_path / "out"
    assert says in error("--answers", paper, "--output", out, flag, value)
    assert not out.exists()


def test_exactly_one_of_a_study_and_a_file_is_wanted(paper: Path, tmp_path: Path) -> None:
    assert "required" in error("--output", tmp_path / "out")
    assert "not allowed with" in error("demo", "--answers", paper, "--output", tmp_path / "out")
    assert "goes with a study" in error("--answers", paper, "--simulated", "--output", tmp_path / "out")


def unpacked(path: Path, to: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(to)
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_can_be_rerun_and_gives_its_own_report(tmp_path: Path) -> None:
    rows = [
        f"{name},{pair},robust,vanilla,{('left', 'right', 'same', 'left')[(place + pair) % 4]},2024-05-0{day}T07:08:09Z"
        for place, (name, day) in enumerate([("zoe@example.org", 1), ("ann", 3), ("bob", 2)])
        for pair in range(6)
    ]
    answers = tmp_path / "mine.csv"
    answers.write_text("\n".join([f"{HEADER},answered_at", *rows]) + "\n")
    call_command("export_report", "--answers", str(answers), "--output", str(tmp_path / "a"), "--bundle")
    files = unpacked(tmp_path / "a" / "bundle.zip", tmp_path / "b")
    text = b"".join(files.values()).decode()
    assert "zoe" not in text
    assert "07:08:09" not in text
    assert [line.split(",")[0] for line in files["answers.csv"].decode().splitlines()[1::6]] == ["r1", "r2", "r3"]
    manifest = json.loads(files["manifest.json"])
    assert manifest["command"] in files["README.md"].decode()
    assert {"numpy", "scipy", "pandas", "python"} == set(manifest["versions"])
    again = ["--formats", "html,json,csv,latex", "--output", str(tmp_path / "c")]
    call_command("export_report", "--answers", str(tmp_path / "b" / "answers.csv"), *again)
    for name in names(tmp_path / "c"):
        data = (tmp_path / "c" / name).read_bytes()
        assert data == files[f"report/{name}"]
        assert hashlib.sha256(data).hexdigest() == manifest["sha256"][f"report/{name}"]


def test_the_same_answers_make_the_same_bundle(paper: Path, tmp_path: Path) -> None:
    for name in "ab":
        call_command("export_report", "--answers", str(paper), "--output", str(tmp_path / name), "--bundle")
    assert (tmp_path / "a" / "bundle.zip").read_bytes() == (tmp_path / "b" / "bundle.zip").read_bytes()


@pytest.mark.django_db
def test_a_studys_report_shows_its_images_and_stands_alone(tmp_path: Path) -> None:
    study = make_study(pairs=2)
    for index in range(2):
        Image.new("RGB", (4, 4), (10 * index, 20, 30)).save(tmp_path / f"{index}.png")
    GenerationRun.objects.update(directory=str(tmp_path))
    answer(study, ["left", "right"])
    answer(study, ["left", "left"])
    call_command("export_report", "demo", "--output", str(tmp_path / "out"), "--bundle")
    text = (tmp_path / "out" / "report.html").read_text()
    assert 'src="data:image/png;base64,' in text
    assert "Most in favour of robust" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_compiles(tmp_path: Path) -> None:
    counts = [(3, 1, 1), (1, 2, 0), (2, 2, 2)]
    answers = tmp_path / "a_b%&#.csv"
    answers.write_text(answers_csv(counts, arms=("a_b", "c%d^~{x}\\ñ<>|–中")))
    out = tmp_path / "out"
    call_command("export_report", "--answers", str(answers), "--output", str(out), "--formats", "latex")
    (out / "own.tex").write_text("\\documentclass{article}\\begin{document}\\input{thresholds.tex}\\end{document}\n")
    for name in ("report.tex", "own.tex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(command, cwd=out, check=False, stdout=subprocess.PIPE)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]
