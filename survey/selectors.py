"""What the rater's pages, the API and the services read of a survey. `survey.monitoring` reads it for researchers."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from .assignment import PairLoad
from .errors import ScreenedOut, StudyClosed, StudyFull, TimeOver, UnknownStudy, UnknownTrial
from .models import Balance, Plan, Rater, Response, Study, Trial
from .prepared import Parameter, Select


@dataclass(frozen=True)
class Progress:
    """How far a rater is through their own plan, practice aside."""

    answered: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether every planned trial is answered."""
        return self.answered >= self.total

    @property
    def current(self) -> int:
        """The number, from 1, of the trial to answer next; the total when all are answered."""
        return min(self.answered + 1, self.total)


def study_by_slug(slug: str) -> Study:
    """Return the study of that slug; raise UnknownStudy if there is none."""
    found: list[Study] = _named(slug=slug)
    if not found:
        raise UnknownStudy(f"there is no study '{slug}': check the link or the name")
    return found[0]


def require_open(study: Study) -> None:
    """Raise StudyClosed unless the study takes answers."""
    if study.status == Study.Status.DRAFT:
        raise StudyClosed(f"study '{study.slug}' is not open yet: come back when you are told that it is")
    if not study.is_open:
        raise StudyClosed(f"study '{study.slug}' is closed: it takes no more answers")


def require_joinable(study: Study) -> None:
    """Raise StudyClosed or StudyFull unless a new rater would be given trials."""
    require_open(study)
    if not Balance.objects.filter(study=study, simulated=False).exists():
        return
    if not wants_answers(study, simulated=False).exists():
        raise StudyFull(f"study '{study.slug}' has all the raters it needs: there is nothing left to answer")


def counters_to_use(study: Study | Parameter, *, simulated: bool | Parameter) -> QuerySet[Balance]:
    """Return the counters of the pairs that can be shown, to be read in the order of (served, lot).

    `IN (false)` where `NOT simulated` would say the same: SQLite finds no index for the latter, and would sort all
    pairs for each answer.
    """
    return Balance.objects.filter(study=study, simulated__in=[simulated], set_aside__in=[False])


def wants_answers(study: Study, *, simulated: bool) -> QuerySet[Balance]:
    """Return the counters of the pairs that want another answer."""
    rows = counters_to_use(study, simulated=simulated)
    return rows if study.raters_per_pair is None else rows.filter(served__lt=study.raters_per_pair)


def first_lease_end(study: Study, *, simulated: bool) -> datetime | None:
    """Return when the first place that is held comes free, if its rater is not heard of; None if none is held."""
    held = Trial.objects.filter(rater__study=study, rater__simulated=simulated, state=Trial.State.HELD)
    return held.exclude(lease_until=None).order_by("lease_until").values_list("lease_until", flat=True).first()


def trials_for_a_rater(study: Study) -> int:
    """Return how many trials a new rater is given at most, practice aside."""
    pairs = study.pairs_per_rater or study.pairs.count()
    return pairs + study.same_catches + study.noise_catches + min(study.repeats, pairs)


def rater_by_token(*, study: Study, token: str | None) -> Rater | None:
    """Return the study's rater who holds this token, if any."""
    if not token:
        return None
    return Rater.objects.select_related("study").filter(study=study, token=token).first()


def rater_by_link(*, study: Study, link_token: str) -> Rater | None:
    """Return the study's rater whose personal link this is, if any."""
    return Rater.objects.select_related("study").filter(study=study, link_token=link_token).first()


def rater_by_participant(*, study: Study, participant: str) -> Rater | None:
    """Return the rater whom the panel has sent before, if any."""
    return Rater.objects.select_related("study").filter(study=study, participant=participant).first()


def rater_by_invite(*, study: Study, token: str) -> Rater | None:
    """Return the rater who has used this invitation, if any."""
    return Rater.objects.select_related("study").filter(study=study, invite__token=token).first()


def progress_of(rater: Rater) -> Progress:
    """Return how many trials of the rater's plan are answered, and how many it has, as they are now."""
    rater.refresh_from_db(fields=["done", "planned"])
    return progress_in(rater)


def progress_in(rater: Rater) -> Progress:
    """Return the progress that the rater was read with."""
    return Progress(answered=rater.done, total=rater.planned)


