"""Keeping count of the server's own errors."""

from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from survey.models import ServerError

LONGEST = 80


@transaction.atomic
def record_server_error(*, study_slug: str, place: str, error: str, now: datetime | None = None) -> None:
    """Count an error that nobody foresaw, by study, place and hour."""
    hour = (now or timezone.now()).replace(minute=0, second=0, microsecond=0)
    of_one = {"study_slug": study_slug[:LONGEST], "place": place[:LONGEST], "error": error[:LONGEST], "hour": hour}
    rows = ServerError.objects.filter(**of_one)
    if rows.update(count=F("count") + 1):
        return
    ServerError.objects.bulk_create([ServerError(**of_one, count=0)], ignore_conflicts=True)
    rows.update(count=F("count") + 1)
