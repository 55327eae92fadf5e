"""What runs in the database at each answer and when raters come, written as SQL once; `survey.prepared` says how."""

from functools import cache
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from survey.models import Balance, Exposure, Pair, Rater, Response, Study, Trial
from survey.prepared import Insert, Parameter, Select, Update
from survey.selectors import counters_to_use

PLAN_FIELDS = (
    "wanted",
    "issued",
    "issued_ordinary",
    "planned",
    "done",
    "left_surplus",
    "specials",
    "failed_catches",
    "screened_out_at",
)
"""The columns of a rater that change with their trials."""

WHO = ("study", "token", "link_token", "consented_at", "simulated")

RULES = ("slug", "status", "raters_per_pair", "trial_limit_s", "session_limit_s", "lease_s", "screen_out_after")
"""The columns of a study that decide about its raters' trials; its texts are long, and come when they are asked for."""

RELEASED_AT_ONCE = 100

CANDIDATES = 16
"""Least served pairs to choose among."""


def _raters() -> QuerySet[Rater]:
    return Rater.objects.filter(pk=Parameter("pk", Rater, "id"))


def _trials() -> QuerySet[Trial]:
    return Trial.objects.filter(pk=Parameter("pk", Trial, "id"))


def _held() -> QuerySet[Trial]:
    return Trial.objects.filter(rater=Parameter("rater", Rater, "id"), state=Trial.State.HELD).order_by()


locked_rater = Select(
    lambda: (
        _raters()
        .select_for_update(of=("self",))
        .select_related("study")
        .only(*WHO, *PLAN_FIELDS, *(f"study__{name}" for name in RULES))
    )
)
save_plan = Update(_raters, **{name: Parameter(name, Rater) for name in PLAN_FIELDS})

known_responses = Select(
    # An answer without a key has NULL there, which equals no other's.
    lambda: Response.objects.filter(Q(trial=Parameter("trial", Trial, "id")) | Q(key=Parameter("key", Response)))
)
add_response = Insert(Response)
keep_exposure = Insert(Exposure, unique=["trial", "key"])

leases = Select(lambda: _held().values_list("lease_until"))
renew_leases = Update(
    lambda: _held().filter(kind=Trial.Kind.ORDINARY),
    lease_until=Parameter("lease_until", Trial),
)
change_state = Update(
    lambda: _trials().filter(state=Parameter("before", Trial, "state")),
    state=Parameter("state", Trial),
    skip_reason=Parameter("skip_reason", Trial),
)
add_trial = Insert(Trial)

COUNTERS = {name: Parameter(name, Balance) for name in ("served", "left_surplus", "lot")}


def _as_read() -> QuerySet[Balance]:
    return Balance.objects.filter(
        pair=Parameter("pair", Balance),
        simulated=Parameter("simulated", Balance),
        served=Parameter("was_served", Balance, "served"),
        left_surplus=Parameter("was_surplus", Balance, "left_surplus"),
    )


count_in = Update(_as_read, **COUNTERS)
count_in_at_once = Update(
    # Who holds the row is passed over, and not waited for.
    lambda: Balance.objects.filter(pk__in=_as_read().select_for_update(skip_locked=True).values("pk")),
    **COUNTERS,
)
overdue = Select(
    lambda: (
        Trial.objects.filter(state=Trial.State.HELD, lease_until__lt=Parameter("now", Trial, "lease_until"))
        .order_by("lease_until")
        .values_list("pk")[:RELEASED_AT_ONCE]
    )
)

study_to_join = Select(lambda: Study.objects.filter(pk=Parameter("pk", Study, "id")))
number_of_pairs = Select(
    lambda: Pair.objects.filter(study=Parameter("study", Pair)).order_by().values_list("study").annotate(Count("pk"))
)
counters_there = Select(
    lambda: Balance.objects.filter(
        study=Parameter("study", Balance), simulated__in=[Parameter("simulated", Balance)]
    ).values_list("pk")[:1]
)
add_rater = Insert(Rater)


@cache
def candidates(*, limited: bool, lowest: int | None, highest: int | None) -> Select:
    """Return what reads the least served pairs that a rater has not seen, that want answers and whose sides suit.

    Args:
        limited: Whether the study wants a number of answers for each pair.
        lowest: The smallest `left_surplus` that suits, as `survey.assignment.suiting` gives it; None is no bound.
        highest: The largest.
    """
    return Select(lambda: _candidates(limited=limited, lowest=lowest, highest=highest))


def _candidates(*, limited: bool, lowest: int | None, highest: int | None) -> QuerySet[Balance, Any]:
    seen = Trial.objects.filter(rater=Parameter("rater", Rater, "id"), pair=OuterRef("pair"), kind=Trial.Kind.ORDINARY)
    rows = counters_to_use(Parameter("study", Balance), simulated=Parameter("simulated", Balance))
    rows = rows.filter(~Exists(seen)).order_by("served", "lot")
    if limited:
        rows = rows.filter(served__lt=Parameter("raters_per_pair", Balance, "served"))
    if lowest is not None:
        rows = rows.filter(left_surplus__gte=lowest)
    if highest is not None:
        rows = rows.filter(left_surplus__lte=highest)
    return rows.values_list("pair_id", "served", "left_surplus")[:CANDIDATES]
