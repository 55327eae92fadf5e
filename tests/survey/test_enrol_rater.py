"""A rater and their plan come into being together, or not at all."""

import base64
import random
from pathlib import Path

import pytest

from survey.errors import StudyClosed, StudyFull
from survey.models import Rater, Study, Trial
from survey.selectors import pair_loads, progress_of
from survey.services import close_study, enrol_rater

from .factories import make_rater, make_study

pytestmark = pytest.mark.django_db


def test_a_rater_gets_every_pair_once_in_positions_from_1(study: Study) -> None:
    rater = make_rater(study)
    trials = list(rater.trials.all())
    assert [trial.position for trial in trials] == [1, 2, 3, 4]
    assert {trial.pair_id for trial in trials} == set(study.pairs.values_list("pk", flat=True))
    assert sum(trial.first_is_left for trial in trials) == 2
    assert progress_of(rater).total == 4


def test_the_same_generator_state_gives_the_same_tokens_and_plan(study: Study) -> None:
    def plan(rater: Rater) -> list[object]:
        return [rater.token, *rater.trials.values_list("token", "pair", "first_is_left")]

    first = make_rater(study, seed=7)
    known = plan(first)
    first.delete()
    assert plan(make_rater(study, seed=7)) == known
    assert plan(make_rater(study, seed=8)) != known


def test_tokens_are_128_bits_and_all_different(study: Study) -> None:
    tokens = [make_rater(study, seed=seed).token for seed in range(5)]
    tokens += Trial.objects.values_list("token", flat=True)
    assert {len(token) for token in tokens} == {22}
    assert len(set(tokens)) == 5 + 20


def test_each_pair_is_left_and_right_equally_often_over_two_raters(study: Study) -> None:
    make_rater(study, seed=1)
    make_rater(study, seed=2)
    assert {(load.planned, load.first_on_left) for load in pair_loads(study)} == {(2, 1)}


def test_raters_get_k_pairs_and_the_least_planned_first(tmp_path: Path) -> None:
    study = make_study(tmp_path, pairs_per_rater=2)
    first, second = make_rater(study, seed=1), make_rater(study, seed=2)
    pairs = [set(rater.trials.values_list("pair", flat=True)) for rater in (first, second)]
    assert [len(some) for some in pairs] == [2, 2]
    assert not pairs[0] & pairs[1]


def test_a_study_whose_pairs_have_their_raters_is_full(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=1)
    make_rater(study, seed=1)
    with pytest.raises(StudyFull):
        make_rater(study, seed=2)
    assert Rater.objects.count() == 1


def test_simulated_raters_take_no_real_raters_place(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=1)
    assert enrol_rater(study=study, rng=random.Random(1), simulated=True).simulated
    assert not make_rater(study, seed=2).simulated


def test_a_closed_study_takes_no_rater(study: Study) -> None:
    close_study(study=Study.objects.get(pk=study.pk))
    with pytest.raises(StudyClosed):
        make_rater(study)
    assert not Rater.objects.exists()


def test_a_rater_whose_trials_cannot_be_stored_is_not_stored(study: Study) -> None:
    taken = make_rater(study, seed=1).trials.get(position=1).token
    stuck = _Stuck(taken)
    with pytest.raises(Exception, match=r"(?i)unique"):
        enrol_rater(study=study, rng=stuck)
    assert Rater.objects.count() == 1


class _Stuck(random.Random):
    """A generator that gives a fresh rater's token, then trial tokens that are taken."""

    def __init__(self, taken: str) -> None:
        super().__init__(3)
        self.taken = taken
        self.calls = 0

    def randbytes(self, n: int) -> bytes:
        """Return new bytes once, and after that the bytes of the taken token."""
        self.calls += 1
        return super().randbytes(n) if self.calls == 1 else base64.urlsafe_b64decode(self.taken + "==")
