"""Studies: making, changing, freezing, opening, closing."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, TypedDict, Unpack

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from generation.models import GeneratedImage, GenerationRun
from generation.selectors import images_of, run_names, runs_named
from survey.errors import FrozenStudy, InvalidStudy, UnreadableImage
from survey.images import measure
from survey.models import SYSTEM_RNG, Arm, Balance, Pair, Peek, Plan, Study
from survey.plans import DEFINITION, plan_document
from survey.quality import parse_rules
from survey.selectors import answers_total

from . import statements

BATCH = 1000
"""Rows per INSERT."""

LOT_BITS = 31


class Definition(TypedDict, total=False):
    """What a study may say of itself; `survey.models.Study` tells what each means."""

    title: str
    question: str
    pairs_per_rater: int | None
    raters_per_pair: int | None
    practice_trials: int
    same_catches: int
    noise_catches: int
    repeats: int
    trial_limit_s: int | None
    session_limit_s: int | None
    lease_s: int
    language: str
    consent_text: str
    instructions: str
    thanks_text: str
    access: str
    panel: str
    panel_ids: str
    completion_code: str
    completion_url: str
    screen_out_code: str
    screen_out_url: str
    screen_out_after: int | None
    rules: dict[str, Any]
    analysis_plan: str
    interim_results: bool


@transaction.atomic
def create_study(
    *,
    slug: str,
    pairs_name: str,
    comparisons: Sequence[tuple[str, str]] | None = None,
    opened: bool = True,
    rng: random.Random = SYSTEM_RNG,
    **definition: Unpack[Definition],
) -> Study:
    """Make a study of the pairs of that name: one arm per complete run, every unordered pair of arms.

    Args:
        slug: The study's name in its address.
        pairs_name: The name that `generate_pairs` or `import_pairs` gave the pairs.
        comparisons: Which two arms to compare, by name; None compares every two.
        opened: Whether to freeze and open it at once; otherwise it is a draft.
        rng: Decides in which order equally served pairs come first.
        definition: All else; what is left out has the model's default.

    Raises:
        InvalidStudy: The slug is taken or malformed, a number, rule or text is out of range, or the runs do not pair
            up: two complete arms at least, each with the same indices, classes and seeds, and readable images of one
            size.
    """
    study = Study(slug=slug, status=Study.Status.DRAFT, **definition)
    _check_fields(study)
    runs, compared = _compared_runs(_complete_runs(pairs_name), comparisons)
    images = [list(images_of(run)) for run in runs]
    _check_pairing(runs, images)
    _check_number(study, len(images[0]) * len(compared))
    study.save()
    arms = [Arm.objects.create(study=study, name=run.arm, run=run) for run in runs]
    Pair.objects.bulk_create(_pairs(study, arms, images, compared), batch_size=BATCH)
    return open_study(study=study, rng=rng) if opened else study


@transaction.atomic
def update_study(*, study: Study, **definition: Unpack[Definition]) -> Study:
    """Change a draft.

    Raises:
        FrozenStudy: The study has been opened.
        InvalidStudy: What it would become cannot be.
    """
    if Plan.objects.filter(study=study).exists():
        raise FrozenStudy(
            f"study '{study.slug}' is frozen since it was opened first: make a new version of it and change that"
        )
    for name, value in definition.items():
        setattr(study, name, value)
    _check_fields(study)
    _check_number(study, study.pairs.count())
    study.save()
    return study


@transaction.atomic
def revise_study(*, study: Study, slug: str) -> Study:
    """Make a draft with the definition, arms and pairs of another study, as its next version.

    Raises:
        InvalidStudy: The slug is taken or malformed.
    """
    copied: dict[str, Any] = {name: getattr(study, name) for name in DEFINITION}
    version = Study(slug=slug, status=Study.Status.DRAFT, previous=study, **copied)
    _check_fields(version)
    version.save()
    arms = {arm.pk: Arm.objects.create(study=version, name=arm.name, run=arm.run) for arm in study.arms.all()}
    pairs = list(study.pairs.all())
    for pair in pairs:
        pair.pk, pair.study = None, version
        pair.first_arm, pair.second_arm = arms[pair.first_arm_id], arms[pair.second_arm_id]
    Pair.objects.bulk_create(pairs, batch_size=BATCH)
    return version


@transaction.atomic
def open_study(*, study: Study, rng: random.Random = SYSTEM_RNG) -> Study:
    """Let the study take answers (again). The first time freezes its definition, pairs, rules and analysis plan.

    Raises:
        FrozenStudy: What was frozen is not what the study says now.
        InvalidStudy: There are no pairs.
    """
    document = plan_document(study)
    plan = Plan.objects.filter(study=study).first()
    if plan is None:
        if not study.pairs.exists():
            raise InvalidStudy(f"study '{study.slug}' has no pairs: make it again with create_study")
        sha256 = hashlib.sha256(document.encode()).hexdigest()
        Plan.objects.create(study=study, document=document, sha256=sha256, frozen_at=timezone.now())
    elif plan.document != document:
        raise FrozenStudy(
            f"study '{study.slug}' is not what was frozen as {plan.sha256[:12]}… any more: restore it, or make a new "
            "version of it"
        )
    ensure_balances(study, simulated=False, rng=rng)
    return _set_status(study, Study.Status.OPEN)


def close_study(*, study: Study) -> Study:
    """Let the study take no more raters and no more answers; what it has stays."""
    return _set_status(study, Study.Status.CLOSED)


def _set_status(study: Study, status: Study.Status) -> Study:
    study.status = status
    study.save(update_fields=["status"])
    return study


def record_peek(*, study: Study, user: AbstractBaseUser | AnonymousUser | None, place: str) -> None:
    """Record a look at preferences, if the study is still open; a closed study's results are there to be looked at."""
    if study.is_open:
        known = user if isinstance(user, AbstractBaseUser) else None
        Peek.objects.create(study=study, user=known, place=place, answers=answers_total(study))  # type: ignore[misc]


