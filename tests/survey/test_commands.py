"""create_study, close_study, reopen_study: one clear line each, good or bad."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from survey.models import Study
from survey.services import record_response

from .factories import first_trial, make_rater, make_study, write_pairs, write_run

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """Return what a command prints."""
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_create_study_prints_the_raters_link(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    assert run("create_study", "demo", "--pairs", "toys").splitlines() == [
        "Study 'demo' is open: 4 pairs of robust, vanilla.",
        "Raters' link: /s/demo/",
    ]


@pytest.mark.parametrize(
    ("slug", "options", "told"),
    [
        ("robust-or-not", [], ["'robust' in the study's slug"]),
        (
            "demo",
            ["--title", "Vanilla and Robust"],
            ["'robust' in the study's title", "'vanilla' in the study's title"],
        ),
        ("demo", ["--question", "Which is more robustly drawn?"], []),
    ],
)
def test_create_study_warns_where_raters_could_read_an_arms_name(
    tmp_path: Path, slug: str, options: list[str], told: list[str]
) -> None:
    write_pairs(tmp_path)
    warned = StringIO()
    call_command("create_study", slug, "--pairs", "toys", *options, stdout=StringIO(), stderr=warned)
    lines = warned.getvalue().splitlines()
    assert len(lines) == len(told)
    assert all(words in line for words, line in zip(told, lines, strict=True))


def test_create_study_takes_its_options(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    options = ["--question", "Which?", "--title", "Toys", "--pairs-per-rater", "3", "--raters-per-pair", "2"]
    run("create_study", "demo", "--pairs", "toys", *options)
    study = Study.objects.get()
    assert (study.question, study.title, study.pairs_per_rater, study.raters_per_pair) == ("Which?", "Toys", 3, 2)


def test_create_study_says_which_arm_it_left_out(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    write_run(tmp_path, arm="unguided", complete=False)
    assert "Left out: arm 'unguided' is unfinished." in run("create_study", "demo", "--pairs", "toys")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--pairs", "nothing"], "no pairs named 'nothing'"),
        (["two words", "--pairs", "toys"], "slug"),
        (["demo", "--pairs", "toys", "--pairs-per-rater", "0"], "'0' is not a whole number from 1 up"),
        (["demo", "--pairs", "toys", "--raters-per-pair", "many"], "'many' is not a whole number from 1 up"),
        (["demo"], "--pairs"),
    ],
)
def test_create_study_refuses_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    write_pairs(tmp_path)
    with pytest.raises(CommandError, match=told) as caught:
        run("create_study", *arguments)
    assert "\n" not in str(caught.value)
    assert not Study.objects.exists()


def test_a_study_is_closed_and_opened_again(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path))
    record_response(trial=first_trial(rater), choice="left")
    assert run("close_study", "demo") == "Study 'demo' is closed with 1 answers.\n"
    assert Study.objects.get().status == "closed"
    assert run("reopen_study", "demo") == "Study 'demo' is open with 1 answers.\n"
    assert Study.objects.get().status == "open"


@pytest.mark.parametrize("command", ["close_study", "reopen_study"])
def test_an_unknown_study_is_refused(command: str) -> None:
    with pytest.raises(CommandError, match="there is no study 'nothing'"):
        run(command, "nothing")


def test_a_refusal_exits_with_a_status_and_one_line_on_stderr(tmp_path: Path) -> None:
    environment = os.environ | {"SAMESEED_DATA": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}
    manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], env=environment, check=True)
    refused = subprocess.run(
        [*manage, "create_study", "demo", "--pairs", "nothing"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        "CommandError: there are no pairs named 'nothing' (known: none yet): make them with generate_pairs"
    ]
