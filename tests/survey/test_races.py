"""Many at once: threads with a database connection each, meeting in the same rows."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import connection, connections, transaction  # noqa: F401 (`connection` for the marks)

from survey.errors import ConflictingResponse, NotInvited, StudyFull
from survey.models import Balance, Rater, Response, Study, Trial
from survey.selectors import pair_loads
from survey.services import Arrival, create_invites, enrol_rater, record_response

from .conftest import browser_of
from .factories import first_trial, make_rater, make_study

pytestmark = [pytest.mark.django_db(transaction=True)]

T = TypeVar("T")


def together(count: int, work: Callable[[int], T]) -> list[T | Exception]:
    """Call `work(0)` to `work(count - 1)` in threads that start at the same moment; return values and errors."""
    start = threading.Barrier(count)
    outcomes: dict[int, T | Exception] = {}

    def run(number: int) -> None:
        try:
            start.wait(timeout=30)
            outcomes[number] = work(number)
        except Exception as error:  # noqa: BLE001 (handed to the test)
            outcomes[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(outcomes) == count
    return [outcomes[number] for number in range(count)]


def fresh(trial: Trial) -> Trial:
    """Return the trial as another process would load it."""
    return Trial.objects.get(pk=trial.pk)


def test_one_answer_sent_by_eight_at_once_is_stored_once(tmp_path: Path) -> None:
    trial = first_trial(make_rater(make_study(tmp_path)))
    outcomes = together(8, lambda _: record_response(trial=fresh(trial), choice="left"))
    stored = Response.objects.get()
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert {outcome[0].pk for outcome in outcomes if isinstance(outcome, tuple)} == {stored.pk}
    assert Counter(outcome[1] for outcome in outcomes if isinstance(outcome, tuple)) == {True: 1, False: 7}


def test_of_two_answers_at_once_one_stays_and_the_other_is_told(tmp_path: Path) -> None:
    trial = first_trial(make_rater(make_study(tmp_path)))
    choices = ["left", "right"] * 4
    outcomes = together(8, lambda number: record_response(trial=fresh(trial), choice=choices[number]))
    stored = Response.objects.get()
    for choice, outcome in zip(choices, outcomes, strict=True):
        if choice == stored.choice:
            assert isinstance(outcome, tuple)
            assert outcome[0].pk == stored.pk
        else:
            assert isinstance(outcome, ConflictingResponse)


def test_a_double_click_over_http_is_one_201_and_one_row(tmp_path: Path) -> None:
    rater = make_rater(make_study(tmp_path))
    address = f"/api/v1/trials/{first_trial(rater).token}/response"
    body = json.dumps({"choice": "same", "response_ms": 10})

    def click(_: int) -> int:
        return browser_of(rater).post(address, body, content_type="application/json").status_code

    assert Counter(together(4, click)) == {201: 1, 200: 3}
    assert Response.objects.count() == 1


def test_raters_who_come_at_once_are_all_given_pairs_and_evenly(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=6)
    outcomes = together(6, lambda number: enrol_rater(study=study, rng=random.Random(number)))
    assert [outcome for outcome in outcomes if not isinstance(outcome, Rater)] == []
    loads = pair_loads(study)
    assert sum(load.served for load in loads) == Trial.objects.count() == 18
    assert all(2 <= load.served <= 4 and abs(load.left_surplus) <= 2 for load in loads)


def test_raters_who_come_at_once_do_not_overfill_the_study(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=6, raters_per_pair=1)
    outcomes = together(6, lambda number: enrol_rater(study=study, rng=random.Random(number)))
    assert set(map(type, outcomes)) <= {Rater, StudyFull}
    assert {load.served for load in pair_loads(Study.objects.get())} == {1}
    assert Trial.objects.count() == 6


def test_one_participant_who_comes_twice_at_once_is_one_rater(tmp_path: Path) -> None:
    study = make_study(tmp_path, panel="prolific")
    arrival = Arrival(participant="p1")
    outcomes = together(6, lambda number: enrol_rater(study=study, rng=random.Random(number), arrival=arrival))
    assert {outcome.pk for outcome in outcomes if isinstance(outcome, Rater)} == {Rater.objects.get().pk}
    assert [outcome for outcome in outcomes if not isinstance(outcome, Rater)] == []


def test_an_invitation_used_twice_at_once_lets_one_in(tmp_path: Path) -> None:
    study = make_study(tmp_path, access="invited")
    [invite] = create_invites(study=study, number=1)
    arrival = Arrival(invite=invite.token)
    outcomes = together(4, lambda number: enrol_rater(study=study, rng=random.Random(number), arrival=arrival))
    assert Counter(map(type, outcomes)) == {Rater: 1, NotInvited: 3}
    assert Rater.objects.count() == 1


@contextmanager
def holding(pairs: list[int], **changes: int) -> Iterator[threading.Event]:
    """Hold these pairs' counters elsewhere, until the event that is given is set; then change them and let go."""
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(Balance.objects.select_for_update().filter(pair__in=pairs))
            held.set()
            enough.wait(timeout=30)
            Balance.objects.filter(pair__in=pairs).update(**changes)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(timeout=30)
        yield enough
    finally:
        enough.set()
        thread.join(timeout=30)


rows_are_locked = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite locks no rows")


@rows_are_locked
def test_a_pair_that_is_being_given_out_is_passed_over_without_waiting(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=4)
    make_rater(study)
    free = [load.pair for load in pair_loads(study)][1:]
    held = next(load.pair for load in pair_loads(study) if load.pair not in free)
    with holding([held], lot=1) as enough:
        second = make_rater(study, seed=2)
        assert not enough.is_set()
        assert set(second.trials.values_list("pair", flat=True)) == set(free)


@rows_are_locked
@pytest.mark.parametrize("wanted", [1, 2])
def test_who_finds_all_pairs_held_waits_and_is_kept_only_if_one_is_left(tmp_path: Path, wanted: int) -> None:
    study = make_study(tmp_path, count=3, raters_per_pair=2)
    make_rater(study)
    with holding([load.pair for load in pair_loads(study)], served=3 - wanted) as enough:
        threading.Timer(0.5, enough.set).start()
        if wanted == 1:
            with pytest.raises(StudyFull):
                make_rater(study, seed=2)
        else:
            assert make_rater(study, seed=2).trials.count() == 3
    assert Rater.objects.count() == wanted
