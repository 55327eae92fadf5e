"""A study, what it shows, who rates it and what was answered."""

from .ledger import Exposure, ImageFault, Peek, ServerError, Withdrawal
from .rating import Invite, Rater, Response, Revision, Trial
from .study import QUESTION, SMALL_PX, Arm, Balance, Pair, Plan, Study
from .tokens import SYSTEM_RNG, make_token

__all__ = [
    "QUESTION",
    "SMALL_PX",
    "SYSTEM_RNG",
    "Arm",
    "Balance",
    "Exposure",
    "ImageFault",
    "Invite",
    "Pair",
    "Peek",
    "Plan",
    "Rater",
    "Response",
    "Revision",
    "ServerError",
    "Study",
    "Trial",
    "Withdrawal",
    "make_token",
]
