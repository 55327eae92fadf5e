"""Answers as a long frame: its columns, and a CSV file of them read with every mistake named by its line.

A frame of answers has one row per answer and these columns, in this order:

| column | dtype | meaning |
| --- | --- | --- |
| rater | str | who answered |
| pair | str | which two images; one pair is always the same two arms |
| left_arm, right_arm | str | the method whose image was on that side |
| choice | str | `left`, `right` or `same` |
| answered_at | datetime64[us, UTC] | when; may be missing |
| response_ms | Int64 | from shown to answered, in milliseconds; may be missing |
| position | Int64 | place in this rater's order; may be missing |
| class_name | str | the class that both images were asked for; may be missing |

A survey that knows more adds some of these (`EXTRA`). Every statistic works without them:

| column | dtype | meaning; what a missing column or value stands for |
| --- | --- | --- |
| kind | str | `ordinary`, `catch`, `repeat` or `practice`; ordinary |
| expected | str | on a catch trial, the one right choice: `left`, `right` or `same`; not known |
| flags | str | what the survey holds against this rater, in a few words, split by `;`; nothing |

Preferences are counted over ordinary answers only (`ordinary`): a rater gives at most one per pair. A repeat bears the
name of the pair that it shows again, and is only ever compared with the first answer to it. Catch and practice trials
say how carefully a rater answers, and nothing of the arms.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

REQUIRED = ("rater", "pair", "left_arm", "right_arm", "choice")
OPTIONAL = ("answered_at", "response_ms", "position", "class_name")
COLUMNS = (*REQUIRED, *OPTIONAL)
EXTRA = ("kind", "expected", "flags")
KINDS = ("ordinary", "catch", "repeat", "practice")
CHOICES = ("left", "right", "same")
WORDS = {"kind": KINDS, "expected": CHOICES}
RESERVED_ARM = "none"
CHUNK = 65_536

_WHOLE = r"[0-9]{1,15}(\.0*)?"
_DATE = r"\d{4}-\d\d-\d\d([T ]\d\d:?\d\d(:?\d\d([.,]\d{1,9})?)?\s?([Zz]|[+-]\d\d(:?\d\d)?)?)?"


class AnswersError(ValueError):
    """The answers cannot be used; the message says where, what and how to mend it, in one line."""


def read_answers(path: Path) -> pd.DataFrame:
    """Read an answers file.

    The file is CSV in UTF-8 (a byte order mark is fine) whose header names at least
    `rater,pair,left_arm,right_arm,choice`, in any order; `answered_at` (ISO 8601; without an offset it is taken as
    UTC), `response_ms`, `position`, `class_name` and those of `EXTRA` are optional, and so is a value in them. Other
    columns are ignored. Blanks around a name or a value do not count, and blank lines are skipped.

    Args:
        path: The file.

    Returns:
        A frame of answers, in the file's order, with all of `COLUMNS` and those of `EXTRA` that the file has.

    Raises:
        AnswersError: With the file's own line number (the header is line 1) where one line is at fault.
        OSError: If the file cannot be read.
    """
    return parse_answers(path.read_bytes())


def parse_answers(data: bytes) -> pd.DataFrame:
    """Parse the bytes of an answers file; see `read_answers`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as CSV in UTF-8"
        raise AnswersError(message) from error
    records = _records(text)
    header_line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    if not header:
        message = f"the file is empty; its first line must be the header {','.join(REQUIRED)}"
        raise AnswersError(message)
    places = _places(header, header_line)
    lines, columns = _columns(records, len(header), places)
    if not len(lines):
        message = f"the file has no answers: nothing follows the header on line {header_line}"
        raise AnswersError(message)
    names = [*COLUMNS, *(name for name in EXTRA if name in places)]
    return _typed(pd.DataFrame({name: _trimmed(columns[name], len(lines)) for name in names}), lines)


def ordinary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that count for preferences: those whose kind is ordinary or missing."""
    if "kind" not in frame:
        return frame
    kind = frame["kind"]
    return frame[(kind.isna() | (kind == "ordinary")).to_numpy(dtype=bool)]


def of_kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the answers of one kind other than ordinary; none of a frame without that column."""
    return frame[(frame["kind"] == kind).to_numpy(dtype=bool)] if "kind" in frame else frame.iloc[:0]


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank with the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            # A first cell with something in it is the common case, and spares a look at the others.
            if cells and (cells[0].strip() or any(map(str.strip, cells))):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"line {line}: not CSV ({error}); a quoted value must end with a quote, and a quote in it be doubled"
        raise AnswersError(message) from error


