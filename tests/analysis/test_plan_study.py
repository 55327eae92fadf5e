"""Power by simulation, its command and its page."""

import csv
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from scipy import stats

from analysis.models import Computation
from analysis.planning import power_grid, trade
from analysis.simulation import Scenario, effect_of, share_of, simulate

SMALL = ["--pairs", "20,40", "--raters", "5,10", "--studies", "40"]


def test_a_share_and_its_effect_are_each_others_inverse() -> None:
    effect = effect_of(0.6, pair_sd=1.07, rater_sd=0.3)
    assert share_of(Scenario(2, 2, effect, 1.07, 0.3)) == pytest.approx(0.6, abs=1e-9)
    assert effect > np.log(0.6 / 0.4)


def test_without_spread_the_share_is_the_logits_inverse() -> None:
    assert share_of(Scenario(2, 2, 0.4)) == pytest.approx(1 / (1 + np.exp(-0.4)))


def test_simulated_studies_have_the_share_and_the_ties_that_were_asked_for() -> None:
    scenario = Scenario(30, 20, 0.4, 1.0, 0.5, 0.3)
    ones, answered = (
        np.concatenate(parts) for parts in zip(*simulate(scenario, np.random.default_rng(0), 300), strict=True)
    )
    assert ones.shape == (300, 20, 30)
    assert answered.mean() == pytest.approx(0.7, abs=0.005)
    assert ones.sum() / answered.sum() == pytest.approx(share_of(scenario), abs=0.015)
    assert (ones <= answered).all()


def test_raters_are_asked_about_as_many_pairs_as_given() -> None:
    _, answered = next(simulate(Scenario(30, 20, pairs_per_rater=7), np.random.default_rng(0), 5))
    assert (answered.sum(axis=2) == 7).all()


def test_without_preference_the_power_is_the_level() -> None:
    """Of 1000 studies 5 % are 50 ± 7."""
    grid = power_grid(Scenario(2, 2, 0.0, 1.07, 0.3), pairs=[60], raters=[12], studies=1000)
    assert 0.025 < grid.power[0, 0] < 0.075


def test_the_power_is_that_of_the_binomial_test_where_answers_are_independent() -> None:
    """60 % of 20·20 answers against a half: the normal power with the t quantile is near."""
    effect = float(np.log(0.6 / 0.4))
    grid = power_grid(Scenario(2, 2, effect), pairs=[20], raters=[20], studies=600)
    expected = stats.norm.cdf((0.1 - 1.96 * 0.5 / 20) / (np.sqrt(0.24) / 20))
    assert grid.power[0, 0] == pytest.approx(expected, abs=0.06)


def test_more_pairs_beat_more_answers() -> None:
    effect = effect_of(0.58, pair_sd=1.07, rater_sd=0.0)
    grid = power_grid(Scenario(2, 2, effect, 1.07, 0.0), pairs=[40, 160], raters=[10, 40], studies=300)
    assert grid.power[1, 0] > grid.power[0, 1] + 0.1
    assert trade(grid).startswith("More pairs beat more answers: 160 pairs by 10 raters (1,600 answers)")


def test_adding_sizes_changes_no_other() -> None:
    scenario = Scenario(2, 2, 0.3, 1.0, 0.3)
    small = power_grid(scenario, pairs=[20], raters=[6], studies=30)
    large = power_grid(scenario, pairs=[20, 30], raters=[5, 6], studies=30)
    assert large.power[0, 1] == small.power[0, 0]


def test_the_command_prints_and_writes_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("plan_study", *SMALL, "--output", str(tmp_path / "out"))
    printed = capsys.readouterr().out
    assert "Power to find a preference of 55.0%" in printed
    rows = list(csv.DictReader((tmp_path / "out" / "plan.csv").read_text().splitlines()))
    assert [(row["pairs"], row["raters"]) for row in rows] == [("20", "5"), ("20", "10"), ("40", "5"), ("40", "10")]
    assert all(0 <= float(row["power"]) <= 1 for row in rows)
    assert (tmp_path / "out" / "plan.svg").read_text().startswith("<svg")
    assert "<script" not in (tmp_path / "out" / "plan.html").read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--pairs", "many"], "--pairs 'many' is not a list"),
        (["--pairs", "1"], "2 or more"),
        (["--pairs", ""], "2 or more"),
        (["--share", "1.5"], "share 1.5 is not between 0 and 1"),
        (["--tie-rate", "1"], "tie rate 1.0"),
        (["--pair-sd", "-1"], "pair sd -1.0 is below 0"),
        (["--pair-sd", "nan"], "pair sd nan"),
        (["--studies", "1"], "1 studies"),
        (["--confidence", "95"], "confidence 95"),
        (["--pairs", "90000", "--raters", "90000"], "answers to simulate"),
        (["--pairs-per-rater", "0"], "0 pairs per rater"),
    ],
)
def test_a_bad_flag_is_one_clear_line(flags: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        call_command("plan_study", *flags)
    assert "\n" not in str(caught.value)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", is_staff=True))
    return client


QUERY = "?share=0.6&tie_rate=0.2&pair_sd=1&rater_sd=0.3&pairs=10,20&raters=4,8"


@pytest.mark.django_db
def test_the_page_shows_power_and_gives_the_table(staff: Client) -> None:
    text = staff.get(f"/report/plan.html{QUERY}").content.decode()
    assert "Power to find a preference of 60.0%" in text
    assert "<svg" in text
    assert "style=" not in text
    table = staff.get(f"/report/plan.csv{QUERY}").content.decode()
    assert table.splitlines()[0].startswith("pairs,raters")
    assert len(table.splitlines()) == 5
    assert Computation.objects.count() == 1


@pytest.mark.django_db
def test_bad_values_are_named_on_the_page_and_start_nothing(staff: Client) -> None:
    for query in ("?share=2", QUERY.replace("10,20", "x"), QUERY.replace("pair_sd=1", "pair_sd=-1")):
        assert staff.get(f"/report/plan.html{query}").status_code == 422
    assert staff.get("/report/plan.csv?share=2").status_code == 404
    assert not Computation.objects.exists()


@pytest.mark.django_db
def test_a_plan_too_large_to_simulate_says_so(staff: Client) -> None:
    text = staff.get(f"/report/plan.html{QUERY.replace('10,20', '99999').replace('4,8', '99999')}").content.decode()
    assert "answers to simulate" in text


@pytest.mark.django_db
def test_only_staff_may_plan(client: Client) -> None:
    assert client.get("/report/plan.html").status_code == 302
