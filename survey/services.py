"""Everything that writes to a survey. Each function is one transaction: it happens whole or not at all."""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

from django.core.exceptions import ValidationError
from django.db import transaction

from generation.models import GeneratedImage, GenerationRun
from generation.selectors import images_of, run_names, runs_named

from .assignment import plan_trials
from .errors import ConflictingResponse, InvalidResponse, InvalidStudy, StudyFull, UnreadableImage
from .images import measure
from .models import QUESTION, Arm, Pair, Rater, Response, Study, Trial, make_token
from .selectors import pair_loads, require_open, study_by_slug

MAX_RESPONSE_MS = 86_400_000
"""A day; a longer time says nothing about the answer."""

BATCH = 1000
"""Rows per INSERT."""


@transaction.atomic
def create_study(
    *,
    slug: str,
    pairs_name: str,
    question: str = QUESTION,
    title: str = "",
    pairs_per_rater: int | None = None,
    raters_per_pair: int | None = None,
) -> Study:
    """Make an open study of the pairs of that name: one arm per complete run, every unordered pair of arms.

    Args:
        slug: The study's name in its address.
        pairs_name: The name that `generate_pairs` or `import_pairs` gave the pairs.
        question: What each trial asks.
        title: What raters see as the study's name; may be empty.
        pairs_per_rater: How many pairs each rater gets; None: all.
        raters_per_pair: For how many raters a pair is planned; None: no limit.

    Raises:
        InvalidStudy: The slug is taken or malformed, a number or text is out of range, or the runs do not pair up: two
            complete arms at least, each with the same indices, classes and seeds, and readable images of one size.
    """
    study = Study(
        slug=slug,
        title=title,
        question=question,
        pairs_per_rater=pairs_per_rater,
        raters_per_pair=raters_per_pair,
    )
    _check_fields(study)
    runs = _complete_runs(pairs_name)
    images = [list(images_of(run)) for run in runs]
    _check_pairing(runs, images)
    available = len(images[0]) * comb(len(runs), 2)
    if pairs_per_rater is not None and pairs_per_rater > available:
        raise InvalidStudy(
            f"study '{slug}' wants {pairs_per_rater} pairs per rater but '{pairs_name}' has {available}: "
            "ask for fewer, or leave the number out for all of them"
        )
    study.save()
    arms = [Arm.objects.create(study=study, name=run.arm, run=run) for run in runs]
    Pair.objects.bulk_create(_pairs(study, arms, images), batch_size=BATCH)
    return study


def _check_fields(study: Study) -> None:
    """Raise InvalidStudy with every field that the model refuses."""
    if Study.objects.filter(slug=study.slug).exists():
        raise InvalidStudy(f"a study '{study.slug}' exists already: choose another slug")
    try:
        study.full_clean()
    except ValidationError as error:
        faults = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items())
        raise InvalidStudy(f"study '{study.slug}' cannot be made: {faults}") from error


def _complete_runs(pairs_name: str) -> list[GenerationRun]:
    """Return the complete runs of that name; raise InvalidStudy unless there are two."""
    runs = list(runs_named(pairs_name))
    if not runs:
        known = ", ".join(run_names()) or "none yet"
        raise InvalidStudy(f"there are no pairs named '{pairs_name}' (known: {known}): make them with generate_pairs")
    complete = [run for run in runs if run.completed_at is not None]
    if len(complete) < 2:
        states = ", ".join(f"{run.arm} {'complete' if run.completed_at else 'unfinished'}" for run in runs)
        raise InvalidStudy(
            f"pairs '{pairs_name}' need two complete arms ({states}): run generate_pairs again to finish them"
        )
    return complete


def _check_pairing(runs: Sequence[GenerationRun], images: Sequence[Sequence[GeneratedImage]]) -> None:
    """Raise InvalidStudy unless all runs hold the same (index, class, seed)s."""
    first = {image.pair_index: (image.class_index, image.seed) for image in images[0]}
    if not first:
        raise InvalidStudy(f"arm '{runs[0].arm}' of '{runs[0].name}' has no images: make the pairs again")
    for run, others in zip(runs[1:], images[1:], strict=True):
        other = {image.pair_index: (image.class_index, image.seed) for image in others}
        for index in sorted(first.keys() | other.keys()):
            if first.get(index) != other.get(index):
                raise InvalidStudy(
                    f"pair {index} of '{run.name}' does not match: {runs[0].arm} has {_describe(first.get(index))}, "
                    f"{run.arm} has {_describe(other.get(index))}; make both arms with the same seed and classes"
                )


def _describe(image: tuple[int, int] | None) -> str:
    return "no image" if image is None else f"class {image[0]}, seed {image[1]}"


