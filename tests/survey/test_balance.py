"""Two hundred raters at once, of whom three in ten leave midway: what each pair gets in the end."""

import random
import threading
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.utils import timezone

from survey.errors import StudyFull
from survey.models import Balance, Rater, Response, Study, Trial
from survey.services import enrol_rater, record_response, release_stale

from .factories import make_study, next_trial

pytestmark = pytest.mark.django_db(transaction=True)

RATERS = 200
DROPOUT = 0.3
THREADS = 8
PAIRS = 12
PER_RATER = 3
WANTED = 32
LEASE_S = 600


class Crowd:
    """Raters who come and answer in turn, from several threads at once; each step is a second by the study's clock."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.start = timezone.now()
        self.step = 0
        self.waiting = list(range(RATERS))
        self.lock = threading.Lock()
        self.errors: list[Exception] = []

    def now(self) -> datetime:
        """Return a time a second after the last one."""
        with self.lock:
            self.step += 1
            return self.start + timedelta(seconds=self.step)

    def live(self, number: int) -> None:
        """Come, answer until all is done or until one has had enough, and go."""
        rng = random.Random(number)
        leaves_after = rng.randrange(PER_RATER) if rng.random() < DROPOUT else None
        try:
            rater = enrol_rater(study=self.study, rng=rng, now=self.now())
        except StudyFull:
            return
        answered = 0
        while answered != leaves_after and (trial := next_trial(rater)):
            choice = rng.choice(["left", "same", "right"])
            record_response(trial=trial, choice=choice, rng=rng, now=self.now())
            answered += 1

    def work(self) -> None:
        """Live one rater's part after another."""
        try:
            while True:
                with self.lock:
                    if not self.waiting:
                        return
                    number = self.waiting.pop()
                self.live(number)
        except Exception as error:  # noqa: BLE001 (handed to the test)
            self.errors.append(error)
        finally:
            connections.close_all()


def sides(trials: list[tuple[int, bool]]) -> dict[int, int]:
    """Return per key the trials with the first image on the left, less the others."""
    surplus: dict[int, int] = defaultdict(int)
    for key, first_is_left in trials:
        surplus[key] += 1 if first_is_left else -1
    return surplus


def answers_per_pair() -> Counter[int]:
    """Return the number of each pair's answers."""
    return Counter(Response.objects.values_list("trial__pair", flat=True))


def test_answers_and_sides_are_balanced_when_the_study_is_full(tmp_path: Path) -> None:
    study = make_study(tmp_path, count=PAIRS, pairs_per_rater=PER_RATER, raters_per_pair=WANTED, lease_s=LEASE_S)
    crowd = Crowd(study)
    threads = [threading.Thread(target=crowd.work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert crowd.errors == []
    crowd.step += LEASE_S
    late = RATERS
    while late < 2 * RATERS and min(answers_per_pair().values()) < WANTED:
        crowd.step += LEASE_S
        crowd.live(late)  # the last places are those of raters who left
        late += 1
    release_stale(now=crowd.now() + timedelta(seconds=LEASE_S))
    answered = list(
        Trial.objects.filter(response__isnull=False).values_list("pair", "rater", "first_is_left").order_by("pk")
    )
    per_pair = answers_per_pair()
    assert max(per_pair.values()) - min(per_pair.values()) <= 1
    assert min(per_pair.values()) == WANTED
    assert all(abs(lean) <= 2 for lean in sides([(pair, left) for pair, _, left in answered]).values())
    # When the last places are given out, the one pair that is left may suit neither side of a rater who leans already.
    leaning = [rater for rater, lean in sides([(rater, left) for _, rater, left in answered]).items() if abs(lean) > 2]
    assert len(leaning) <= RATERS // 100
    assert Rater.objects.count() >= RATERS * 0.7
    counters = {row.pair_id: (row.served, row.left_surplus) for row in Balance.objects.filter(simulated=False)}
    lean = sides([(pair, left) for pair, _, left in answered])
    assert counters == {pair: (count, lean[pair]) for pair, count in per_pair.items()}
