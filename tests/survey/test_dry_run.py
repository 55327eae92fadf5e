"""Simulated raters: what they are told to be like is what their answers say, and they stay apart for good."""

import io
import random
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.live_server_helper import LiveServer

from analysis.frames import responses
from survey.dry_run import Outcome, simulate
from survey.models import Rater, Response
from survey.monitoring import excluded_raters, flags_by_rater
from survey.selectors import answers_total
from survey.simulation import Behaviour, Person, Seen, answer

from .factories import answer_all, make_rater, make_study

SHOWN = Seen("robust", "vanilla")
ATTENTIVE = Person(habit=None, leaves_after=None)


def choices(behaviour: Behaviour, *, shown: Seen = SHOWN, count: int = 4000) -> Counter[str]:
    rng = random.Random(3)
    return Counter(answer(ATTENTIVE, shown, behaviour, rng=rng)[0] for _ in range(count))


def test_a_strength_decides_as_bradley_and_terry_say() -> None:
    """Strength ln 3 against 0: 3/4 of 4,000; standard deviation 27, five of them are allowed."""
    told = choices(Behaviour(strengths={"robust": 1.0986123}, same=0))
    assert abs(told["left"] - 3000) < 135


def test_same_and_side_bias_have_their_shares() -> None:
    """A quarter to the left unseen, of the rest a fifth Same: 600 of 4,000; standard deviation 23."""
    told = choices(Behaviour(same=0.2, side_bias=0.25))
    assert abs(told["same"] - 600) < 115
    assert abs(told["left"] - 2200) < 155


def test_what_has_a_right_answer_is_mostly_answered_rightly() -> None:
    assert choices(Behaviour(), shown=Seen("robust", "robust", "same"))["same"] > 3800


def run(*options: str) -> str:
    out = io.StringIO()
    call_command("simulate_raters", "demo", *options, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.django_db
def test_simulated_raters_are_marked_and_in_nobodys_way(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=2)
    told = run("--raters", "3", "--at-once", "1", "--strength", "robust=100", "--same", "0", "--seed", "4")
    assert told == (
        "2 simulated raters gave 8 answers: 2 to the end, 0 left before, 1 turned away (nothing left to answer).\n"
    )
    assert set(Rater.objects.values_list("simulated", flat=True)) == {True}
    assert answers_total(study) == 0
    answer_all(make_rater(study))
    assert len(responses(study)) == 4
    simulated = responses(study, simulated=True)
    chosen = simulated["left_arm"].where(simulated["choice"] == "left", simulated["right_arm"])
    assert set(chosen) == {"robust"}


@pytest.mark.django_db
def test_simulated_raters_fill_the_places_of_those_who_leave(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=6, pairs_per_rater=4, raters_per_pair=9)
    behaviour = Behaviour(dropout=0.4)
    total = Outcome()
    for step in simulate(study=study, raters=60, behaviour=behaviour, at_once=10, seed=3):
        total.add(step)
    assert total.left > 0
    assert total.turned_away > 0, "the study is full before all have come"
    answers = Counter(Response.objects.values_list("trial__pair", flat=True))
    assert sorted(answers.values()) == [9] * 6


@pytest.mark.django_db
def test_lazy_raters_are_flagged_and_left_out_where_the_plan_says_so(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=6, rules={"straight_run": 6, "exclude": ["straight_lining"]})
    run("--raters", "2", "--laziness", "1")
    flags = flags_by_rater(study, simulated=True)
    assert [set(found) for found in flags.values()] == [{"too_fast", "straight_lining"}] * 2
    assert excluded_raters(study, simulated=True) == set(flags)
    assert responses(study, simulated=True).empty
    assert len(responses(study, simulated=True, excluded=True)) == 12
    assert Response.objects.count() == 12, "marked, and not deleted"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--raters", "0"], "'0' is not a whole number from 1 up"),
        (["--raters", "1", "--strength", "nobody=1"], "has no arm 'nobody'"),
        (["--raters", "1", "--strength", "robust"], "not an arm and a strength"),
        (["--raters", "1", "--dropout", "2"], "'2' is not a number from 0 to 1"),
        (["--raters", "1", "--http", "ftp://x"], "--http takes an address"),
    ],
)
def test_bad_options_are_told_in_a_line(tmp_path: Path, options: list[str], told: str) -> None:
    make_study(tmp_path)
    with pytest.raises(CommandError, match=told):
        run(*options)
    assert not Rater.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_real_server_is_driven_over_http(live_server: LiveServer, tmp_path: Path) -> None:
    study = make_study(tmp_path, practice_trials=1)
    told = run("--raters", "3", "--http", live_server.url, "--at-once", "2", "--seed", "2")
    assert told.startswith("3 simulated raters gave 15 answers: 3 to the end")
    assert len(responses(study, simulated=True)) == 12
    assert answers_total(study) == 0
