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


class UnknownStudy(SurveyError):
    """No study has this slug."""

    code = "unknown_study"
    status = HTTPStatus.NOT_FOUND


class StudyClosed(SurveyError):
    """The study takes no more answers."""

    code = "study_closed"
    status = HTTPStatus.FORBIDDEN


class StudyFull(SurveyError):
    """Every pair is already planned for as many raters as the study wants."""

    code = "study_full"
    status = HTTPStatus.FORBIDDEN


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
