"""Answers that were collected elsewhere, or exported before: brought into a study as raters of its own."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from survey.errors import InvalidStudy
from survey.models import SYSTEM_RNG, Balance, Rater, Response, Study, Trial, make_token

from .studies import BATCH, ensure_balances


@dataclass(frozen=True)
class ImportedAnswer:
    """One ordinary answer: of whom, to which pair, by its public name, and with which arm on the left."""

    rater: str
    pair: str
    left_arm: str
    right_arm: str
    choice: str
    answered_at: datetime | None = None
    response_ms: int | None = None
    position: int | None = None


@transaction.atomic
def import_answers(
    *, study: Study, answers: Sequence[ImportedAnswer], simulated: bool = False, rng: random.Random = SYSTEM_RNG
) -> int:
    """Store answers with the raters who gave them; return how many raters there are.

    Args:
        study: Where to; open or not, for nobody is asked anything.
        answers: Each of another (rater, pair).
        simulated: Marks their raters for good.
        rng: Decides tokens.

    Raises:
        InvalidStudy: A pair or an arm that the study does not have, or a rater whose answers are there already.
    """
    pairs = _pairs_by_name(study)
    by_rater: dict[str, list[ImportedAnswer]] = defaultdict(list)
    for answer in answers:
        by_rater[answer.rater].append(answer)
    known = Rater.objects.filter(study=study, simulated=simulated, imported_as__in=list(by_rater))
    if again := known.first():
        raise InvalidStudy(f"rater '{again.imported_as}' has been imported into '{study.slug}' already: leave them out")
    ensure_balances(study, simulated=simulated, rng=rng)
    for name, theirs in by_rater.items():
        _import_rater(study, name, theirs, pairs, simulated=simulated, rng=rng)
    return len(by_rater)


def _pairs_by_name(study: Study) -> dict[str, tuple[int, str, str]]:
    """Return per public name a pair's id and its arms, first and second."""
    several = study.arms.count() > 2
    rows = study.pairs.values_list("pk", "index", "first_arm__name", "second_arm__name")
    return {
        f"{index}:{first}:{second}" if several else str(index): (pk, first, second) for pk, index, first, second in rows
    }


def _import_rater(
    study: Study,
    name: str,
    answers: Sequence[ImportedAnswer],
    pairs: dict[str, tuple[int, str, str]],
    *,
    simulated: bool,
    rng: random.Random,
) -> None:
    positions = [answer.position for answer in answers]
    numbered = None not in positions and len(set(positions)) == len(positions)
    rater = Rater.objects.create(
        study=study,
        token=make_token(rng),
        link_token=make_token(rng),
        simulated=simulated,
        imported_as=name,
        wanted=len(answers),
        issued=max(position or 0 for position in positions) if numbered else len(answers),
        issued_ordinary=len(answers),
        planned=len(answers),
        done=len(answers),
        consented_at=min((answer.answered_at for answer in answers if answer.answered_at), default=timezone.now()),
    )
    trials = []
    for place, answer in enumerate(answers, start=1):
        if answer.pair not in pairs:
            raise InvalidStudy(f"study '{study.slug}' has no pair '{answer.pair}' (rater '{name}'): correct the file")
        pair, first, second = pairs[answer.pair]
        if {answer.left_arm, answer.right_arm} != {first, second}:
            raise InvalidStudy(
                f"pair '{answer.pair}' of study '{study.slug}' compares {first} and {second}, "
                f"not {answer.left_arm} and {answer.right_arm} (rater '{name}'): correct the file"
            )
        trials.append(
            Trial(
                rater=rater,
                pair_id=pair,
                token=make_token(rng),
                position=answer.position if numbered and answer.position else place,
                first_is_left=answer.left_arm == first,
                state=Trial.State.ANSWERED,
                issued_at=answer.answered_at or timezone.now(),
            )
        )
    Trial.objects.bulk_create(trials, batch_size=BATCH)
    Response.objects.bulk_create(
        (
            Response(
                trial=trial,
                choice=answer.choice,
                response_ms=answer.response_ms,
                answered_at=answer.answered_at or timezone.now(),
            )
            for trial, answer in zip(trials, answers, strict=True)
        ),
        batch_size=BATCH,
    )
    for trial in trials:
        step = 1 if trial.first_is_left else -1
        rater.left_surplus += step
        Balance.objects.filter(pair_id=trial.pair_id, simulated=simulated).update(
            served=F("served") + 1, left_surplus=F("left_surplus") + step
        )
    rater.save(update_fields=["left_surplus"])
