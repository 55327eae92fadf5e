"""The only crossing from the database to a DataFrame."""

import pandas as pd

from analysis.answers import COLUMNS
from survey.models import Pair, Response, Study, Trial


def responses(study: Study, *, simulated: bool = False) -> pd.DataFrame:
    """Return a study's answers as a long frame (see `analysis.answers`), by rater and then in the order shown.

    Raters are called r1, r2, ... and simulated ones simulated1, ...: their row numbers, which say nothing of who
    they are and are not what their cookies hold. A pair is called by its index; in a study of more than two arms,
    where an index has several pairs of images, by index:arm:arm. Practice trials, catch trials and repeats are not
    answers; a corrected answer is there once, as its last choice, with the first one's time.

    Args:
        study: Whose answers.
        simulated: False for the real raters' answers, True for the simulated ones'. The two are never mixed.
    """
    pairs = _pairs(study)
    rows = (
        Response.objects.filter(
            trial__rater__study=study, trial__rater__simulated=simulated, trial__kind=Trial.Kind.ORDINARY
        )
        .order_by("trial__rater_id", "trial__position")
        .values_list(
            "trial__rater_id",
            "trial__pair_id",
            "trial__first_is_left",
            "choice",
            "answered_at",
            "response_ms",
            "trial__position",
        )
    )
    names = ["rater_id", "pair_id", "first_is_left", "choice", "answered_at", "response_ms", "position"]
    frame = pd.DataFrame.from_records(list(rows.iterator(chunk_size=10_000)), columns=names)
    shown = pairs.reindex(frame["pair_id"]).reset_index(drop=True)
    first_is_left = frame["first_is_left"].astype(bool)
    rater = ("simulated" if simulated else "r") + frame["rater_id"].astype(str)
    return frame.assign(
        rater=rater.astype(str),
        pair=shown["pair"].astype(str),
        left_arm=shown["first_arm"].where(first_is_left, shown["second_arm"]).astype(str),
        right_arm=shown["second_arm"].where(first_is_left, shown["first_arm"]).astype(str),
        choice=frame["choice"].astype(str),
        answered_at=pd.to_datetime(frame["answered_at"], utc=True).astype("datetime64[us, UTC]"),
        response_ms=frame["response_ms"].astype("Int64"),
        position=frame["position"].astype("Int64"),
        class_name=shown["class_name"].astype(str),
    )[list(COLUMNS)]


def _pairs(study: Study) -> pd.DataFrame:
    """Return the study's pairs by primary key: pair (its public name), class_name, first_arm, second_arm."""
    rows = Pair.objects.filter(study=study).values_list(
        "pk", "index", "class_name", "first_arm__name", "second_arm__name"
    )
    names = ["pk", "index", "class_name", "first_arm", "second_arm"]
    frame = pd.DataFrame.from_records(list(rows), columns=names).set_index("pk")
    # Arms are slugs, so a colon cannot make two names alike.
    several = study.arms.count() > 2
    frame["pair"] = [
        f"{index}:{first}:{second}" if several else str(index)
        for index, first, second in zip(frame["index"], frame["first_arm"], frame["second_arm"], strict=True)
    ]
    return frame
