"""Reports of studies: what the commands compute from the database. Loads pandas, which web workers do without."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from django.urls import reverse

from analysis.absent import Absent
from analysis.answers import AnswersError, ordinary
from analysis.frames import pair_names, responses
from analysis.preference import THRESHOLDS
from analysis.report import Progress, Report, build_report
from analysis.sections import FOREST_PAIRS, Thumbnails, ends
from analysis.selectors import results_withheld, stored_metrics
from survey.errors import UnreadableImage
from survey.images import plain_png
from survey.models import Pair, Response, Study, Trial
from survey.monitoring import excluded_raters
from survey.selectors import plan_of


def study_report(
    study: Study,
    *,
    thresholds: Iterable[Fraction] = THRESHOLDS,
    confidence: float = 0.95,
    simulated: bool = False,
    progress: Progress = lambda _share, _what: None,
) -> Report:
    """Return the report of a study's answers; simulated raters' only if asked for, and then alone.

    Raises:
        AnswersError: If an arm's name cannot be reported, or the study's plan withholds results until it closes.
    """
    if not simulated and (reason := results_withheld(study)):
        raise AnswersError(reason)
    frame = responses(study, simulated=simulated, every_kind=True)
    report = build_report(
        frame,
        thresholds=thresholds,
        confidence=confidence,
        title=study.title or study.slug,
        arms=tuple(study.arms.values_list("name", flat=True)),
        notes=_notes(study, answered=ordinary(frame)["pair"].nunique(), simulated=simulated),
        progress=progress,
    )
    return replace(report, image_metrics=stored_metrics(study))


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
    if unanswered > 0:
        notes.append(
            f"{unanswered:,} of the study's {unanswered + answered:,} pairs have no answer and are not counted."
        )
    if study.status == Study.Status.OPEN:
        notes.append("The study is still open: these results are interim and will change.")
    return notes


def plan_sha256(study: Study) -> str | None:
    """Return the digest under which the study's plan was frozen, if it was."""
    plan = plan_of(study)
    return plan.sha256 if plan else None


def image_seeds(study: Study) -> dict[str, str]:
    """Return per arm what its images were made from, as far as it is known."""
    found = {}
    for arm in study.arms.select_related("run"):
        seeds = arm.run.images.order_by("seed").values_list("seed", flat=True).distinct()[:2]
        found[arm.name] = f"{arm.run.preset}, seed {', '.join(map(str, seeds))}"
    return found


def shown_pairs(report: Report) -> set[str]:
    """Return the names of the pairs whose images the report shows."""
    names: set[str] = set()
    for comparison in report.comparisons:
        differences = comparison.differences
        names.update(differences.for_first, differences.for_second, differences.disputed)
        if not isinstance(differences.pairs, Absent):
            names.update(row.name for row in ends(differences.pairs, FOREST_PAIRS))
    return names


def page_thumbnails(study: Study, report: Report) -> Thumbnails:
    """Return the addresses, on the site, of the images that the report shows."""

    def address(pair: Pair, side: str) -> str:
        return reverse("analysis:image", args=[study.slug, pair.pk, side])

    return _thumbnails(study, report, address)


def file_thumbnails(study: Study, report: Report) -> Thumbnails:
    """Return the images that the report shows as data addresses; images that cannot be read are left out."""

    def data(pair: Pair, side: str) -> str:
        image = pair.first_image if side == "first" else pair.second_image
        return "data:image/png;base64," + base64.b64encode(plain_png(image)).decode()

    return _thumbnails(study, report, data)


def _thumbnails(study: Study, report: Report, source: Callable[[Pair, str], str]) -> Thumbnails:
    names = pair_names(study)
    wanted = shown_pairs(report)
    keys = [key for key, name in names.items() if name in wanted]
    found: dict[str, tuple[str, str]] = {}
    for pair in Pair.objects.filter(pk__in=keys).select_related("first_image__run", "second_image__run"):
        try:
            found[names[pair.pk]] = source(pair, "first"), source(pair, "second")
        except UnreadableImage:
            continue
    return found