def ensure_balances(study: Study, *, simulated: bool, rng: random.Random) -> None:
    """Give each pair its counters, if they are not there yet."""
    if statements.counters_there(study=study.pk, simulated=simulated):
        return
    rows = (
        Balance(study=study, pair_id=pair, simulated=simulated, lot=rng.getrandbits(LOT_BITS))
        for pair in study.pairs.order_by("pk").values_list("pk", flat=True)
    )
    Balance.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)


def _check_fields(study: Study) -> None:
    """Raise InvalidStudy with every field that the model refuses."""
    if Study.objects.filter(slug=study.slug).exclude(pk=study.pk).exists():
        raise InvalidStudy(f"a study '{study.slug}' exists already: choose another slug")
    try:
        study.full_clean()
    except ValidationError as error:
        faults = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items())
        raise InvalidStudy(f"study '{study.slug}' cannot be made: {faults}") from error
    try:
        parse_rules(study.rules)
    except ValueError as error:
        raise InvalidStudy(f"study '{study.slug}' cannot be made: rules: {error}") from error
    if study.access == Study.Access.PANEL and not study.panel:
        raise InvalidStudy(f"study '{study.slug}' is for a panel's participants: say which panel sends them")


def _check_number(study: Study, available: int) -> None:
    if study.pairs_per_rater is not None and study.pairs_per_rater > available:
        raise InvalidStudy(
            f"study '{study.slug}' wants {study.pairs_per_rater} pairs per rater but there are {available}: "
            "ask for fewer, or leave the number out for all of them"
        )


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


def _compared_runs(
    runs: Sequence[GenerationRun], comparisons: Sequence[tuple[str, str]] | None
) -> tuple[list[GenerationRun], list[tuple[int, int]]]:
    """Return the runs that are compared, and which two of them, by their places; every two by default.

    Raises:
        InvalidStudy: A comparison names an arm that is not there, or one arm twice.
    """
    if comparisons is None:
        return list(runs), list(combinations(range(len(runs)), 2))
    arms = [run.arm for run in runs]
    for pair in comparisons:
        for name in pair:
            if name not in arms:
                raise InvalidStudy(f"there is no complete arm '{name}' to compare (there are: {', '.join(arms)})")
        if pair[0] == pair[1]:
            raise InvalidStudy(f"arm '{pair[0]}' cannot be compared with itself: name two arms")
    named = {name for pair in comparisons for name in pair}
    kept = [run for run in runs if run.arm in named]
    places = {run.arm: place for place, run in enumerate(kept)}
    chosen = {(min(places[one], places[two]), max(places[one], places[two])) for one, two in comparisons}
    if not chosen:
        raise InvalidStudy("no two arms are compared: name at least two")
    return kept, sorted(chosen)


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


def _pairs(
    study: Study,
    arms: Sequence[Arm],
    images: Sequence[Sequence[GeneratedImage]],
    compared: Sequence[tuple[int, int]],
) -> Iterator[Pair]:
    """Yield a row for each index and each two arms that are compared."""
    for same_index in zip(*images, strict=True):
        sizes = [_measure(image, arm) for image, arm in zip(same_index, arms, strict=True)]
        if len(set(sizes)) > 1:
            told = ", ".join(f"{arm.name} {width}x{height}" for arm, (width, height) in zip(arms, sizes, strict=True))
            raise InvalidStudy(
                f"the images of pair {same_index[0].pair_index} differ in size ({told}): "
                "make them one size, or raters could tell the arms apart"
            )
        width, height = sizes[0]
        for first, second in compared:
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
        return measure(image)
    except UnreadableImage as error:
        raise InvalidStudy(f"pair {image.pair_index}, arm '{arm.name}': {error}") from error
