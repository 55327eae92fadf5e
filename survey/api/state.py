"""What a rater's browser knows of its rater: progress, the trials to show and, at the end, where to go."""

import hashlib
from functools import lru_cache
from typing import Any

from django.urls import get_script_prefix, reverse
from django.utils import timezone

from survey import selectors
from survey.models import Rater, Trial
from survey.services import LOOKAHEAD


def trial_state(rater: Rater) -> dict[str, Any]:
    """Return the rater's next trials, and progress as they were read with it; the last page's address at the end."""
    slug = rater.study.slug
    now = timezone.now()
    progress = selectors.progress_in(rater)
    waiting = selectors.trials_to_show(rater, limit=LOOKAHEAD)
    ended = selectors.ended(rater, now=now)
    if ended is not None:
        waiting = []
    state: dict[str, Any] = {
        "progress": {"answered": progress.answered, "total": progress.total},
        "next": [describe(trial, slug=slug) for trial in waiting],
    }
    deadline = selectors.deadline_of(rater)
    if deadline is not None:
        state["seconds_left"] = max(0, int((deadline - now).total_seconds()))
    if ended is not None or (not waiting and selectors.is_complete(rater)):
        state["done_url"] = reverse("survey:thanks", args=[slug])
    return state


def describe(trial: Trial, *, slug: str) -> dict[str, Any]:
    """Return a trial as its rater may know it: no pair, no arm, no position, and of the kinds only practice."""
    address = image_address(slug, get_script_prefix())
    return {
        "token": trial.token,
        "class_name": trial.pair.class_name,
        "small": trial.pair.small,
        "practice": trial.kind == Trial.Kind.PRACTICE,
        "left": address.format(token=trial.token, side="left"),
        "right": address.format(token=trial.token, side="right"),
    }


@lru_cache(maxsize=256)
def image_address(slug: str, prefix: str) -> str:
    """Return a study's images' address with places for `token` and `side`; looking it up costs more than filling it.

    Args:
        slug: The study's.
        prefix: What the site's addresses begin with, on which the outcome depends.
    """
    address = reverse("survey:image", args=[slug, "TOKEN", "left"])
    if not address.startswith(prefix):
        raise ValueError(f"{address} does not begin with {prefix}: ask for the prefix in force")
    return address.removesuffix("TOKEN/left.png") + "{token}/{side}.png"


def last_answer(rater: Rater) -> dict[str, Any] | None:
    """Return the trial that the rater may correct, with its choice."""
    last = selectors.last_answered(rater)
    return None if last is None else describe(last, slug=rater.study.slug) | {"choice": last.response.choice}


def handle(rater: Rater) -> str:
    """Return a name for the rater that their browser may keep beside answers not sent yet; it opens nothing."""
    return hashlib.sha256(f"handle {rater.token}".encode()).hexdigest()[:32]
