"""Queries that are written once give what the ORM gives, at each run, on either database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef
from django.db.models.sql import Query
from django.forms.models import model_to_dict
from django.utils import timezone

from survey.models import Balance, Exposure, ImageFault, Pair, Rater, Response, Trial
from survey.prepared import Insert, Parameter, Select, Update
from survey.selectors import asked_trial, trial_by_token, trials_to_show, waiting_trials, wants_answers
from survey.services import record_response, statements
from survey.services.trials import lock_rater, save_plan

from .factories import answer, make_rater, make_study, next_trial

pytestmark = pytest.mark.django_db

LATER = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.fixture
def raters(tmp_path: Path) -> list[Rater]:
    """Two raters of one study, with answers, special trials and places on both sides."""
    study = make_study(tmp_path, count=12, raters_per_pair=3, noise_catches=1, repeats=1)
    raters = [make_rater(study, seed=seed) for seed in (1, 2)]
    for rater in raters:
        answer(rater, "left", "same", "right")
    return raters


def loaded(row: Model) -> dict[str, Any]:
    """Return the columns of a model that were read."""
    deferred = row.get_deferred_fields()
    names = [field.attname for field in row._meta.concrete_fields]
    return {name: getattr(row, name) for name in names if name not in deferred}


def equal(found: Model, expected: Model) -> bool:
    """Whether a model has the columns of another as far as they were read, and some were."""
    columns = loaded(found)
    return found == expected and len(columns) > 1 and columns.items() <= loaded(expected).items()


def test_a_locked_rater_is_the_stored_one_with_its_studys_rules(raters: list[Rater]) -> None:
    Rater.objects.filter(pk=raters[1].pk).update(specials={"4": "repeat"}, screened_out_at=LATER)
    for rater in raters:
        with transaction.atomic():
            found = lock_rater(rater)
        expected = Rater.objects.select_related("study").get(pk=rater.pk)
        assert equal(found, expected)
        assert equal(found.study, expected.study)
        assert set(statements.PLAN_FIELDS) <= set(loaded(found))
        assert set(statements.RULES) <= set(loaded(found.study))
        assert found.study.question == expected.study.question, "what was not read comes when it is asked for"
    assert found.specials == {"4": "repeat"}
    assert found.screened_out_at == LATER


def test_a_rater_who_is_gone_cannot_be_locked(raters: list[Rater]) -> None:
    Rater.objects.filter(pk=raters[0].pk).delete()
    with transaction.atomic(), pytest.raises(Rater.DoesNotExist):
        lock_rater(raters[0])


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks no rows")
def test_the_raters_row_alone_is_locked(raters: list[Rater]) -> None:
    with transaction.atomic():
        lock_rater(raters[0])
        assert statements.locked_rater.statement.sql.endswith('FOR UPDATE OF "survey_rater"')


def test_the_plan_is_stored_with_all_its_columns(raters: list[Rater]) -> None:
    changed = raters[0]
    changed.wanted, changed.issued, changed.issued_ordinary, changed.planned, changed.done = 11, 12, 13, 14, 15
    changed.left_surplus, changed.failed_catches = -2, 3
    changed.specials, changed.screened_out_at = {"7": "same"}, LATER
    save_plan(changed)
    stored = Rater.objects.get(pk=changed.pk)
    assert [getattr(stored, name) for name in statements.PLAN_FIELDS] == [
        getattr(changed, name) for name in statements.PLAN_FIELDS
    ]
    assert not equal(Rater.objects.get(pk=raters[1].pk), changed)
    assert Rater.objects.get(pk=raters[1].pk).wanted != 11


def test_a_trial_is_found_by_its_token_with_whose_it_is(raters: list[Rater]) -> None:
    assert asked_trial("no such token") is None
    for trial in Trial.objects.all():
        found, expected = asked_trial(trial.token), trial_by_token(trial.token)
        assert found is not None
        assert expected is not None
        assert equal(found, expected)
        assert equal(found.rater, expected.rater)
        assert equal(found.rater.study, expected.rater.study)


def test_the_trials_to_show_are_those_that_wait(raters: list[Rater]) -> None:
    Trial.objects.filter(pk=waiting_trials(raters[0], limit=1)[0].pk).update(state=Trial.State.STALE)
    for rater in raters:
        for limit in (1, 3):
            shown, waiting = trials_to_show(rater, limit=limit), waiting_trials(rater, limit=limit)
            assert len(shown) == len(waiting) == limit
            for found, expected in zip(shown, waiting, strict=True):
                assert equal(found, expected)
                assert equal(found.pair, expected.pair)
                assert found.pair.small == expected.pair.small


def test_known_responses_are_the_trials_and_the_keys(raters: list[Rater]) -> None:
    first, second = (rater.trials.filter(response__isnull=False)[0] for rater in raters)
    Response.objects.filter(trial=second).update(key="the-key-of-another")
    assert statements.known_responses(trial=first.pk, key=None) == [first.response]
    both = statements.known_responses(trial=first.pk, key="the-key-of-another")
    assert {row.pk for row in both} == {first.response.pk, second.response.pk}
    for row in both:
        assert equal(row, Response.objects.get(pk=row.pk))
    assert Response.objects.filter(key=None).exists()
    assert statements.known_responses(trial=0, key=None) == [], "answers without a key are no one answer"


@pytest.mark.parametrize("bounds", [(None, None), (-1, None), (None, 1)])
@pytest.mark.parametrize("limit", [None, 1, 3])
def test_candidates_are_what_the_rules_say(
    raters: list[Rater], limit: int | None, bounds: tuple[int | None, int | None]
) -> None:
    lowest, highest = bounds
    aside, lean, other = Balance.objects.filter(simulated=False)[:3]
    Balance.objects.filter(pk=aside.pk).update(set_aside=True)
    Balance.objects.filter(pk=lean.pk).update(left_surplus=2, served=2)
    Balance.objects.filter(pk=other.pk).update(left_surplus=-2, served=0)
    read = statements.candidates(limited=limit is not None, lowest=lowest, highest=highest)
    for rater in raters:
        rater.study.raters_per_pair = limit
        seen = Trial.objects.filter(rater=rater, pair=OuterRef("pair"), kind=Trial.Kind.ORDINARY)
        rows = wants_answers(rater.study, simulated=False).filter(~Exists(seen)).order_by("served", "lot")
        rows = rows if lowest is None else rows.filter(left_surplus__gte=lowest)
        rows = rows if highest is None else rows.filter(left_surplus__lte=highest)
        expected = list(rows.values_list("pair_id", "served", "left_surplus"))
        found = read(rater=rater.pk, study=rater.study_id, simulated=False, raters_per_pair=limit)
        assert found == expected[: statements.CANDIDATES]
        assert found or limit == 1
        assert aside.pair_id not in {pair for pair, _, _ in found}


def test_counters_change_only_if_they_are_as_they_were_read(raters: list[Rater]) -> None:
    before = Balance.objects.filter(simulated=False)[0]
    change = {"pair": before.pair_id, "simulated": False, "served": 8, "left_surplus": -1, "lot": 77}
    assert statements.count_in(was_served=before.served + 1, was_surplus=before.left_surplus, **change) == 0
    assert statements.count_in(was_served=before.served, was_surplus=before.left_surplus + 1, **change) == 0
    assert statements.count_in(was_served=before.served, was_surplus=before.left_surplus, **change) == 1
    after = Balance.objects.get(pk=before.pk)
    assert (after.served, after.left_surplus, after.lot) == (8, -1, 77)
    assert Balance.objects.filter(lot=77).count() == 1, "neither another pair's nor simulated raters'"


def test_a_state_changes_from_the_one_that_is_named(raters: list[Rater]) -> None:
    trial = next_trial(raters[0])
    assert trial is not None
    others = list(Trial.objects.exclude(pk=trial.pk).order_by("pk").values_list("state", "skip_reason"))
    to = {"pk": trial.pk, "state": Trial.State.SKIPPED, "skip_reason": "image"}
    assert statements.change_state(before=Trial.State.STALE, **to) == 0
    assert statements.change_state(before=Trial.State.HELD, **to) == 1
    trial.refresh_from_db()
    assert (trial.state, trial.skip_reason) == ("skipped", "image")
    assert list(Trial.objects.exclude(pk=trial.pk).order_by("pk").values_list("state", "skip_reason")) == others


def test_leases_are_renewed_of_the_raters_own_ordinary_trials(raters: list[Rater]) -> None:
    held = Trial.objects.filter(state=Trial.State.HELD)
    assert sorted(statements.leases(rater=raters[0].pk), key=str) == sorted(
        held.filter(rater=raters[0]).order_by().values_list("lease_until"), key=str
    )
    statements.renew_leases(rater=raters[0].pk, lease_until=LATER)
    renewed = Trial.objects.filter(lease_until=LATER)
    assert set(renewed) == set(held.filter(rater=raters[0], kind=Trial.Kind.ORDINARY))
    assert renewed.exists()


def test_a_row_is_stored_as_the_orm_stores_it(raters: list[Rater]) -> None:
    trial = Trial(rater=raters[0], pair=Pair.objects.all()[0], position=99, first_is_left=True, kind=Trial.Kind.SAME)
    trial.lease_until = LATER
    statements.add_trial(trial)
    assert trial.pk is not None
    assert not trial._state.adding
    stored = Trial.objects.get(pk=trial.pk)
    assert loaded(stored) == loaded(trial)
    given = {"trial": trial, "choice": "same", "response_ms": None, "key": None, "answered_at": LATER}
    response = statements.add_response(Response(**given))
    kept = model_to_dict(Response.objects.get(pk=response.pk))
    response.delete()
    by_orm = Response.objects.create(**given)
    assert kept | {"id": by_orm.pk} == model_to_dict(Response.objects.get(pk=by_orm.pk))


def test_a_later_report_of_a_showing_replaces_all_of_it_but_whose_it_is(raters: list[Rater]) -> None:
    trial, other = Trial.objects.all()[:2]
    first = Exposure(trial=trial, key="showing-1", shown_at=LATER, focus_losses=4, image_width=12.5)
    statements.keep_exposure(first)
    statements.keep_exposure(Exposure(trial=other, key="showing-1", shown_at=LATER))
    later = Exposure(trial=trial, key="showing-1", shown_at=LATER + timedelta(seconds=1), painted_at=LATER)
    statements.keep_exposure(later)
    assert later.pk == first.pk
    assert loaded(Exposure.objects.get(trial=trial)) == loaded(later)
    assert Exposure.objects.get(trial=other).shown_at == LATER


def test_what_sets_itself_when_it_is_stored_is_not_prepared() -> None:
    with pytest.raises(TypeError, match="ImageFault"):
        Insert(ImageFault).write()
    assert Insert(Exposure).write().sql.startswith("INSERT")


def test_a_missing_value_is_refused(raters: list[Rater]) -> None:
    named = Select(lambda: Rater.objects.filter(token=Parameter("token", Rater)).only("id"))
    assert named(token=raters[0].token) == [raters[0]]
    with pytest.raises(KeyError, match="token"):
        named()
    renamed = Update(lambda: Rater.objects.filter(pk=Parameter("pk", Rater, "id")), done=Parameter("done", Rater))
    with pytest.raises(KeyError, match="done"):
        renamed(pk=raters[0].pk)


def test_an_answer_has_its_sql_written_once(raters: list[Rater], monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()

    def store(rater: Rater, *, later: int) -> None:
        trial = next_trial(rater)
        assert trial is not None
        monkeypatch.setattr(Query, "get_compiler", counted)
        asked = asked_trial(trial.token)
        assert asked is not None
        record_response(trial=asked, choice="left", key=f"answer-{later}", now=now + timedelta(milliseconds=later))
        assert trials_to_show(asked.rater, limit=3)
        monkeypatch.undo()

    written: list[str] = []
    usual = Query.get_compiler

    def counted(self: Query, *args: Any, **kwargs: Any) -> Any:
        written.append(repr(self.model))  # its text would be a query written too
        return usual(self, *args, **kwargs)

    store(raters[0], later=1)
    written.clear()
    store(raters[1], later=2)
    assert connection.vendor in statements.locked_rater._statements
    assert written == []
