"""The only crossing from the database to a DataFrame."""

import pandas as pd

from analysis.answers import COLUMNS, EXTRA
from survey.models import Pair, Study, Trial
from survey.monitoring import excluded_raters, flags_by_rater


def responses(
    study: Study, *, simulated: bool = False, every_kind: bool = False, excluded: bool = False
) -> pd.DataFrame:
    """Return a study's answers as a long frame (see `analysis.answers`), by rater and then in the order shown.

    Raters are called r1, r2, ... and simulated ones simulated1, ...: their row numbers, which say nothing of who
    they are and are not what their cookies hold. A pair is called by its index; in a study of more than two arms,
    where an index has several pairs of images, by index:arm:arm. A corrected answer is there once, as its last choice,
    with the first one's time.

    Args:
        study: Whose answers.
        simulated: False for the real raters' answers, True for the simulated ones'. The two are never mixed.
        every_kind: Whether practice trials, catch trials and repeats are there too; then the frame has the columns of
            `EXTRA`. A catch or practice trial compares not arms but `image` with `copy` or `noise`, and its pair is
            called by its kind first.
        excluded: Whether raters whom the study's own rules leave out of the analysis are there too.
    """
    pairs = _pairs(study)
    shown_to = Trial.objects.filter(rater__study=study, rater__simulated=simulated, response__isnull=False)
    if not every_kind:
        shown_to = shown_to.filter(kind=Trial.Kind.ORDINARY)
    columns = {
        "rater_id": "rater_id",
        "imported_as": "rater__imported_as",
        "pair_id": "pair_id",
        "kind": "kind",
        "first_is_left": "first_is_left",
        "position": "position",
        "choice": "response__choice",
        "answered_at": "response__answered_at",
        "response_ms": "response__response_ms",
    }
    rows = shown_to.order_by("rater_id", "position").values_list(*columns.values())
    frame = pd.DataFrame.from_records(list(rows.iterator(chunk_size=10_000)), columns=list(columns))
    if not excluded and (left_out := excluded_raters(study, simulated=simulated)):
        frame = frame[~frame["rater_id"].isin(left_out)].reset_index(drop=True)
    shown = pairs.reindex(frame["pair_id"]).reset_index(drop=True)
    first_is_left = frame["first_is_left"].astype(bool)
    rater = ("simulated" if simulated else "r") + frame["rater_id"].astype(str)
    rater = frame["imported_as"].where(frame["imported_as"] != "", rater)
    answers = frame.assign(
        rater=rater.astype(str),
        pair=shown["pair"].astype(str),
        left_arm=shown["first_arm"].where(first_is_left, shown["second_arm"]).astype(str),
        right_arm=shown["second_arm"].where(first_is_left, shown["first_arm"]).astype(str),
        choice=frame["choice"].astype(str),
        answered_at=pd.to_datetime(frame["answered_at"], utc=True).astype("datetime64[us, UTC]"),
        response_ms=frame["response_ms"].astype("Int64"),
        position=frame["position"].astype("Int64"),
        class_name=shown["class_name"].astype(str),
    )
    if not every_kind:
        return answers[list(COLUMNS)]
    flags = {key: ";".join(names) for key, names in flags_by_rater(study, simulated=simulated).items()}
    answers["flags"] = frame["rater_id"].map(flags).fillna("").astype(str)
    return _with_kinds(answers, first_is_left)[[*COLUMNS, *EXTRA]]


def _with_kinds(answers: pd.DataFrame, first_is_left: pd.Series) -> pd.DataFrame:
    """Name what trials other than ordinary ones and repeats compare, and which choice is right in them."""
    same = answers["kind"] == Trial.Kind.SAME
    noise = answers["kind"].isin([Trial.Kind.NOISE, Trial.Kind.PRACTICE])
    other = pd.Series("noise", answers.index).where(noise, "copy")
    image_side = pd.Series("left", answers.index).where(first_is_left, "right")
    kind = answers["kind"].replace({Trial.Kind.SAME: "catch", Trial.Kind.NOISE: "catch"})
    checked = same | noise
    return answers.assign(
        pair=answers["pair"].where(~checked, answers["kind"] + ":" + answers["pair"]),
        left_arm=answers["left_arm"].where(~checked, pd.Series("image", answers.index).where(first_is_left, other)),
        right_arm=answers["right_arm"].where(~checked, other.where(first_is_left, "image")),
        expected=image_side.where(noise).where(~same, "same"),
        kind=kind.astype(str),
    )


def pair_names(study: Study) -> dict[int, str]:
    """Return the pairs' names in a frame of answers, by primary key."""
    return {int(key): str(name) for key, name in _pairs(study)["pair"].items()}  # type: ignore[call-overload]


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
