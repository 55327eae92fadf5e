"""Raters: enrolling, inviting, withdrawing."""

import random
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from survey.assignment import place_specials
from survey.errors import NotInvited, StudyFull, UnknownStudy
from survey.models import SYSTEM_RNG, Balance, Invite, Rater, Response, Study, Trial, Withdrawal, make_token
from survey.selectors import require_open

from . import statements
from .studies import ensure_balances
from .trials import Overtaken, issue, release_stale, top_up


@dataclass(frozen=True)
class Arrival:
    """How a rater came: what the panel sent, as the study keeps it, or the invitation they hold.

    Attributes:
        participant: The panel's name for them, hashed or plain; None if no panel sent them.
        panel_study: The panel's name for the study (Prolific's STUDY_ID, MTurk's hitId).
        panel_session: The panel's name for their visit (SESSION_ID, assignmentId).
        invite: The invitation's token.
    """

    participant: str | None = None
    panel_study: str = ""
    panel_session: str = ""
    invite: str | None = None


def enrol_rater(
    *,
    study: Study,
    rng: random.Random,
    simulated: bool = False,
    arrival: Arrival | None = None,
    now: datetime | None = None,
) -> Rater:
    """Make a rater with their first trials, or return the one whom the panel has sent before.

    Args:
        study: The open study to join.
        rng: Decides tokens, pairs, sides and order; `random.SystemRandom()` for real raters, so that no token can be
            guessed. The same state gives the same rater again.
        simulated: Marks the rater for good. Real and simulated raters' pairs are balanced apart.
        arrival: How they came; None: by an open link.
        now: The time; None is the clock's.

    Raises:
        StudyClosed: The study takes no raters.
        StudyFull: No pair is left to answer.
        NotInvited: The study wants an invitation or a panel's participant, and this is none, or one used already.
    """
    arrival, now = arrival or Arrival(), now or timezone.now()
    release_stale(now=now)
    patient = False
    while True:
        try:
            return _enrol(study, arrival, patient=patient, rng=rng, simulated=simulated, now=now)
        except Overtaken:
            patient = True
        except IntegrityError:
            # The same participant came twice at once, and the other visit was stored first.
            if (known := _known_participant(study, arrival)) is None:
                raise
            return known


def _enrol(
    study: Study, arrival: Arrival, *, patient: bool, rng: random.Random, simulated: bool, now: datetime
) -> Rater:
    with transaction.atomic():
        found: list[Study] = statements.study_to_join(pk=study.pk)
        if not found:
            raise UnknownStudy(f"there is no study '{study.slug}' any more: check the link or the name")
        [study] = found
        require_open(study)
        if known := _known_participant(study, arrival):
            return known
        _require_access(study, arrival, simulated=simulated)
        ensure_balances(study, simulated=simulated, rng=rng)
        rater = _new_rater(study, arrival, rng=rng, simulated=simulated, now=now)
        _use_invite(study, rater, arrival, now=now)
        more = issue(rater, patient=patient, rng=rng, now=now)
        if more and not rater.issued_ordinary:
            raise Overtaken  # nobody is kept who may find no pair left when they choose again
        if not rater.wanted:
            raise StudyFull(f"study '{study.slug}' has all the raters it needs: there is nothing left to answer")
    return top_up(rater=rater, rng=rng, now=now) if more else rater


def _known_participant(study: Study, arrival: Arrival) -> Rater | None:
    if arrival.participant is None:
        return None
    return Rater.objects.select_related("study").filter(study=study, participant=arrival.participant).first()


def _require_access(study: Study, arrival: Arrival, *, simulated: bool) -> None:
    if simulated:
        return
    if study.access == Study.Access.INVITED and arrival.invite is None:
        raise NotInvited("this survey is by invitation: open the link that you were given")
    if study.access == Study.Access.PANEL and arrival.participant is None:
        raise NotInvited("this survey is for a panel's participants: open it from the panel's own page")


def _new_rater(study: Study, arrival: Arrival, *, rng: random.Random, simulated: bool, now: datetime) -> Rater:
    available = next((number for _, number in statements.number_of_pairs(study=study.pk)), 0)
    wanted = min(study.pairs_per_rater or available, available)
    places = place_specials(
        ordinary=wanted,
        practice=study.practice_trials,
        same=study.same_catches,
        noise=study.noise_catches,
        repeats=study.repeats,
        rng=rng,
    )
    practice = sum(kind == Trial.Kind.PRACTICE for kind in places.values())
    rater = Rater(
        study=study,
        token=make_token(rng),
        link_token=make_token(rng),
        simulated=simulated,
        consented_at=now,
        participant=arrival.participant,
        panel_study=arrival.panel_study,
        panel_session=arrival.panel_session,
        wanted=wanted,
        planned=wanted + len(places) - practice,
        specials={str(position): kind for position, kind in places.items()},
    )
    return statements.add_rater(rater)


def _use_invite(study: Study, rater: Rater, arrival: Arrival, *, now: datetime) -> None:
    if arrival.invite is None:
        return
    unused = Invite.objects.filter(study=study, token=arrival.invite, used_at=None)
    if not unused.update(used_at=now, rater=rater):
        raise NotInvited("this invitation has been used, or is not for this survey: ask for another")


def create_invites(*, study: Study, number: int, rng: random.Random = SYSTEM_RNG) -> list[Invite]:
    """Make invitations, each for one rater."""
    return Invite.objects.bulk_create([Invite(study=study, token=make_token(rng)) for _ in range(number)])


@transaction.atomic
def withdraw_rater(*, rater: Rater, now: datetime | None = None) -> Withdrawal:
    """Delete a rater with all that they answered and were shown, free their places, and note that it happened."""
    now = now or timezone.now()
    rater = Rater.objects.select_for_update(of=("self",)).select_related("study").get(pk=rater.pk)
    counted = Trial.objects.filter(rater=rater, kind=Trial.Kind.ORDINARY, state__in=Trial.COUNTED)
    sides = dict(counted.values_list("pair_id", "first_is_left"))
    # Locked in one order, so that two withdrawals do not wait for each other.
    balances = Balance.objects.select_for_update().filter(pair_id__in=list(sides), simulated=rater.simulated)
    for balance in balances.order_by("pk"):
        step = 1 if sides[balance.pair_id] else -1
        Balance.objects.filter(pk=balance.pk).update(served=F("served") - 1, left_surplus=F("left_surplus") - step)
    answers = Response.objects.filter(trial__rater=rater).exclude(trial__kind=Trial.Kind.PRACTICE).count()
    tombstone = Withdrawal.objects.create(
        study=rater.study, withdrawn_on=now.date(), answers=answers, simulated=rater.simulated
    )
    rater.delete()
    return tombstone
