"""Small studies to test with: real files, real rows, no network trained."""

import hashlib
import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from django.utils import timezone
from PIL import Image

from generation.models import GeneratedImage, GenerationRun
from survey.models import Rater, Response, Study, Trial
from survey.selectors import waiting_trials
from survey.services import create_study, enrol_rater, record_response
from survey.services.studies import Definition

ARMS = ("robust", "vanilla")
CLASSES = ("sneaker", "bag", "coat")
SEED = 11


def png(colour_seed: str, *, size: int = 8) -> bytes:
    """Return a square PNG of random pixels, which its seed decides."""
    rng = random.Random(colour_seed)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (size, size), rng.randbytes(3 * size * size)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_run(
    folder: Path,
    *,
    arm: str,
    pixels_of: str | None = None,
    name: str = "toys",
    count: int = 4,
    size: int = 8,
    complete: bool = True,
) -> GenerationRun:
    """Write one arm's images and rows; `pixels_of` another arm swaps what is seen and nothing else."""
    directory = folder / name / arm
    directory.mkdir(parents=True, exist_ok=True)
    run = GenerationRun.objects.create(
        name=name, arm=arm, preset="toy", directory=str(directory), completed_at=timezone.now() if complete else None
    )
    for index in range(count):
        data = png(f"{pixels_of or arm} {index}", size=size)
        (directory / f"{index:05d}.png").write_bytes(data)
        GeneratedImage.objects.create(
            run=run,
            pair_index=index,
            class_index=index % len(CLASSES),
            class_name=CLASSES[index % len(CLASSES)],
            seed=SEED,
            file=f"{index:05d}.png",
            sha256=hashlib.sha256(data).hexdigest(),
        )
    return run


def write_pairs(
    folder: Path,
    *,
    arms: Sequence[str] = ARMS,
    name: str = "toys",
    count: int = 4,
    size: int = 8,
    swapped: bool = False,
) -> list[GenerationRun]:
    """Write a complete set of pairs; swapped, each arm shows another arm's pixels."""
    pixels = list(reversed(arms)) if swapped else list(arms)
    return [
        write_run(folder, arm=arm, pixels_of=seen, name=name, count=count, size=size)
        for arm, seen in zip(arms, pixels, strict=True)
    ]


def make_study(
    folder: Path,
    *,
    slug: str = "demo",
    count: int = 4,
    size: int = 8,
    swapped: bool = False,
    arms: Sequence[str] = ARMS,
    opened: bool = True,
    **definition: Unpack[Definition],
) -> Study:
    """Make a study of two arms without practice trials, open unless told otherwise."""
    write_pairs(folder, arms=arms, name=f"{slug}-toys", count=count, size=size, swapped=swapped)
    asked: Definition = {"practice_trials": 0, **definition}
    return create_study(slug=slug, pairs_name=f"{slug}-toys", opened=opened, rng=random.Random(5), **asked)


def make_rater(study: Study, *, seed: int = 1) -> Rater:
    """Enrol a rater whose plan the seed decides."""
    return enrol_rater(study=study, rng=random.Random(seed))


def first_trial(rater: Rater) -> Trial:
    """Return the trial that the rater sees first."""
    return rater.trials.get(position=1)


def next_trial(rater: Rater) -> Trial | None:
    """Return the trial that the rater is to answer next; None if there is none."""
    return next(iter(waiting_trials(rater, limit=1)), None)


def answer(rater: Rater, *choices: str, seed: int = 1) -> list[Response]:
    """Let a rater answer their next trials."""
    responses = []
    for choice in choices:
        trial = next_trial(rater)
        assert trial is not None
        rng = random.Random(f"{seed} {trial.pk}")
        responses.append(record_response(trial=trial, choice=choice, response_ms=1000, rng=rng)[0])
    return responses


def answer_all(rater: Rater, choice: str = "same") -> list[Response]:
    """Let a rater answer until nothing is left."""
    responses = []
    while next_trial(rater) is not None:
        responses += answer(rater, choice)
    return responses


def rng_of(seed: int) -> random.Random:
    """Return a generator that the seed decides."""
    return random.Random(seed)
