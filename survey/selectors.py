"""Everything that reads a survey for its pages, its API and its commands."""

from dataclasses import dataclass

from django.db.models import Count, Q

from .assignment import PairLoad
from .errors import StudyClosed, StudyFull, UnknownStudy, UnknownTrial
from .models import Pair, Rater, Response, Study, Trial


@dataclass(frozen=True)
class Progress:
    """How far a rater is through their own plan."""

    answered: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether every planned trial is answered."""
        return self.answered == self.total

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
    if study.status != Study.Status.OPEN:
        raise StudyClosed(f"study '{study.slug}' is closed: it takes no more answers")


def require_joinable(study: Study) -> None:
    """Raise StudyClosed or StudyFull unless a new rater would be given trials."""
    require_open(study)
    limit = study.raters_per_pair
    if limit is not None and all(load.planned >= limit for load in pair_loads(study)):
        raise StudyFull(f"study '{study.slug}' has all the raters it needs: there is nothing left to answer")


def pairs_for_a_rater(study: Study) -> int:
    """Return how many pairs a new rater is asked about, at most."""
    return study.pairs_per_rater or study.pairs.count()


def rater_by_token(*, study: Study, token: str | None) -> Rater | None:
    """Return the study's rater who holds this token, if any."""
    if not token:
        return None
    return Rater.objects.select_related("study").filter(study=study, token=token).first()


def progress_of(rater: Rater) -> Progress:
    """Return how many of the rater's trials are answered, and how many there are."""
    counts = rater.trials.aggregate(total=Count("pk"), answered=Count("response"))
    return Progress(answered=counts["answered"], total=counts["total"])


def unanswered_trials(rater: Rater, *, limit: int) -> list[Trial]:
    """Return the rater's next trials in their order, at most `limit`."""
    waiting = rater.trials.filter(response__isnull=True).select_related("pair").order_by("position")
    return list(waiting[:limit])


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


def pair_loads(study: Study, *, simulated: bool = False) -> list[PairLoad]:
    """Return how often each pair is planned, for real raters or for simulated ones, by the pairs' ids."""
    counted = Q(trials__rater__simulated=simulated)
    rows = (
        Pair.objects.filter(study=study)
        .order_by("pk")
        .values_list("pk")
        .annotate(
            planned=Count("trials", filter=counted),
            first_on_left=Count("trials", filter=counted & Q(trials__first_is_left=True)),
        )
    )
    return [PairLoad(pair=pk, planned=planned, first_on_left=left) for pk, planned, left in rows]


def answers_total(study: Study) -> int:
    """Return the number of answers that real raters have given."""
    return Response.objects.filter(trial__rater__study=study, trial__rater__simulated=False).count()
