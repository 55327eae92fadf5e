"""Answers, corrections, skipped trials and what was shown."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from generation.models import GeneratedImage
from survey.errors import ConflictingResponse, InvalidResponse, ScreenedOut, StudyClosed, TimeOver, UnreadableImage
from survey.images import read
from survey.models import (
    SYSTEM_RNG,
    Balance,
    Exposure,
    ImageFault,
    Rater,
    Response,
    Revision,
    Trial,
)

from . import statements
from .trials import count, free_places, issue, lock_rater, save_plan, settle, sweep, take_out, top_up

MAX_RESPONSE_MS = 86_400_000
"""A day; a longer time says nothing about the answer."""

LATE_DELIVERY = timedelta(minutes=15)
"""An answer given in time may arrive so long after the rater's time was over."""

FAULTS_TO_SET_ASIDE = 3
"""So many raters must report a pair whose files the server can read."""

IMAGE = "image"
TIMEOUT = "timeout"
SKIP_REASONS = (IMAGE, TIMEOUT)


@dataclass(frozen=True)
class Showing:
    """One showing of a trial as the browser measured it; see `survey.models.Exposure`."""

    key: str
    shown_at: datetime
    painted_at: datetime | None = None
    answered_at: datetime | None = None
    focus_losses: int = 0
    image_width: float | None = None
    image_height: float | None = None
    pixel_ratio: float | None = None
    viewport_width: int | None = None
    viewport_height: int | None = None


def record_response(
    *,
    trial: Trial,
    choice: str,
    response_ms: int | None = None,
    key: str | None = None,
    revises: bool = False,
    showing: Showing | None = None,
    rng: random.Random = SYSTEM_RNG,
    now: datetime | None = None,
) -> tuple[Response, bool]:
    """Store the answer to a trial, once, or a correction of it, and give the rater what comes next.

    The same answer again returns the stored one, also when two processes bring it at the same moment or the study has
    been closed since: what has been acknowledged stays acknowledged.

    Args:
        trial: The trial that is answered; its `rater` is then the rater as they are after it.
        choice: `left`, `same` or `right`.
        response_ms: Milliseconds from both images painted to the answer, 0 to a day; None if unknown.
        key: The browser's own name for this answer: a second one with the same key is the same answer.
        revises: Whether it corrects the answer that is there. Only a rater's last answer can be corrected.
        showing: What the browser measured while the trial was shown.
        rng: Decides which trial comes next.
        now: The time; None is the clock's.

    Returns:
        The stored response, and whether this call stored or changed it.

    Raises:
        InvalidResponse: The choice is unknown, the time out of range, or there is nothing to correct.
        ConflictingResponse: The trial has another answer, which stays; or the key named another answer before; or it
            is not the rater's last answer that would be corrected.
        StudyClosed: The trial has no answer and can get none now.
        ScreenedOut, TimeOver: The rater's part has ended.
    """
    _check_response(choice, response_ms)
    now = now or timezone.now()
    sweep(now=now)
    with transaction.atomic():
        rater = lock_rater(trial.rater)
        response = _known_response(trial, key)
        more = False
        if response is None:
            response, more = _store(rater, trial, choice, response_ms, key=key, revises=revises, rng=rng, now=now)
            changed = True
        elif _replayed(response, choice, key=key, revises=revises):
            changed = False
        else:
            _revise(rater, trial, response, choice, response_ms, key=key, now=now)
            changed = True
        if showing is not None and changed:
            _store_showing(trial, showing)
    trial.rater = _after(rater, more=more, rng=rng, now=now)
    return response, changed


def _known_response(trial: Trial, key: str | None) -> Response | None:
    """Return the trial's response; raise ConflictingResponse if the key stands for another trial's."""
    responses: list[Response] = statements.known_responses(trial=trial.pk, key=key or None)
    if any(response.trial_id != trial.pk for response in responses):
        raise ConflictingResponse("this answer's key names another answer: each answer needs a key of its own")
    return responses[0] if responses else None


