"""Letting simulated raters take part: through the services, or over HTTP as a front end of one's own would."""

import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.db import connections
from django.utils import timezone

from .errors import StudyFull, SurveyError
from .models import Rater, Study, Trial
from .selectors import first_lease_end, trials_for_a_rater, waiting_trials
from .services import enrol_rater, record_response
from .simulation import Behaviour, Person, Seen, answer, draw_person

TIMEOUT_S = 60


@dataclass
class Outcome:
    """What a dry run did."""

    raters: int = 0
    finished: int = 0
    left: int = 0
    turned_away: int = 0
    answers: int = 0

    def add(self, other: "Outcome") -> None:
        """Add another outcome's counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def _seen(trial: Trial) -> Seen:
    left, right = trial.left_arm, trial.right_arm
    return Seen(
        left_arm=None if left is None else left.name,
        right_arm=None if right is None else right.name,
        right_answer=trial.right_answer,
    )


def simulate(
    *, study: Study, raters: int, behaviour: Behaviour, at_once: int, seed: int, start: datetime | None = None
) -> Iterator[Outcome]:
    """Let raters answer through the services, several in turn, on a clock of their own; yield what each step did.

    Who finds every place taken comes again when the lease of one who left is over: a study that asks for a number of
    answers gets them, as long as there are raters.

    Args:
        study: The open study.
        raters: How many come.
        behaviour: What they are like.
        at_once: How many answer at a time; when one is done, the next comes.
        seed: Decides everything.
        start: When the first comes; None is now. Later times are counted from it by how long the answers take.

    Raises:
        StudyClosed: The study is not open.
    """
    rng = random.Random(seed)
    now = start or timezone.now()
    coming = list(range(raters))
    present: list[tuple[Rater, Person, list[int]]] = []
    while coming or present:
        while coming and len(present) < at_once:
            person_rng = random.Random(f"{seed} {coming[0]}")
            try:
                rater = enrol_rater(study=study, rng=person_rng, simulated=True, now=now)
            except StudyFull:
                if present:
                    break
                comes_free = first_lease_end(study, simulated=True)
                if comes_free is None:
                    coming.pop(0)
                    yield Outcome(turned_away=1)
                else:
                    now = max(now, comes_free) + timedelta(milliseconds=1)
                continue
            coming.pop(0)
            person = draw_person(behaviour, trials=trials_for_a_rater(study), rng=person_rng)
            present.append((rater, person, [0]))
            yield Outcome(raters=1)
        if not present:
            continue
        place = rng.randrange(len(present))
        rater, person, answered = present[place]
        trial = next(iter(waiting_trials(rater, limit=1)), None)
        if trial is None or answered[0] == person.leaves_after:
            present.pop(place)
            yield Outcome(finished=int(trial is None), left=int(trial is not None))
            continue
        choice, took_ms = answer(person, _seen(trial), behaviour, rng=rng)
        now += timedelta(milliseconds=took_ms / len(present))
        record_response(trial=trial, choice=choice, response_ms=took_ms, rng=rng, now=now)
        answered[0] += 1
        yield Outcome(answers=1)


def simulate_over_http(
    *, study: Study, site: str, raters: int, behaviour: Behaviour, at_once: int, seed: int
) -> Iterator[Outcome]:
    """Let raters answer through a server's API, each in a thread; yield what each rater did.

    The server must use this machine's database: the simulation looks up there which arm is on which side.

    Raises:
        SurveyError: The server refuses, or cannot be reached.
    """

    def live(number: int) -> Outcome:
        try:
            return _live_over_http(study, site.rstrip("/"), behaviour, random.Random(f"{seed} {number}"))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(live, range(raters))


def _live_over_http(study: Study, site: str, behaviour: Behaviour, rng: random.Random) -> Outcome:
    status, state = _post(f"{site}/api/v1/studies/{study.slug}/raters", {"consent": True, "simulated": True})
    if status == HTTPStatus.FORBIDDEN and state["error"]["code"] == StudyFull.code:
        return Outcome(turned_away=1)
    _require(status, state)
    token = state["token"]
    person = draw_person(behaviour, trials=trials_for_a_rater(study), rng=rng)
    outcome = Outcome(raters=1)
    while state["next"]:
        if outcome.answers == person.leaves_after:
            outcome.left += 1
            return outcome
        shown = Trial.objects.select_related("pair__first_arm", "pair__second_arm").get(token=state["next"][0]["token"])
        choice, took_ms = answer(person, _seen(shown), behaviour, rng=rng)
        body = {"choice": choice, "response_ms": took_ms, "key": f"{rng.getrandbits(128):032x}"}
        status, state = _post(f"{site}/api/v1/trials/{shown.token}/response", body, token=token)
        _require(status, state)
        outcome.answers += 1
    outcome.finished += 1
    return outcome


def _require(status: int, state: dict[str, Any]) -> None:
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise SurveyError(f"the server refused ({status}): {state.get('error', {}).get('message', state)}")


def _post(address: str, body: dict[str, Any], *, token: str | None = None) -> tuple[int, dict[str, Any]]:
    """Send JSON; return the status and the reply."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Rater {token}"} if token else {})
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310 (checked by the command)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        try:
            return error.code, json.load(error)
        except ValueError:
            return error.code, {"error": {"message": error.reason}}
    except OSError as error:
        raise SurveyError(f"{address} cannot be reached ({error}): is the server running there?") from error
