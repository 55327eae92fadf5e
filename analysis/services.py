"""Everything that writes computations: claim one, tell how it goes, store what came of it."""

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from analysis.models import Computation, StudyMetrics
from survey.models import Study

BEAT_S = 5.0
DEAD_AFTER = timedelta(minutes=3)


def request_computation(*, key: str, source: str, command: Sequence[str]) -> Computation:
    """Return the computation of that key, started unless its result is of this source or it runs already.

    A computation that failed on the same source is not tried again. One whose process has not been heard of for
    three minutes is taken for dead, and started anew.

    Args:
        key: Names what is computed.
        source: Names what it is computed from, such as the number of answers.
        command: The arguments of manage.py that compute and store it.
    """
    with transaction.atomic():
        Computation.objects.get_or_create(key=key)
        computation = Computation.objects.select_for_update().get(key=key)
        now = timezone.now()
        alive = computation.heartbeat is not None and now - computation.heartbeat < DEAD_AFTER
        running = computation.state == Computation.State.RUNNING and alive
        failed = computation.state == Computation.State.FAILED and computation.failed_source == source
        if running or failed or (computation.computed_at and computation.source == source):
            return computation
        computation.state, computation.progress, computation.stage = Computation.State.RUNNING, 0.0, "starting"
        computation.heartbeat, computation.failure = now, ""
        computation.save()
    import_string(settings.SAMESEED_LAUNCHER)(command)
    computation.refresh_from_db()
    return computation


def store_metrics(*, study: Study, result: Mapping[str, Any]) -> None:
    """Store what was measured of the study's arms, in place of what was there."""
    StudyMetrics.objects.update_or_create(study=study, defaults={"result": result, "computed_at": timezone.now()})


def record_progress(*, key: str, progress: float, stage: str) -> None:
    """Tell how far a computation is."""
    values = {"state": Computation.State.RUNNING, "progress": progress, "stage": stage, "heartbeat": timezone.now()}
    Computation.objects.update_or_create(key=key, defaults=values)


def store_result(*, key: str, source: str, html: str, document: str) -> None:
    """Store a computation's result."""
    Computation.objects.update_or_create(
        key=key,
        defaults={
            "state": Computation.State.IDLE, "progress": 1.0, "stage": "", "failure": "", "failed_source": "",
            "source": source, "computed_at": timezone.now(), "html": html, "document": document,
        },
    )  # fmt: skip


def store_failure(*, key: str, source: str, failure: str) -> None:
    """Store why there is no result; the last one stays."""
    values = {"state": Computation.State.FAILED, "failure": failure, "failed_source": source, "stage": ""}
    Computation.objects.update_or_create(key=key, defaults=values)


class Heartbeat:
    """Says every few seconds, from a thread of its own, that the computing process lives."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self.thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.ended.set()
        self.thread.join()

    def _beat(self) -> None:
        try:
            while not self.ended.wait(BEAT_S):
                Computation.objects.filter(key=self.key).update(heartbeat=timezone.now())
        finally:
            connection.close()