def _replayed(response: Response, choice: str, *, key: str | None, revises: bool) -> bool:
    """Tell whether what arrives is stored already; raise ConflictingResponse if it contradicts what is stored."""
    history = list(response.revisions.all())
    first = history[0].before if history else response.choice
    known = {revision.key: revision.choice for revision in history} | {response.key: first}
    if key is not None and key in known:
        same = known[key] == choice
    elif revises:
        return False
    else:
        same = choice == first
    if not same:
        raise ConflictingResponse("this pair has been answered already, otherwise: the first answer stays")
    return True


def _store(
    rater: Rater,
    trial: Trial,
    choice: str,
    response_ms: int | None,
    *,
    key: str | None,
    revises: bool,
    rng: random.Random,
    now: datetime,
) -> tuple[Response, bool]:
    """Store a trial's first answer; return it, and whether there may be more trials to give."""
    if revises:
        raise InvalidResponse("there is no answer to correct yet: send it as an answer")
    _require_answerable(rater, now=now)
    state = settle(trial, Trial.State.ANSWERED, since=(*Trial.WAITING, Trial.State.VOID))
    if state is None:
        raise ConflictingResponse("this pair was skipped: its answer can no longer be stored")
    response = Response(trial=trial, choice=choice, response_ms=response_ms, key=key, answered_at=now)
    statements.add_response(response)
    rater.done += trial.kind != Trial.Kind.PRACTICE
    if state == Trial.State.VOID:
        _count_unplanned(rater, trial)
    _count_catch(rater, trial, before=None, after=choice, now=now)
    if state != Trial.State.HELD:
        # Its place had been given away; who holds a pair's counters waits for no other's: the next trial comes after.
        count(trial, 1)
        save_plan(rater)
        return response, True
    return response, issue(rater, rng=rng, now=now)


def _count_unplanned(rater: Rater, trial: Trial) -> None:
    """Put a trial that was taken back into the plan again, since it has been answered after all."""
    if trial.ordinary:
        rater.issued_ordinary += 1
        rater.left_surplus += 1 if trial.first_is_left else -1
        if rater.issued_ordinary > rater.wanted:
            rater.wanted += 1
            rater.planned += 1
    else:
        rater.planned += trial.kind != Trial.Kind.PRACTICE


def _revise(
    rater: Rater,
    trial: Trial,
    response: Response,
    choice: str,
    response_ms: int | None,
    *,
    key: str | None,
    now: datetime,
) -> None:
    """Add a correction to the rater's last answer."""
    if not rater.study.is_open:
        raise StudyClosed(f"study '{rater.study.slug}' is closed: its answers stay as they are")
    if rater.screened_out_at is not None:
        raise ScreenedOut("your part in this survey has ended")
    last = Response.objects.filter(trial__rater=rater).order_by("-answered_at", "-pk").first()
    if last != response:
        raise ConflictingResponse("only your last answer can be corrected: this one stays")
    Revision.objects.create(
        response=response,
        number=response.revisions.count() + 1,
        before=response.choice,
        choice=choice,
        response_ms=response_ms,
        key=key,
        revised_at=now,
    )
    _count_catch(rater, trial, before=response.choice, after=choice, now=None)
    save_plan(rater)
    response.choice = choice
    response.save(update_fields=["choice"])


def _count_catch(rater: Rater, trial: Trial, *, before: str | None, after: str, now: datetime | None) -> None:
    """Count a failed catch trial, and end the rater's part (at `now`) if the study says so."""
    if trial.kind not in {Trial.Kind.SAME, Trial.Kind.NOISE}:
        return
    right = trial.right_answer
    rater.failed_catches += (after != right) - (before is not None and before != right)
    limit = rater.study.screen_out_after
    if now is not None and limit is not None and rater.failed_catches >= limit and rater.screened_out_at is None:
        rater.screened_out_at = now


