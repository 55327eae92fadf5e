"""A rater and their plan come into being together, or not at all."""

import base64
import random
from pathlib import Path

import pytest

from generation.models import GenerationRun
from survey.errors import StudyClosed, StudyFull
from survey.models import Rater, Study, Trial
from survey.selectors import Progress, is_complete, pair_loads, progress_of
from survey.services import close_study, enrol_rater

from .factories import answer, answer_all, make_rater, make_study

pytestmark = pytest.mark.django_db


def test_a_rater_gets_every_pair_once_in_positions_from_1(study: Study) -> None:
    rater = make_rater(study)
    answer_all(rater)
    trials = list(rater.trials.all())
    assert [trial.position for trial in trials] == [1, 2, 3, 4]
    assert {trial.pair_id for trial in trials} == set(study.pairs.values_list("pk", flat=True))
    assert sum(trial.first_is_left for trial in trials) == 2
    assert progress_of(rater) == Progress(answered=4, total=4)


def test_three_trials_are_held_at_a_time(study: Study) -> None:
    rater = make_rater(study)
    for held in (3, 3, 2, 1, 0):
        assert rater.trials.filter(state=Trial.State.HELD).count() == held
        if held:
            answer(rater, "left")


def test_the_same_generator_state_gives_the_same_rater_and_trials(tmp_path: Path) -> None:
    def plan(slug: str, seed: int) -> list[object]:
        study = make_study(tmp_path, slug=slug, count=6, same_catches=1, repeats=1)
        rater = make_rater(study, seed=seed)
        rows = rater.trials.values_list("token", "pair__index", "first_is_left", "kind")
        return [rater.token, rater.link_token, *rows]

    first = plan("one", 7)
    for model in (Study, GenerationRun):
        model.objects.all().delete()
    assert plan("one", 7) == first
    assert plan("two", 8) != first


def test_tokens_are_128_bits_and_all_different(study: Study) -> None:
    tokens = [token for seed in range(5) for token in tokens_of(make_rater(study, seed=seed))]
    tokens += Trial.objects.values_list("token", flat=True)
    assert {len(token) for token in tokens} == {22}
    assert len(set(tokens)) == 10 + 15


def tokens_of(rater: Rater) -> list[str]:
    return [rater.token, rater.link_token]


def test_each_pair_is_left_and_right_equally_often_over_two_raters(study: Study) -> None:
    for seed in (1, 2):
        answer_all(make_rater(study, seed=seed))
    assert {(load.served, load.left_surplus) for load in pair_loads(study)} == {(2, 0)}


def test_raters_get_k_pairs_and_the_least_served_first(tmp_path: Path) -> None:
    study = make_study(tmp_path, pairs_per_rater=2)
    first, second = make_rater(study, seed=1), make_rater(study, seed=2)
    pairs = [set(rater.trials.values_list("pair", flat=True)) for rater in (first, second)]
    assert [len(some) for some in pairs] == [2, 2]
    assert not pairs[0] & pairs[1]


def test_a_study_whose_pairs_have_their_answers_is_full(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=1)
    answer_all(make_rater(study, seed=1))
    with pytest.raises(StudyFull):
        make_rater(study, seed=2)
    assert Rater.objects.count() == 1


def test_what_a_study_can_still_give_is_all_that_a_rater_is_asked(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=1)
    first = make_rater(study, seed=1)
    second = make_rater(study, seed=2)
    answer_all(second)
    assert progress_of(second) == Progress(answered=1, total=1)
    assert is_complete(second)
    answer_all(first)
    assert progress_of(first) == Progress(answered=3, total=3)


def test_simulated_raters_take_no_real_raters_place(tmp_path: Path) -> None:
    study = make_study(tmp_path, raters_per_pair=1)
    simulated = enrol_rater(study=study, rng=random.Random(1), simulated=True)
    assert simulated.simulated
    answer_all(simulated)
    assert {load.served for load in pair_loads(study, simulated=True)} == {1}
    assert {load.served for load in pair_loads(study)} == {0}
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
        """Return new bytes for the rater, and after that the bytes of the taken token."""
        self.calls += 1
        return super().randbytes(n) if self.calls <= 2 else base64.urlsafe_b64decode(self.taken + "==")
