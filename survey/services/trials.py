"""Giving out trials: which, when, for how long, and taking them back.

A trial that waits for its answer holds its place for the study's `lease_s`. Each sign of its rater renews that; after
it, the trial is stale: it may still be answered, but its place is given to another.

What keeps this safe without one lock for all: a rater's own row is locked while their trials change, a pair's counters
change only if they are as they were read, and a transaction that has taken a pair's counters waits for no other's, so
that no two wait for each other.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from survey.assignment import MOST_LEAN, Assignment, PairLoad, choose_pair, choose_repeated, suiting
from survey.models import Balance, Rater, Trial, make_token
from survey.selectors import counters_to_use, wants_answers

from . import statements

LOOKAHEAD = 3
"""Trials that a rater holds at a time: the one to answer, and two whose images are fetched ahead."""

SWEEP_EVERY = timedelta(seconds=1)
"""Answers come more often than leases end."""

LOT_BITS = 31


def lock_rater(rater: Rater) -> Rater:
    """Return the rater with its study as they are now, locked until the transaction ends."""
    found: list[Rater] = statements.locked_rater(pk=rater.pk)
    if not found:
        raise Rater.DoesNotExist("the rater has withdrawn meanwhile")
    return found[0]


def save_plan(rater: Rater) -> None:
    """Store the columns of a locked rater that change with their trials."""
    statements.save_plan(pk=rater.pk, **{name: getattr(rater, name) for name in statements.PLAN_FIELDS})


def top_up(*, rater: Rater, rng: random.Random, now: datetime | None = None) -> Rater:
    """Give the rater trials until they hold `LOOKAHEAD`, or their plan or the study has no more; return them then."""
    now = now or timezone.now()
    release_stale(now=now)
    more = True
    while more:
        with transaction.atomic():
            rater = lock_rater(rater)
            more = issue(rater, patient=True, rng=rng, now=now)
    return rater


def issue(rater: Rater, *, patient: bool = False, rng: random.Random, now: datetime) -> bool:
    """Give a locked rater trials; return whether there may be more to give, in another transaction.

    That is so where others were giving out each pair that could be chosen. Who is patient waits for the first pair
    while it is held; to be after a transaction that was not.
    """
    waiting = _renew_leases(rater, now=now) if rater.issued else 0
    took_pair = more = False
    while waiting < LOOKAHEAD and rater.screened_out_at is None:
        kind = rater.specials.get(str(rater.issued + 1))
        if kind is None and rater.issued_ordinary < rater.wanted:
            try:
                given = _issue_ordinary(rater, wait=patient and not took_pair, rng=rng, now=now)
            except Overtaken:
                more = True
                break
            took_pair = took_pair or given
        elif kind is None:
            if not _draw_specials_near(rater):
                break
            continue
        else:
            given = _issue_special(rater, kind, rng=rng, now=now)
        waiting += given
    save_plan(rater)
    return more


def _renew_leases(rater: Rater, *, now: datetime) -> int:
    """Return how many trials the rater holds; keep their places for another `lease_s` once half of it is over."""
    leases = [until for (until,) in statements.leases(rater=rater.pk)]
    lease = timedelta(seconds=rater.study.lease_s)
    if any(until is not None and until < now + lease / 2 for until in leases):
        statements.renew_leases(rater=rater.pk, lease_until=now + lease)
    return len(leases)


class Overtaken(Exception):
    """Others are giving out each pair that could be chosen, or have just done so."""


def _issue_ordinary(rater: Rater, *, wait: bool, rng: random.Random, now: datetime) -> bool:
    """Give the rater the pair that is due; end their plan here if there is none. Raise Overtaken as `_take_pair`."""
    assignment = _take_pair(rater, wait=wait, rng=rng)
    if assignment is None:
        rater.planned -= rater.wanted - rater.issued_ordinary
        rater.wanted = rater.issued_ordinary
        return False
    _add_trial(
        rater,
        pair_id=assignment.pair,
        first_is_left=assignment.first_is_left,
        lease_until=now + timedelta(seconds=rater.study.lease_s),
        rng=rng,
        now=now,
    )
    rater.issued_ordinary += 1
    rater.left_surplus += 1 if assignment.first_is_left else -1
    return True


def _take_pair(rater: Rater, *, wait: bool, rng: random.Random) -> Assignment | None:
    """Choose a pair and count it in; None if there is none.

    Args:
        rater: Who is to see it.
        wait: Whether to wait for the pair's counters while another holds them, or to choose another pair. PostgreSQL
            keeps a row locked that it waited for and then found changed: nothing else may be tried after it.
        rng: Decides ties.

    Raises:
        Overtaken: No pair's counters are free and as they were read.
    """
    loads = _candidates(rater)
    if not loads:
        return None
    while loads:
        chosen = choose_pair(loads, left_surplus=rater.left_surplus, rng=rng)
        if chosen is None:
            return None
        load = next(load for load in loads if load.pair == chosen.pair)
        if _count_in(rater, load, chosen, wait=wait, lot=rng.getrandbits(LOT_BITS)):
            return chosen
        loads = [] if wait else [other for other in loads if other is not load]
    raise Overtaken


def _count_in(rater: Rater, load: PairLoad, chosen: Assignment, *, wait: bool, lot: int) -> bool:
    """Count a trial into its pair's counters if they are still as they were read; tell whether they were."""
    # SQLite has one writer at a time, who finds what was read.
    waits = wait or not connection.features.has_select_for_update_skip_locked
    count_in = statements.count_in if waits else statements.count_in_at_once
    counted = count_in(
        pair=load.pair,
        simulated=rater.simulated,
        was_served=load.served,
        was_surplus=load.left_surplus,
        served=load.served + 1,
        left_surplus=load.left_surplus + (1 if chosen.first_is_left else -1),
        lot=lot,
    )
    return bool(counted)