def skip_trial(
    *,
    trial: Trial,
    reason: str,
    showing: Showing | None = None,
    rng: random.Random = SYSTEM_RNG,
    now: datetime | None = None,
) -> None:
    """Go on without an answer to a trial: an image cannot be shown (another pair takes its place), or time is over.

    Skipping it again changes nothing, and neither does skipping an answered trial.

    Raises:
        InvalidResponse: The reason is unknown, or the study sets no time for each answer.
        StudyClosed, ScreenedOut, TimeOver: The rater's part has ended.
    """
    now = now or timezone.now()
    if reason not in SKIP_REASONS:
        raise InvalidResponse(f"unknown reason '{reason[:20]}': send one of {', '.join(SKIP_REASONS)}")
    with transaction.atomic():
        rater = lock_rater(trial.rater)
        if reason == TIMEOUT and rater.study.trial_limit_s is None:
            raise InvalidResponse("this survey sets no time for an answer: answer the pair")
        state = settle(trial, Trial.State.SKIPPED, since=Trial.WAITING, reason=reason)
        if state is not None:
            _require_answerable(rater, now=now)
            _skip(rater, trial, reason)
        if state == Trial.State.HELD:
            count(trial, -1)
        if showing is not None:
            _store_showing(trial, showing)
    trial.rater = _after(rater, more=state is not None, rng=rng, now=now)


def _skip(rater: Rater, trial: Trial, reason: str) -> None:
    if reason == TIMEOUT:
        rater.done += trial.kind != Trial.Kind.PRACTICE
        if trial.ordinary:
            rater.left_surplus -= 1 if trial.first_is_left else -1  # sides are those of answers
        save_plan(rater)
    else:
        take_out(rater, trial)
        _report_fault(rater, trial)


def _report_fault(rater: Rater, trial: Trial) -> None:
    """File a browser's report; set the pair aside if the server finds the same, or enough raters do."""
    pair = trial.pair
    confirmed = not all(_readable(image) for image in (pair.first_image, pair.second_image))
    ImageFault.objects.create(study_id=rater.study_id, pair=pair, rater=rater, confirmed=confirmed)
    reports = ImageFault.objects.filter(pair=pair).values("rater").distinct().count()
    if confirmed or reports >= FAULTS_TO_SET_ASIDE:
        Balance.objects.filter(pair=pair, simulated=rater.simulated).update(set_aside=True)


def _readable(image: GeneratedImage) -> bool:
    try:
        read(image)
    except UnreadableImage:
        return False
    return True


def record_exposure(*, trial: Trial, showing: Showing) -> None:
    """Keep what the browser measured of a showing, answered or not; a later report of the same showing replaces it."""
    with transaction.atomic():
        _store_showing(trial, showing)


def _store_showing(trial: Trial, showing: Showing) -> None:
    statements.keep_exposure(Exposure(trial=trial, **vars(showing)))


def _require_answerable(rater: Rater, *, now: datetime) -> None:
    """Raise unless the rater may answer now."""
    study = rater.study
    if not study.is_open:
        raise StudyClosed(f"study '{study.slug}' is closed: it takes no more answers")
    if rater.screened_out_at is not None:
        raise ScreenedOut("your part in this survey has ended")
    if study.session_limit_s is not None:
        over = rater.consented_at + timedelta(seconds=study.session_limit_s)
        if now > over + LATE_DELIVERY:
            raise TimeOver("your time for this survey is over")


def _after(rater: Rater, *, more: bool, rng: random.Random, now: datetime) -> Rater:
    """Do what is left to do once the answer is stored; return the rater after it."""
    if rater.screened_out_at is not None:
        free_places(rater=rater)
    elif more:
        return top_up(rater=rater, rng=rng, now=now)
    return rater


def _check_response(choice: str, response_ms: int | None) -> None:
    if choice not in Response.Choice.values:
        raise InvalidResponse(f"unknown choice '{choice[:20]}': send one of {', '.join(Response.Choice.values)}")
    if response_ms is not None and not 0 <= response_ms <= MAX_RESPONSE_MS:
        raise InvalidResponse(f"response_ms must be from 0 to {MAX_RESPONSE_MS}: leave it out if it is not known")