def _pairs(study: Study, arms: Sequence[Arm], images: Sequence[Sequence[GeneratedImage]]) -> Iterator[Pair]:
    """Yield a row for each index and each unordered pair of arms."""
    for same_index in zip(*images, strict=True):
        sizes = [_measure(image, arm) for image, arm in zip(same_index, arms, strict=True)]
        if len(set(sizes)) > 1:
            told = ", ".join(f"{arm.name} {width}x{height}" for arm, (width, height) in zip(arms, sizes, strict=True))
            raise InvalidStudy(
                f"the images of pair {same_index[0].pair_index} differ in size ({told}): "
                "make them one size, or raters could tell the arms apart"
            )
        width, height = sizes[0]
        for first, second in combinations(range(len(arms)), 2):
            yield Pair(
                study=study,
                index=same_index[first].pair_index,
                class_name=same_index[first].class_name,
                first_arm=arms[first],
                second_arm=arms[second],
                first_image=same_index[first],
                second_image=same_index[second],
                width=width,
                height=height,
            )


def _measure(image: GeneratedImage, arm: Arm) -> tuple[int, int]:
    try:
        return measure(image.path, sha256=image.sha256)
    except UnreadableImage as error:
        raise InvalidStudy(f"pair {image.pair_index}, arm '{arm.name}': {error}") from error


def open_study(*, study: Study) -> Study:
    """Let the study take answers (again)."""
    return _set_status(study, Study.Status.OPEN)


def close_study(*, study: Study) -> Study:
    """Let the study take no more raters and no more answers; what it has stays."""
    return _set_status(study, Study.Status.CLOSED)


def _set_status(study: Study, status: Study.Status) -> Study:
    study.status = status
    study.save(update_fields=["status"])
    return study


@transaction.atomic
def enrol_rater(*, study: Study, rng: random.Random, simulated: bool = False) -> Rater:
    """Make a rater and all their trials; the row of the study is locked, so that plans are made one after another.

    Args:
        study: The open study to join.
        rng: Decides tokens, pairs, sides and order; `random.SystemRandom()` for real raters, so that no token can be
            guessed. The same state gives the same rater again.
        simulated: Marks the rater for good. Real and simulated raters' plans are balanced apart.

    Raises:
        StudyClosed: The study takes no raters.
        StudyFull: No pair is left to plan.
    """
    study = Study.objects.select_for_update().get(pk=study.pk)
    require_open(study)
    plan = plan_trials(
        pair_loads(study, simulated=simulated),
        pairs_per_rater=study.pairs_per_rater,
        raters_per_pair=study.raters_per_pair,
        rng=rng,
    )
    if not plan:
        raise StudyFull(f"study '{study.slug}' has all the raters it needs: there is nothing left to answer")
    rater = Rater.objects.create(study=study, token=make_token(rng), simulated=simulated)
    Trial.objects.bulk_create(
        (
            Trial(
                rater=rater,
                pair_id=planned.pair,
                token=make_token(rng),
                position=position,
                first_is_left=planned.first_is_left,
            )
            for position, planned in enumerate(plan, start=1)
        ),
        batch_size=BATCH,
    )
    return rater


@transaction.atomic
def record_response(*, trial: Trial, choice: str, response_ms: int | None = None) -> tuple[Response, bool]:
    """Store the answer to a trial, once.

    The same answer again returns the stored one, also when two processes bring it at the same moment or the study has
    been closed since: what has been acknowledged stays acknowledged.

    Args:
        trial: The trial that is answered.
        choice: `left`, `same` or `right`.
        response_ms: Milliseconds from both images painted to the answer, 0 to a day; None if unknown.

    Returns:
        The stored response, and whether this call stored it.

    Raises:
        InvalidResponse: The choice is unknown or the time out of range.
        ConflictingResponse: The trial has another answer, which stays.
        StudyClosed: The trial has no answer and can get none now.
    """
    _check_response(choice, response_ms)
    response = Response.objects.filter(trial=trial).first()
    created = False
    if response is None:
        require_open(study_by_slug(trial.rater.study.slug))
        response, created = Response.objects.get_or_create(
            trial=trial, defaults={"choice": choice, "response_ms": response_ms}
        )
    if response.choice != choice:
        raise ConflictingResponse("this pair has been answered already, otherwise: the first answer stays")
    return response, created


def _check_response(choice: str, response_ms: int | None) -> None:
    if choice not in Response.Choice.values:
        raise InvalidResponse(f"unknown choice '{choice[:20]}': send one of {', '.join(Response.Choice.values)}")
    if response_ms is not None and not 0 <= response_ms <= MAX_RESPONSE_MS:
        raise InvalidResponse(f"response_ms must be from 0 to {MAX_RESPONSE_MS}: leave it out if it is not known")