def is_complete(rater: Rater) -> bool:
    """Tell whether the server holds every answer of the rater's plan, counted answer by answer."""
    settled = Q(response__isnull=False) | Q(state=Trial.State.SKIPPED, skip_reason="timeout")
    count = rater.trials.exclude(kind=Trial.Kind.PRACTICE).filter(settled).count()
    waiting = rater.trials.filter(state__in=Trial.WAITING).exists()
    return not waiting and count >= progress_of(rater).total


def waiting_trials(rater: Rater, *, limit: int) -> list[Trial]:
    """Return the rater's next trials in their order, at most `limit`."""
    waiting = rater.trials.filter(state__in=Trial.WAITING).select_related("pair").order_by("position")
    return list(waiting[:limit])


def trials_to_show(rater: Rater, *, limit: int) -> list[Trial]:
    """Return the rater's next trials as `waiting_trials` does, with no more of them and their pairs than is shown."""
    trials: list[Trial] = _to_show(rater=rater.pk)[:limit]
    return trials


def last_answered(rater: Rater) -> Trial | None:
    """Return the trial that the rater answered last; a practice trial is not to be gone back to."""
    answered = rater.trials.filter(response__isnull=False).select_related("pair", "response")
    last = answered.order_by("-response__answered_at", "-response__pk").first()
    return None if last is None or last.kind == Trial.Kind.PRACTICE else last


def trial_of(rater: Rater | None, *, token: str) -> Trial:
    """Return the rater's own trial of that token; raise UnknownTrial for any other."""
    trial = None if rater is None else trial_by_token(token)
    if trial is None or trial.rater != rater:
        raise UnknownTrial("this page is not part of your survey, or no longer is: open your link again")
    return trial


def asked_trial(token: str) -> Trial | None:
    """Return the trial of that token, whoever's it is, with who may answer it: its rater's token, its study's slug."""
    return next(iter(_asked(token=token)), None)


def trial_by_token(token: str) -> Trial | None:
    """Return the trial of that token, whoever's it is, with its rater, study and pair."""
    return Trial.objects.filter(token=token).order_by().select_related("rater__study", "pair").first()


def deadline_of(rater: Rater) -> datetime | None:
    """Return when the rater's time for the whole survey is over; None if there is no limit."""
    limit = rater.study.session_limit_s
    return None if limit is None else rater.consented_at + timedelta(seconds=limit)


def ended(rater: Rater, *, now: datetime) -> str | None:
    """Return the error code of what has ended a rater's part before its end; None if nothing has."""
    if rater.screened_out_at is not None:
        return ScreenedOut.code
    deadline = deadline_of(rater)
    return TimeOver.code if deadline is not None and now > deadline else None


def pair_loads(study: Study, *, simulated: bool = False) -> list[PairLoad]:
    """Return how often each pair is served, for real raters or for simulated ones, by the pairs' ids."""
    rows = Balance.objects.filter(study=study, simulated=simulated).order_by("pair_id")
    return [PairLoad(row.pair_id, row.served, row.left_surplus) for row in rows]


def answers_total(study: Study) -> int:
    """Return the number of answers that real raters have given to ordinary trials."""
    ordinary = Response.objects.filter(trial__rater__study=study, trial__kind=Trial.Kind.ORDINARY)
    return ordinary.filter(trial__rater__simulated=False).count()


def told_arms(study: Study) -> list[tuple[str, str]]:
    """Return each arm's name that raters could read, and where: in an address or a text of the study's own."""
    places = ("slug", "title", "question", "instructions", "consent_text", "completion_url", "screen_out_url")
    texts = {place.replace("_", " "): str(getattr(study, place)) for place in places}
    return [
        (arm, place)
        for arm in study.arms.values_list("name", flat=True)
        for place, text in texts.items()
        if re.search(rf"(?<![^\W_]){re.escape(arm)}(?![^\W_])", text, re.IGNORECASE)
    ]


def plan_of(study: Study) -> Plan | None:
    """Return what the study froze when it opened first, if it has."""
    return Plan.objects.filter(study=study).first()


_named = Select(lambda: Study.objects.filter(slug=Parameter("slug", Study)))
_asked = Select(
    lambda: (
        Trial.objects.filter(token=Parameter("token", Trial))
        .order_by()
        .select_related("rater__study")
        .only("pair", "kind", "first_is_left", "rater__token", "rater__simulated", "rater__study__slug")
    )
)
_to_show = Select(
    lambda: (
        Trial.objects.filter(rater=Parameter("rater", Rater, "id"), state__in=Trial.WAITING)
        .order_by("position")
        .select_related("pair")
        .only("token", "kind", "pair__class_name", "pair__width")
    )
)