def _candidates(rater: Rater) -> list[PairLoad]:
    """Return the least served pairs that the rater has not seen, that want answers and whose sides suit the rater's.

    In a study that fills, a pair that does not suit this rater is left to another. In one without a limit each rater is
    to see all that is asked of them: where nothing suits, any pair comes, which the next raters even out.
    """
    lowest, highest = suiting(rater.left_surplus)
    loads = _loads(rater, lowest=lowest, highest=highest)
    if loads or rater.study.raters_per_pair is not None or lowest is highest is None:
        return loads
    return _loads(rater, lowest=None, highest=None)


def _loads(rater: Rater, *, lowest: int | None, highest: int | None) -> list[PairLoad]:
    limit = rater.study.raters_per_pair
    read = statements.candidates(limited=limit is not None, lowest=lowest, highest=highest)
    whose = {"rater": rater.pk, "study": rater.study_id, "simulated": rater.simulated}
    return [PairLoad(*row) for row in read(**whose, raters_per_pair=limit)]


def _draw_specials_near(rater: Rater) -> bool:
    """Move the trials that are not ordinary and not given out yet to the next positions; tell whether there are any."""
    left = sorted((int(position), kind) for position, kind in rater.specials.items() if int(position) > rater.issued)
    rater.specials = {position: kind for position, kind in rater.specials.items() if int(position) <= rater.issued}
    rater.specials |= {str(rater.issued + place): kind for place, (_, kind) in enumerate(left, start=1)}
    return bool(left)


def _issue_special(rater: Rater, kind: str, *, rng: random.Random, now: datetime) -> bool:
    """Give the rater a practice trial, a catch trial or a repeat; drop it if there is nothing to make it of."""
    if kind == Trial.Kind.REPEAT:
        return _issue_repeat(rater, rng=rng, now=now)
    pair_id = (
        counters_to_use(rater.study, simulated=rater.simulated)
        .order_by("-served", "-lot")  # as the index has them; any pair will do
        .values_list("pair_id", flat=True)[: LOOKAHEAD * 4]
    )
    choices = list(pair_id)
    if not choices:
        return _drop_special(rater)
    _add_trial(
        rater,
        pair_id=rng.choice(choices),
        kind=kind,
        first_is_left=bool(rng.getrandbits(1)),
        shows_first=bool(rng.getrandbits(1)),
        rng=rng,
        now=now,
    )
    return True


def _issue_repeat(rater: Rater, *, rng: random.Random, now: datetime) -> bool:
    shown = rater.trials.filter(kind=Trial.Kind.ORDINARY, state__in=Trial.COUNTED)
    repeated = rater.trials.filter(kind=Trial.Kind.REPEAT, pair=OuterRef("pair"))
    candidates = {trial.position: trial for trial in shown.filter(~Exists(repeated))}
    chosen = choose_repeated(list(candidates), position=rater.issued + 1, rng=rng)
    if chosen is None:
        return _drop_special(rater)
    original = candidates[chosen]
    _add_trial(
        rater,
        pair_id=original.pair_id,
        kind=Trial.Kind.REPEAT,
        first_is_left=not original.first_is_left,
        rng=rng,
        now=now,
    )
    return True


def _drop_special(rater: Rater) -> bool:
    kind = rater.specials.pop(str(rater.issued + 1))
    rater.planned -= kind != Trial.Kind.PRACTICE
    later = {int(position): kind for position, kind in rater.specials.items()}
    rater.specials = {str(at - (at > rater.issued)): kind for at, kind in later.items()}
    return False


