"""What researchers read while a study runs: progress, dropout, flags, faults. Nothing here tells which arm is liked."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from .models import Balance, ImageFault, Peek, Rater, Response, ServerError, Study, Trial, Withdrawal
from .quality import FLAGS, Answer, flags_of, parse_rules

HOURLY_UP_TO_DAYS = 2
"""A study that runs longer is drawn by days."""

NEWEST = 20
"""Server errors that the dashboard lists: rows, each an hour's of one kind."""

MEDIAN_OF_LAST = 10_000
"""The newest answers decide the median time; more would not change it."""


def flags_by_rater(study: Study, *, simulated: bool = False) -> dict[int, tuple[str, ...]]:
    """Return the flags of each rater who has answered, by their row's number, after the study's rules."""
    rules = parse_rules(study.rules)
    return {rater: flags_of(answers, rules) for rater, answers in _answers_by_rater(study, simulated=simulated).items()}


def excluded_raters(study: Study, *, simulated: bool = False) -> set[int]:
    """Return the raters whom the study's own rules leave out of the analysis."""
    exclude = set(parse_rules(study.rules).exclude)
    if not exclude:
        return set()
    return {rater for rater, flags in flags_by_rater(study, simulated=simulated).items() if exclude & set(flags)}


def _answers_by_rater(study: Study, *, simulated: bool) -> dict[int, list[Answer]]:
    """Return each rater's answers, practice aside, in the order shown."""
    names = ("rater_id", "pair_id", "kind", "first_is_left", "response__choice", "response__response_ms")
    rows = (
        Trial.objects.filter(rater__study=study, rater__simulated=simulated, response__isnull=False)
        .exclude(kind=Trial.Kind.PRACTICE)
        .order_by("rater_id", "position")
        .values(*names)
    )
    answers: dict[int, list[Answer]] = defaultdict(list)
    chosen: dict[tuple[int, int], bool | None] = {}
    for row in rows.iterator(chunk_size=10_000):
        trial = Trial(kind=row["kind"], first_is_left=row["first_is_left"])
        choice = row["response__choice"]
        first = None if choice == "same" else (choice == "left") == row["first_is_left"]
        key = (row["rater_id"], row["pair_id"])
        contradicts = None
        if trial.ordinary:
            chosen[key] = first
        elif trial.kind == Trial.Kind.REPEAT:
            before = chosen.get(key)
            contradicts = None not in (first, before) and first != before
        answers[row["rater_id"]].append(
            Answer(choice, row["response__response_ms"], right=trial.right_answer, contradicts=contradicts)
        )
    return answers


@dataclass(frozen=True)
class Dashboard:
    """A running study at a glance; real raters only.

    Attributes:
        over_time: Per hour or day (`step`): its start, answers given and raters come.
        answers_per_pair: Number of answers to number of pairs that have it, ascending.
        dropout: Position in the order to how many raters stopped there: they answered nothing from it on, were not
            done, and have not been heard of for the study's `lease_s`.
        server_errors: The newest, those at addresses that name no study included.
        left_share: Of the answers that chose a side, the share that chose the left one; None without any.
    """

    step: str
    raters: int
    finished: int
    screened_out: int
    withdrawn: int
    answers: int
    wanted: int | None
    over_time: Sequence[tuple[datetime, int, int]]
    answers_per_pair: Sequence[tuple[int, int]]
    dropout: Sequence[tuple[int, int]]
    median_ms: float | None
    left_share: float | None
    same_share: float | None
    flags: Sequence[tuple[str, int]]
    faults: int
    confirmed_faults: int
    set_aside: int
    server_errors: Sequence[ServerError]
    simulated: int
    peeks: Sequence[Peek]


def dashboard(study: Study, *, now: datetime | None = None) -> Dashboard:
    """Read a study's dashboard."""
    now = now or timezone.now()
    raters = Rater.objects.filter(study=study, simulated=False)
    responses = Response.objects.filter(
        trial__rater__study=study, trial__rater__simulated=False, trial__kind=Trial.Kind.ORDINARY
    )
    choices = Counter(dict(responses.values_list("choice").annotate(Count("pk")).order_by()))
    sided, total = choices["left"] + choices["right"], choices.total()
    times = responses.exclude(response_ms=None).order_by("-pk").values_list("response_ms", flat=True)[:MEDIAN_OF_LAST]
    known_times = [time for time in times if time is not None]
    flagged = Counter(flag for flags in flags_by_rater(study).values() for flag in flags)
    faults = ImageFault.objects.filter(study=study, rater__simulated=False)
    step, over_time = _over_time(study, responses, raters, now=now)
    pairs = study.pairs.count()
    return Dashboard(
        step=step,
        raters=raters.count(),
        finished=sum(done >= planned for done, planned in raters.values_list("done", "planned")),
        screened_out=raters.filter(screened_out_at__isnull=False).count(),
        withdrawn=Withdrawal.objects.filter(study=study, simulated=False).count(),
        answers=total,
        wanted=None if study.raters_per_pair is None else study.raters_per_pair * pairs,
        over_time=over_time,
        answers_per_pair=_answers_per_pair(study),
        dropout=_dropout(study, now=now),
        median_ms=median(known_times) if known_times else None,
        left_share=choices["left"] / sided if sided else None,
        same_share=choices["same"] / total if total else None,
        flags=[(flag, flagged[flag]) for flag in FLAGS],
        faults=faults.count(),
        confirmed_faults=faults.filter(confirmed=True).count(),
        set_aside=Balance.objects.filter(study=study, simulated=False, set_aside=True).count(),
        server_errors=list(ServerError.objects.filter(study_slug__in=["", study.slug])[:NEWEST]),
        simulated=Rater.objects.filter(study=study, simulated=True).count(),
        peeks=list(Peek.objects.filter(study=study).select_related("user").order_by("-seen_at")[:50]),
    )


def _over_time(
    study: Study, responses: QuerySet[Response], raters: QuerySet[Rater], *, now: datetime
) -> tuple[str, list[tuple[datetime, int, int]]]:
    hourly = (now - study.created_at).days < HOURLY_UP_TO_DAYS
    truncate = TruncHour if hourly else TruncDay
    answered = _counts(responses.annotate(at=truncate("answered_at")).values_list("at"))
    came = _counts(raters.annotate(at=truncate("consented_at")).values_list("at"))
    return "hour" if hourly else "day", [(at, answered[at], came[at]) for at in sorted(answered.keys() | came.keys())]


def _counts(rows: Any) -> Counter[datetime]:  # noqa: ANN401 (a query set)
    return Counter(dict(rows.annotate(Count("pk")).order_by()))


def _answers_per_pair(study: Study) -> list[tuple[int, int]]:
    real = Q(trials__rater__simulated=False, trials__kind=Trial.Kind.ORDINARY)
    rows: Iterable[int] = study.pairs.annotate(answers=Count("trials__response", filter=real)).values_list(
        "answers", flat=True
    )
    return sorted(Counter(rows).items())


def _dropout(study: Study, *, now: datetime) -> list[tuple[int, int]]:
    """Return after how many answers raters stopped, as the position of the trial that they left, and how many did."""
    waiting = Trial.objects.filter(rater__study=study, rater__simulated=False, rater__screened_out_at=None)
    gone = waiting.filter(Q(state=Trial.State.STALE) | Q(state=Trial.State.HELD, lease_until__lt=now))
    # Of each rater the last one stays: their first unanswered position.
    first = dict(gone.order_by("-position").values_list("rater_id", "position"))
    return sorted(Counter(first.values()).items())
