"""A study with answers, made without images on disk."""

from collections.abc import Iterable, Sequence

from generation.models import GeneratedImage, GenerationRun
from survey.models import Arm, Pair, Rater, Response, Study, Trial


def make_study(slug: str = "demo", *, pairs: int = 3, arms: Sequence[str] = ("robust", "vanilla")) -> Study:
    """Return a study of `pairs` indices, each with every pair of arms."""
    study = Study.objects.create(slug=slug, title=f"The {slug} study")
    rows, images = [], {}
    for name in sorted(arms):
        run = GenerationRun.objects.create(name=slug, arm=name, preset="fashion32", directory="data")
        rows.append(Arm.objects.create(study=study, name=name, run=run))
        for index in range(pairs):
            images[name, index] = GeneratedImage.objects.create(
                run=run, pair_index=index, class_index=index % 10, class_name=f"class {index}", seed=0,
                file=f"{index}.png", sha256="0" * 64,
            )  # fmt: skip
    for index in range(pairs):
        for place, first in enumerate(rows):
            for second in rows[place + 1 :]:
                Pair.objects.create(
                    study=study, index=index, class_name=f"class {index}", first_arm=first, second_arm=second,
                    first_image=images[first.name, index], second_image=images[second.name, index],
                )  # fmt: skip
    return study


def answer(study: Study, choices: Iterable[str], *, simulated: bool = False, first_is_left: bool = True) -> Rater:
    """Let a new rater answer the study's pairs in order, as many as there are choices."""
    rater = Rater.objects.create(study=study, simulated=simulated)
    for position, (pair, choice) in enumerate(zip(study.pairs.order_by("index", "pk"), choices, strict=False), start=1):
        trial = Trial.objects.create(rater=rater, pair=pair, position=position, first_is_left=first_is_left)
        Response.objects.create(trial=trial, choice=choice, response_ms=1000 + position)
    return rater
