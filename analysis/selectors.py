"""What the report's shell reads from the database."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from django.db.models import Count, Q, QuerySet

from analysis.answers import AnswersError
from analysis.frames import responses
from analysis.preference import THRESHOLDS
from analysis.report import Report, build_report
from survey.models import Response, Study, Trial
from survey.monitoring import excluded_raters
from survey.selectors import plan_of


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


def study_report(
    study: Study,
    *,
    thresholds: Iterable[Fraction] = THRESHOLDS,
    confidence: float = 0.95,
    simulated: bool = False,
) -> Report:
    """Return the report of a study's answers; simulated raters' only if asked for, and then alone.

    Raises:
        AnswersError: If an arm's name cannot be reported, or the study's plan withholds results until it closes.
    """
    if study.is_open and not study.interim_results and not simulated:
        message = (
            f"study {study.slug} is open, and its plan lets nobody see preferences before it closes; close it first"
        )
        raise AnswersError(message)
    frame = responses(study, simulated=simulated)
    return build_report(
        frame,
        thresholds=thresholds,
        confidence=confidence,
        title=study.title or study.slug,
        arms=tuple(study.arms.values_list("name", flat=True)),
        notes=_notes(study, answered=frame["pair"].nunique(), simulated=simulated),
    )


def _notes(study: Study, *, answered: int, simulated: bool) -> Sequence[str]:
    notes = []
    others = Response.objects.filter(
        trial__rater__study=study, trial__rater__simulated=not simulated, trial__kind=Trial.Kind.ORDINARY
    ).count()
    if simulated:
        notes.append("A dry run: these answers come from simulated raters only, and say nothing of people.")
    elif others:
        notes.append(f"Simulated raters are left out: {others:,} of their answers are on file.")
    if left_out := len(excluded_raters(study, simulated=simulated)):
        notes.append(f"{left_out:,} raters are left out by the exclusion rules of the study's plan.")
    if plan := plan_of(study):
        notes.append(f"The study's plan was frozen on {plan.frozen_at:%Y-%m-%d} under sha256 {plan.sha256}.")
    unanswered = study.pairs.count() - answered
    if unanswered:
        notes.append(
            f"{unanswered:,} of the study's {unanswered + answered:,} pairs have no answer and are not counted."
        )
    if study.status == Study.Status.OPEN:
        notes.append("The study is still open: these results are interim and will change.")
    return notes
