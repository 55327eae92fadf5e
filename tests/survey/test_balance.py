"""Two hundred raters at once, of whom three in ten leave midway: what each pair gets in the end."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
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
THREADS = 4
PAIRS = 16
PER_RATER = 4
WANTED = 40  # 640 places: all 200 hold three each at the beginning
LEASE_S = 600


class Crowd:
    """Raters who are all there at once and answer in turn, from several threads; each step is a second by the clock."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.start = timezone.now()
        self.step = 0
        self.lock = threading.Lock()
        self.errors: list[Exception] = []

    def now(self) -> datetime:
        """Return a time a second after the last one."""
        with self.lock:
            self.step += 1
            return self.start + timedelta(seconds=self.step)

    def come(self, number: int) -> Iterator[None]:
        """Come, answer until all is done or until one has had enough, and go; stop after each step."""
        rng = random.Random(number)
        leaves_after = rng.randrange(PER_RATER) if rng.random() < DROPOUT else None
        try:
            rater = enrol_rater(study=self.study, rng=rng, now=self.now())
        except StudyFull:
            return
        answered = 0
        while answered != leaves_after and (trial := next_trial(rater)):
            yield
            choice = rng.choice(["left", "same", "right"])
            record_response(trial=trial, choice=choice, rng=rng, now=self.now())
            answered += 1

    def work(self, thread: int) -> None:
        """Let a thread's share of the raters come, and then answer in an order that chance decides."""
        rng = random.Random(thread)
        present = [self.come(number) for number in range(thread, RATERS, THREADS)]
        try:
            while present:
                one = present.pop(0)
                if next(one, self) is None:
                    present.insert(rng.randint(len(present) // 2, len(present)), one)
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
    threads = [threading.Thread(target=crowd.work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert crowd.errors == []
    crowd.step += LEASE_S
    late = RATERS
    while late < 2 * RATERS and min(answers_per_pair().values()) < WANTED:
        crowd.step += LEASE_S
        list(crowd.come(late))  # the last places are those of raters who left
        late += 1
    release_stale(now=crowd.now() + timedelta(seconds=LEASE_S))
    answered = list(
        Trial.objects.filter(response__isnull=False).values_list("pair", "rater", "first_is_left").order_by("pk")
    )
    per_pair = answers_per_pair()
    assert Counter(per_pair.values()) == {WANTED: PAIRS}
    for place in (0, 1):
        surpluses = sides([(row[place], row[2]) for row in answered])
        assert max(map(abs, surpluses.values())) <= 2, "sides are within one of half"
    assert Rater.objects.count() >= RATERS
    counters = {row.pair_id: (row.served, row.left_surplus) for row in Balance.objects.filter(simulated=False)}
    lean = sides([(pair, left) for pair, _, left in answered])
    assert counters == {pair: (count, lean[pair]) for pair, count in per_pair.items()}
