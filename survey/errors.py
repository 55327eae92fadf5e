"""What can go wrong in a survey, said in one line with its remedy.

Each class carries the short code and the HTTP status that its web pages and the API answer with, so that both say the
same about the same error.
"""

from http import HTTPStatus
from typing import ClassVar


class SurveyError(Exception):
    """Something the survey refuses; `str(error)` is the line to show."""

    code: ClassVar[str] = "survey_error"
    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST


class InvalidStudy(SurveyError):
    """A study cannot be made as asked."""

    code = "invalid_study"


class FrozenStudy(SurveyError):
    """The study has been opened: its definition stays as it is."""

    code = "frozen_study"
    status = HTTPStatus.CONFLICT


class UnknownStudy(SurveyError):
    """No study has this slug."""

    code = "unknown_study"
    status = HTTPStatus.NOT_FOUND


class StudyClosed(SurveyError):
    """The study takes no answers."""

    code = "study_closed"
    status = HTTPStatus.FORBIDDEN


class StudyFull(SurveyError):
    """Every pair is already served as often as the study wants."""

    code = "study_full"
    status = HTTPStatus.FORBIDDEN


class NotInvited(SurveyError):
    """The study is for holders of an invitation, or for participants whom a panel sends."""

    code = "not_invited"
    status = HTTPStatus.FORBIDDEN


class ScreenedOut(SurveyError):
    """The rater has failed too many catch trials."""

    code = "screened_out"
    status = HTTPStatus.FORBIDDEN


class TimeOver(SurveyError):
    """The rater's time for the whole survey is over."""

    code = "time_over"
    status = HTTPStatus.FORBIDDEN


class UnknownRater(SurveyError):
    """No rater of the study is known by what was sent."""

    code = "unknown_rater"
    status = HTTPStatus.NOT_FOUND


class UnknownTrial(SurveyError):
    """No such trial, or it is another rater's: which of the two is nobody's business."""

    code = "unknown_trial"
    status = HTTPStatus.NOT_FOUND


class InvalidResponse(SurveyError):
    """The answer itself makes no sense."""

    code = "invalid_response"


class ConflictingResponse(SurveyError):
    """The trial has another answer already, which stays."""

    code = "conflicting_response"
    status = HTTPStatus.CONFLICT


class UnreadableImage(SurveyError):
    """An image's file is missing, damaged or not what was generated."""

    code = "unreadable_image"
    status = HTTPStatus.NOT_FOUND
