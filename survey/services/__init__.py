"""Everything that writes to a survey. What a function changes in the database happens whole or not at all."""

from .answers import MAX_RESPONSE_MS, Showing, record_exposure, record_response, skip_trial
from .faults import record_server_error
from .imports import ImportedAnswer, import_answers
from .raters import Arrival, create_invites, enrol_rater, withdraw_rater
from .studies import close_study, create_study, open_study, record_peek, revise_study, update_study
from .trials import LOOKAHEAD, release_stale, resume, top_up

__all__ = [
    "LOOKAHEAD",
    "MAX_RESPONSE_MS",
    "Arrival",
    "ImportedAnswer",
    "Showing",
    "close_study",
    "create_invites",
    "create_study",
    "enrol_rater",
    "import_answers",
    "open_study",
    "record_exposure",
    "record_peek",
    "record_response",
    "record_server_error",
    "release_stale",
    "resume",
    "revise_study",
    "skip_trial",
    "top_up",
    "update_study",
    "withdraw_rater",
]
