"""What a panel or an invitation puts into a link's address."""

import hashlib
import hmac

from django.http import HttpRequest

from .models import Study
from .services import Arrival

PARAMETERS = {
    Study.Panel.PROLIFIC: ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID"),
    Study.Panel.MTURK: ("workerId", "hitId", "assignmentId"),
}
"""Per panel its names for the participant, its study and the visit."""

INVITE = "invite"
LONGEST = 128


def has_parameters(request: HttpRequest) -> bool:
    """Tell whether the address holds what is to be dropped from it."""
    names = {INVITE, *(name for names in PARAMETERS.values() for name in names)}
    return bool(names & request.GET.keys())


def arrival_in(request: HttpRequest, study: Study) -> Arrival:
    """Return what the address says of who comes, as the study keeps it: hashed, or plain."""
    names = PARAMETERS.get(Study.Panel(study.panel)) if study.panel else None
    participant, panel_study, panel_session = (keep(study, request.GET.get(name, "")) for name in names or ("", "", ""))
    return Arrival(
        participant=participant or None,
        panel_study=panel_study,
        panel_session=panel_session,
        invite=request.GET.get(INVITE, "")[:32] or None,
    )


def keep(study: Study, value: str) -> str:
    """Return what a panel sent as the study keeps it; each study hashes with a key of its own.

    A plain value is cut to its longest; no panel's is longer.
    """
    value = value.strip()
    if not value or study.panel_ids == Study.PanelIds.PLAIN:
        return value.replace("\x00", "")[:LONGEST]
    return hmac.new(study.panel_key.encode(), value.encode(), hashlib.sha256).hexdigest()