def _columns(
    records: Iterator[tuple[int, list[str]]], width: int, places: Mapping[str, int]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return the records' lines and, per known column, their cells; absent columns are empty."""
    lines: list[int] = []
    columns: dict[str, list[str]] = {name: [] for name in (*COLUMNS, *EXTRA)}
    while chunk := list(islice(records, CHUNK)):
        for line, cells in chunk:
            if len(cells) != width and (len(cells) < width or any(map(str.strip, cells[width:]))):
                message = f"line {line}: {len(cells)} values under a header of {width}; quote values with commas"
                raise AnswersError(message)
        lines += [line for line, _ in chunk]
        for name, place in places.items():
            # Most values recur; interned, a million answers fit into memory.
            columns[name] += [sys.intern(cells[place]) for _, cells in chunk]
    return np.asarray(lines), columns


def _trimmed(cells: list[str], size: int) -> pd.Series:
    """Return a column of text without the blanks around its values; "" everywhere if it has no cells."""
    if not cells:
        return pd.Series("", range(size), dtype=str)
    codes, values = pd.factorize(np.asarray(cells, dtype=object))
    return pd.Series(np.asarray([value.strip() for value in values], dtype=object)[codes], dtype=str)


def _places(header: Sequence[str], line: int) -> dict[str, int]:
    """Return each known column's place in the header."""
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        if name in places:
            message = f"line {line}: the column {name!r} is there twice; keep one"
            raise AnswersError(message)
        if name in COLUMNS or name in EXTRA:
            places[name] = place
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        message = (
            f"line {line}: missing column{plural} {', '.join(missing)}; the header must name "
            f"{','.join(REQUIRED)}, separated by commas, in lower case"
        )
        raise AnswersError(message)
    return places


def _typed(frame: pd.DataFrame, lines: np.ndarray) -> pd.DataFrame:
    """Check a frame of trimmed text and give its columns their dtypes."""
    problems = [
        *(_first(frame[name] == "", lines, _empty(name)) for name in REQUIRED),
        *_arm_problems(frame, lines),
        _first(~frame["choice"].isin(CHOICES), lines, lambda row: _bad_choice(frame["choice"].iloc[row])),
        _duplicate(frame, lines),
        _other_arms(frame, lines),
        *(_bad_number(frame[name], lines) for name in ("response_ms", "position")),
        *(_bad_word(frame[name], known, lines) for name, known in WORDS.items() if name in frame),
    ]
    times, bad_time = _times(frame["answered_at"], lines)
    found = [problem for problem in (*problems, bad_time) if problem is not None]
    if found:
        line, message = min(found, key=lambda problem: problem[0])
        raise AnswersError(f"line {line}: {message}")
    return frame.assign(
        answered_at=times,
        response_ms=_whole_numbers(frame["response_ms"]),
        position=_whole_numbers(frame["position"]),
        **{name: frame[name].where(frame[name] != "") for name in ("class_name", *EXTRA) if name in frame},
    )


_Problem = tuple[int, str] | None


def _first(bad: pd.Series, lines: np.ndarray, say: Callable[[int], str]) -> _Problem:
    """Return the line of the first bad row and what `say` says of that row; None if no row is bad."""
    rows = np.flatnonzero(bad.to_numpy())
    return (int(lines[rows[0]]), say(int(rows[0]))) if len(rows) else None


def _empty(name: str) -> Callable[[int], str]:
    return lambda _row: f"{name} is empty; every answer needs one"


def _bad_choice(choice: str) -> str:
    remedy = "write it in lower case" if choice.lower() in CHOICES else "write one of these"
    return f"choice {choice!r} is not left, right or same; {remedy}"


def _arm_problems(frame: pd.DataFrame, lines: np.ndarray) -> Iterator[_Problem]:
    """Yield what is wrong with the arms of single rows."""
    left, right = frame["left_arm"], frame["right_arm"]
    yield _first(
        (left == right) & (left != ""),
        lines,
        lambda row: f"left_arm and right_arm are both {left.iloc[row]!r}; a pair compares two different arms",
    )
    yield _first(
        (left == RESERVED_ARM) | (right == RESERVED_ARM),
        lines,
        lambda _row: f"an arm cannot be called {RESERVED_ARM!r}, the report's word for no preference; rename it",
    )


def _duplicate(frame: pd.DataFrame, lines: np.ndarray) -> _Problem:
    """Find the first ordinary answer by a rater who has answered that pair before."""
    keys = frame[["rater", "pair"]].apply(lambda column: pd.factorize(column)[0])

    def say(row: int) -> str:
        rater, pair = frame["rater"].iloc[row], frame["pair"].iloc[row]
        same = (keys["rater"] == keys["rater"].iloc[row]) & (keys["pair"] == keys["pair"].iloc[row]) & counted
        before = int(lines[np.flatnonzero(same.to_numpy())[0]])
        return f"rater {rater!r} has already answered pair {pair!r} on line {before}; keep one of the two"

    counted = (frame["kind"].isin(["", "ordinary"])) if "kind" in frame else pd.Series(data=True, index=frame.index)
    again = keys[counted].duplicated().reindex(frame.index, fill_value=False)
    return _first(again, lines, say)


def _other_arms(frame: pd.DataFrame, lines: np.ndarray) -> _Problem:
    """Find the first answer whose pair was shown with other arms before."""
    pair = pd.factorize(frame["pair"])[0]
    codes, names = pd.factorize(pd.concat([frame["left_arm"], frame["right_arm"]]))
    left, right = np.split(codes, 2)
    arms = np.minimum(left, right) * len(names) + np.maximum(left, right)
    leader = pd.Series(np.arange(len(frame))).groupby(pair).transform("first").to_numpy()

    def say(row: int) -> str:
        here, there = (
            " and ".join(sorted(frame.iloc[place][["left_arm", "right_arm"]])) for place in (row, leader[row])
        )
        return (
            f"pair {frame['pair'].iloc[row]!r} shows {here} here and {there} on line {lines[leader[row]]}; "
            "give every two images a pair of their own"
        )

    return _first(pd.Series(arms != arms[leader]), lines, say)


def _bad_number(column: pd.Series, lines: np.ndarray) -> _Problem:
    bad = (column != "") & ~column.str.fullmatch(_WHOLE)
    return _first(
        bad,
        lines,
        lambda row: f"{column.name} {column.iloc[row]!r} is not a whole number, 0 or more; mend it or leave it empty",
    )


def _bad_word(column: pd.Series, known: Sequence[str], lines: np.ndarray) -> _Problem:
    return _first(
        (column != "") & ~column.isin(known),
        lines,
        lambda row: f"{column.name} {column.iloc[row]!r} is none of {', '.join(known)}; mend it or leave it empty",
    )


def _whole_numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column.where(column != ""), errors="coerce").astype("Int64")


