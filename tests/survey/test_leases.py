"""A trial that nobody answers frees its place; what is answered late still counts, once."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from survey.models import Balance, Study, Trial
from survey.selectors import Progress, is_complete, pair_loads, progress_of
from survey.services import record_response, release_stale, resume

from .factories import answer, answer_all, first_trial, make_rater, make_study, rng_of

pytestmark = pytest.mark.django_db

LEASE_S = 60


@pytest.fixture
def narrow(tmp_path: Path) -> Study:
    """A study of three pairs that wants one answer of each."""
    return make_study(tmp_path, count=3, raters_per_pair=1, lease_s=LEASE_S)


def later(leases: float) -> datetime:
    return timezone.now() + timedelta(seconds=leases * LEASE_S)


def served(study: Study) -> list[int]:
    return sorted(load.served for load in pair_loads(study))


def test_places_are_freed_after_the_lease_and_not_before(narrow: Study) -> None:
    make_rater(narrow)
    assert release_stale(now=later(0.9)) == 0
    assert served(narrow) == [1, 1, 1]
    assert release_stale(now=later(1.1)) == 3
    assert served(narrow) == [0, 0, 0]
    assert set(Balance.objects.values_list("left_surplus", flat=True)) == {0}
    assert release_stale(now=later(1.1)) == 0


def test_an_answer_renews_the_leases_of_what_comes_next(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path, lease_s=LEASE_S))
    record_response(trial=first_trial(rater), choice="left", now=later(0.9))
    assert release_stale(now=later(1.8)) == 0


def test_another_rater_gets_the_place_of_one_who_left(narrow: Study) -> None:
    gone = make_rater(narrow, seed=1)
    release_stale(now=later(1.1))
    other = make_rater(narrow, seed=2)
    answer_all(other)
    assert progress_of(other) == Progress(answered=3, total=3)
    resume(rater=gone, rng=rng_of(1))
    assert progress_of(gone) == Progress(answered=0, total=0)
    assert set(gone.trials.values_list("state", flat=True)) == {Trial.State.VOID}
    assert served(narrow) == [1, 1, 1]


def test_one_who_comes_back_goes_on_with_the_same_trials_where_there_is_room(narrow: Study) -> None:
    rater = make_rater(narrow)
    tokens = list(rater.trials.values_list("token", flat=True))
    release_stale(now=later(1.1))
    resume(rater=rater, rng=rng_of(1), now=later(1.2))
    assert list(rater.trials.filter(state=Trial.State.HELD).values_list("token", flat=True)) == tokens
    assert release_stale(now=later(2)) == 0
    assert served(narrow) == [1, 1, 1]


def test_one_who_comes_back_gets_another_pair_for_one_that_is_taken(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=8, pairs_per_rater=3, raters_per_pair=1, lease_s=LEASE_S)
    gone = make_rater(study, seed=1)
    taken = set(gone.trials.values_list("pair", flat=True))
    release_stale(now=later(1.1))
    Balance.objects.filter(pair__in=taken).update(served=1)
    resume(rater=gone, rng=rng_of(1))
    answer_all(gone)
    assert progress_of(gone) == Progress(answered=3, total=3)
    assert is_complete(gone)
    assert not taken & set(gone.trials.filter(state="answered").values_list("pair", flat=True))


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_late_answer_is_stored_and_counted_once(narrow: Study, taken_back: bool) -> None:  # noqa: FBT001
    gone = make_rater(narrow, seed=1)
    trial = first_trial(gone)
    release_stale(now=later(1.1))
    answer_all(make_rater(narrow, seed=2))
    if taken_back:
        resume(rater=gone, rng=rng_of(1))
    _, stored = record_response(trial=trial, choice="left")
    assert stored
    assert progress_of(gone).answered == 1
    resume(rater=gone, rng=rng_of(1))
    assert is_complete(gone)
    assert served(narrow) == [1, 1, 2]


def test_the_counters_follow_the_trials_whatever_happens(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=5, pairs_per_rater=4, lease_s=LEASE_S, repeats=1, same_catches=1)
    for seed in range(6):
        rater = make_rater(study, seed=seed)
        answer(rater, *["left"] * seed)
        if seed % 2:
            release_stale(now=later(2))
        if seed == 3:
            resume(rater=rater, rng=rng_of(3))
    for load in pair_loads(study):
        trials = Trial.objects.filter(pair=load.pair, kind="ordinary", state__in=Trial.COUNTED)
        lefts = trials.filter(first_is_left=True).count()
        assert (load.served, load.left_surplus) == (trials.count(), 2 * lefts - trials.count())
