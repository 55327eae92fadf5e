"""What the report's pages read from the database. No pandas here: web workers stay small."""

from typing import Any

from django.db.models import Count, Max, Q, QuerySet

from analysis.models import Computation, StudyMetrics
from survey.models import Pair, Response, Revision, Study, Trial

FORMAT = 2
"""Of stored results; those of another are computed anew."""


def studies_with_counts() -> QuerySet[Study]:
    """Return all studies with `answers` and `raters` (those who answered), simulated raters left out."""
    real = Q(
        raters__simulated=False,
        raters__trials__response__isnull=False,
        raters__trials__kind=Trial.Kind.ORDINARY,
    )
    return Study.objects.annotate(
        answers=Count("raters__trials__response", filter=real),
        answering=Count("raters", filter=real, distinct=True),
    )


def report_key(study: Study, *, simulated: bool) -> str:
    """Return the key under which a study's report is computed."""
    return f"report:{study.slug}:{'simulated' if simulated else 'real'}"


def report_source(study: Study) -> str:
    """Return what a study's report is computed from, in short: it changes when a new report would be another."""
    answers = Response.objects.filter(trial__rater__study=study).aggregate(count=Count("pk"), last=Max("answered_at"))
    last = answers["last"].isoformat() if answers["last"] else "never"
    revised = Revision.objects.filter(response__trial__rater__study=study).count()
    measured = StudyMetrics.objects.filter(study=study).values_list("computed_at", flat=True).first()
    last += f" {measured.isoformat()}" if measured else ""
    counts = f"{study.pairs.count()} {answers['count']} {revised}"
    return f"{FORMAT} {study.pk} {study.status} {counts} {last} {study.title}"[:200]


def stored_metrics(study: Study) -> dict[str, Any] | None:
    """Return what compute_metrics stored of the study's arms, if anything."""
    found = StudyMetrics.objects.filter(study=study).first()
    return found.result if found else None


def results_withheld(study: Study) -> str:
    """Return why the study's plan lets nobody see preferences now, or nothing."""
    if study.is_open and not study.interim_results:
        return f"study {study.slug} is open, and its plan lets nobody see preferences before it closes; close it first"
    return ""


def computation_of(key: str) -> Computation | None:
    """Return the computation of that key, if there ever was one."""
    return Computation.objects.filter(key=key).first()


def pair_of(study: Study, pk: int) -> Pair | None:
    """Return the study's pair with its images, if it is one of the study's."""
    return study.pairs.filter(pk=pk).select_related("first_image__run", "second_image__run").first()