def _add_trial(
    rater: Rater,
    *,
    pair_id: int,
    first_is_left: bool,
    rng: random.Random,
    now: datetime,
    kind: str = Trial.Kind.ORDINARY,
    shows_first: bool = True,
    lease_until: datetime | None = None,
) -> None:
    rater.issued += 1
    trial = Trial(
        rater=rater,
        pair_id=pair_id,
        token=make_token(rng),
        position=rater.issued,
        first_is_left=first_is_left,
        kind=kind,
        shows_first=shows_first,
        lease_until=lease_until,
        issued_at=now,
    )
    statements.add_trial(trial)


_swept: dict[str, datetime] = {}


def sweep(*, now: datetime) -> None:
    """Free the places of trials whose leases have run out, unless this process has just done so."""
    last = _swept.get(connection.alias)
    if last is None or abs(now - last) >= SWEEP_EVERY:
        _swept[connection.alias] = now
        release_stale(now=now)


def release_stale(*, now: datetime | None = None) -> int:
    """Free the places of trials whose leases have run out, in all studies; return how many."""
    now = now or timezone.now()
    over = Trial.objects.filter(state=Trial.State.HELD, lease_until__lt=now)
    released = 0
    for (pk,) in statements.overdue(now=now):
        with transaction.atomic():
            if over.filter(pk=pk).update(state=Trial.State.STALE):
                count(Trial.objects.select_related("rater").get(pk=pk), -1)
                released += 1
    return released


def count(trial: Trial, change: int) -> None:
    """Count an ordinary trial in (1) or out (-1) of its pair's counters."""
    if trial.ordinary:
        step = change if trial.first_is_left else -change
        balance = Balance.objects.filter(pair_id=trial.pair_id, simulated=trial.rater.simulated)
        balance.update(served=F("served") + change, left_surplus=F("left_surplus") + step)


def resume(*, rater: Rater, rng: random.Random, now: datetime | None = None) -> Rater:
    """Bring a rater back: renew their leases, hold stale trials again where there is room, and give what is missing.

    Returns the rater as they are then.

    A stale trial whose pair has its answers meanwhile is taken back and another pair is given instead.
    """
    now = now or timezone.now()
    for trial in rater.trials.filter(state=Trial.State.STALE):
        with transaction.atomic():
            _hold_again(lock_rater(rater), trial, now=now)
    return top_up(rater=rater, rng=rng, now=now)


def _hold_again(rater: Rater, trial: Trial, *, now: datetime) -> None:
    """Hold a stale trial again, or take it back if its place has been given away."""
    if settle(trial, Trial.State.HELD, since=(Trial.State.STALE,)) is None:
        return
    until = now + timedelta(seconds=rater.study.lease_s)
    Trial.objects.filter(pk=trial.pk).update(lease_until=until)
    step = 1 if trial.first_is_left else -1
    room = wants_answers(rater.study, simulated=rater.simulated).filter(pair=trial.pair_id)
    if rater.study.raters_per_pair is not None:
        # Another may have had its place on the other side, and its own side may lean too far now.
        room = room.filter(left_surplus__lt=MOST_LEAN) if step > 0 else room.filter(left_surplus__gt=-MOST_LEAN)
    if not room.update(served=F("served") + 1, left_surplus=F("left_surplus") + step):
        settle(trial, Trial.State.VOID, since=(Trial.State.HELD,))
        take_out(rater, trial)


def settle(trial: Trial, state: Trial.State, *, since: Sequence[Trial.State], reason: str = "") -> Trial.State | None:
    """Change a trial's state and return the one it had, which decides whether it is counted; None if not in `since`.

    The change and the check are one statement, so that a lease that runs out at this moment is seen or does not
    happen. `since` is in the order in which states follow each other.
    """
    for before in since:
        if statements.change_state(pk=trial.pk, before=before, state=state, skip_reason=reason):
            return before
    return None


def take_out(rater: Rater, trial: Trial) -> None:
    """Take a trial out of a locked rater's plan; an ordinary one makes room for another."""
    if trial.ordinary:
        rater.issued_ordinary -= 1
        rater.left_surplus -= 1 if trial.first_is_left else -1
    elif trial.kind != Trial.Kind.PRACTICE:
        rater.planned -= 1
    save_plan(rater)


def free_places(*, rater: Rater) -> None:
    """Take back all that a rater still holds: they will not answer it."""
    for trial in rater.trials.filter(state=Trial.State.HELD).select_related("rater"):
        with transaction.atomic():
            if settle(trial, Trial.State.VOID, since=(Trial.State.HELD,)):
                count(trial, -1)
