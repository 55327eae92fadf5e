"""What the rater's pages, the API and the services read of a survey. `survey.monitoring` reads it for researchers."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from .assignment import PairLoad
from .errors import ScreenedOut, StudyClosed, StudyFull, TimeOver, UnknownStudy, UnknownTrial
from .models import Balance, Plan, Rater, Response, Study, Trial


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
    study = Study.objects.filter(slug=slug).first()
    if study is None:
        raise UnknownStudy(f"there is no study '{slug}': check the link or the name")
    return study


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


def wants_answers(study: Study, *, simulated: bool) -> QuerySet[Balance]:
    """Return the counters of the pairs that want another answer."""
    rows = Balance.objects.filter(study=study, simulated=simulated, set_aside=False)
    return rows if study.raters_per_pair is None else rows.filter(served__lt=study.raters_per_pair)


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
    done, planned = Rater.objects.values_list("done", "planned").get(pk=rater.pk)
    return Progress(answered=done, total=planned)


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


def last_answered(rater: Rater) -> Trial | None:
    """Return the trial that the rater answered last; a practice trial is not to be gone back to."""
    answered = rater.trials.filter(response__isnull=False).select_related("pair", "response")
    last = answered.order_by("-response__answered_at", "-response__pk").first()
    return None if last is None or last.kind == Trial.Kind.PRACTICE else last


def trial_of(rater: Rater | None, *, token: str) -> Trial:
    """Return the rater's own trial of that token; raise UnknownTrial for any other."""
    trial = None
    if rater is not None:
        trial = (
            rater.trials.filter(token=token)
            .select_related("rater__study", "pair__first_image__run", "pair__second_image__run")
            .first()
        )
    if trial is None:
        raise UnknownTrial("this page is not part of your survey, or no longer is: open your link again")
    return trial


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


def plan_of(study: Study) -> Plan | None:
    """Return what the study froze when it opened first, if it has."""
    return Plan.objects.filter(study=study).first()