def _times(column: pd.Series, lines: np.ndarray) -> tuple[pd.Series, _Problem]:
    """Return the times in UTC and the first that is none."""
    # pandas also takes "now" and "today", which would put the wall clock into the data.
    shaped = column.where(column.str.fullmatch(_DATE))
    times = pd.to_datetime(shaped, format="ISO8601", utc=True, errors="coerce").astype("datetime64[us, UTC]")
    problem = _first(
        (column != "") & times.isna(),
        lines,
        lambda row: (
            f"answered_at {column.iloc[row]!r} is not an ISO 8601 time such as 2024-05-06T07:08:09Z; "
            "mend it or leave it empty"
        ),
    )
    return times, problem


def write_csv(frame: pd.DataFrame) -> str:
    """Return a frame of answers as an answers file, times in UTC with a Z; `parse_answers` reads it back."""
    return _with_text_times(frame).to_csv(index=False, lineterminator="\n")


def write_json(frame: pd.DataFrame) -> str:
    """Return a frame of answers as a JSON list of objects, missing values null."""
    return _with_text_times(frame).to_json(orient="records", force_ascii=False, indent=1) + "\n"


def _with_text_times(frame: pd.DataFrame) -> pd.DataFrame:
    times = frame["answered_at"]
    text = pd.Series(
        np.datetime_as_string(times.dt.tz_localize(None).to_numpy(), unit="us"), index=frame.index, dtype=str
    )
    names = [*COLUMNS, *(name for name in EXTRA if name in frame)]
    return frame[names].assign(answered_at=(text + "Z").where(times.notna()))
