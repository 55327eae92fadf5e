"""A study's answers, trials and exposures as files: row by row, so that a study of any size fits into memory."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import IO, Any

from .models import Study, Trial
from .monitoring import flags_by_rater
from .selectors import plan_of

CHUNK = 2000

TEXT, WHOLE, REAL, TIME = "text", "whole number", "number", "time (UTC, ISO 8601)"


@dataclass(frozen=True)
class Column:
    """One column of an export: its name, the kind of its values, and what they mean."""

    name: str
    kind: str
    meaning: str


_SHOWN = (
    Column(
        "rater", TEXT, "Who: the row's number behind r (simulated: behind simulated), or the name in an imported file"
    ),
    Column("pair", TEXT, "The pair's index; index:arm:arm in a study of more than two arms"),
    Column("left_arm", TEXT, "The arm on the left; in catch and practice trials image, copy or noise"),
    Column("right_arm", TEXT, "The arm on the right, likewise"),
)
_PLAN = Column("plan_sha256", TEXT, "Of the frozen plan")
_KIND = Column("kind", TEXT, "ordinary, repeat, catch or practice; only ordinary answers count")

TABLES: Mapping[str, tuple[Column, ...]] = {
    "answers": (
        *_SHOWN,
        Column("choice", TEXT, "left, right or same, as it stands after corrections"),
        Column("answered_at", TIME, "When the first choice arrived"),
        Column("response_ms", WHOLE, "From both images painted to the first choice, in the browser"),
        Column("position", WHOLE, "Place in this rater's order, from 1"),
        Column("class_name", TEXT, "The class that both images were asked for"),
        _KIND,
        Column("expected", TEXT, "The right choice of a catch or practice trial"),
        Column("flags", TEXT, "The rater's quality flags, split by ;"),
        Column("first_choice", TEXT, "Before any correction"),
        Column("revised_at", TIME, "When it was corrected last"),
        _PLAN,
    ),
    "trials": (
        *_SHOWN,
        Column("position", WHOLE, "Place in this rater's order, from 1"),
        Column("class_name", TEXT, "The class that both images were asked for"),
        _KIND,
        Column("state", TEXT, "held, stale, answered, skipped or void"),
        Column("skip_reason", TEXT, "image or timeout"),
        Column("issued_at", TIME, "When it was given out"),
        Column("choice", TEXT, "left, right or same; empty without an answer"),
        _PLAN,
    ),
    "exposures": (
        *_SHOWN,
        Column("position", WHOLE, "Place in this rater's order, from 1"),
        _KIND,
        Column("shown_at", TIME, "By the browser's clock, as all times here"),
        Column("painted_at", TIME, "When both images were on the screen"),
        Column("answered_at", TIME, "Empty where the showing ended without an answer"),
        Column("focus_losses", WHOLE, "How often the page lost the focus or was hidden"),
        Column("image_width", REAL, "Of either image as rendered, in CSS pixels"),
        Column("image_height", REAL, "Likewise"),
        Column("pixel_ratio", REAL, "Device pixels per CSS pixel"),
        Column("viewport_width", WHOLE, "Of the browser's window, in CSS pixels"),
        Column("viewport_height", WHOLE, "Likewise"),
        _PLAN,
    ),
}

FORMATS = ("csv", "json", "parquet")
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}

Row = dict[str, Any]


def rows(study: Study, table: str, *, simulated: bool = False, every_kind: bool = False) -> Iterator[Row]:
    """Yield a table's rows, by rater and then in the order shown.

    Args:
        study: Whose.
        table: One of `TABLES`.
        simulated: False for the real raters, True for the simulated ones. The two are never mixed.
        every_kind: Whether `answers` has practice trials, catch trials and repeats too; the other tables always do.
    """
    plan = plan_of(study)
    shared = {"plan_sha256": plan.sha256 if plan else ""}
    several = study.arms.count() > 2  # two arms need no names in a pair's name
    trials = Trial.objects.filter(rater__study=study, rater__simulated=simulated)
    if table == "answers":
        trials = trials.filter(response__isnull=False)
        trials = trials if every_kind else trials.filter(kind=Trial.Kind.ORDINARY)
    trials = trials.select_related("rater", "pair__first_arm", "pair__second_arm").order_by("rater_id", "position")
    details = {"answers": _answer, "trials": _trial}.get(table)
    flags = flags_by_rater(study, simulated=simulated) if table == "answers" else {}
    prefetched = "exposures" if details is None else "response__revisions"
    for trial in trials.prefetch_related(prefetched).iterator(chunk_size=CHUNK):
        told = _shown(trial, several=several) | shared
        found = _exposures(trial) if details is None else [details(trial, flags)]
        for detail in found:
            row = told | detail
            yield {column.name: row.get(column.name) for column in TABLES[table]}


def _answer(trial: Trial, flags: Mapping[int, tuple[str, ...]]) -> Row:
    response = trial.response
    revisions = list(response.revisions.all())
    return {
        "choice": response.choice,
        "answered_at": response.answered_at,
        "response_ms": response.response_ms,
        "flags": ";".join(flags.get(trial.rater_id, ())),
        "first_choice": revisions[0].before if revisions else response.choice,
        "revised_at": revisions[-1].revised_at if revisions else None,
    }


def _trial(trial: Trial, _flags: Mapping[int, tuple[str, ...]]) -> Row:
    response = getattr(trial, "response", None)
    return {
        "state": trial.state,
        "skip_reason": trial.skip_reason,
        "issued_at": trial.issued_at,
        "choice": response.choice if response else None,
    }


def _exposures(trial: Trial) -> list[Row]:
    return [{name: getattr(shown, name) for name in _MEASURED} for shown in trial.exposures.all()]


_MEASURED = tuple(column.name for column in TABLES["exposures"][6:-1])


def _shown(trial: Trial, *, several: bool) -> Row:
    """Return what every table tells of a trial."""
    pair = trial.pair
    name = f"{pair.index}:{pair.first_arm.name}:{pair.second_arm.name}" if several else str(pair.index)
    left, right = trial.left_arm, trial.right_arm
    sides = [left.name if left else "", right.name if right else ""]
    kind = str(trial.kind)
    if trial.kind == Trial.Kind.SAME:
        sides = ["image", "copy"] if trial.first_is_left else ["copy", "image"]
    elif trial.kind in {Trial.Kind.NOISE, Trial.Kind.PRACTICE}:
        sides = ["image", "noise"] if trial.first_is_left else ["noise", "image"]
    if trial.right_answer is not None:
        name = f"{trial.kind}:{name}"
        kind = "practice" if trial.kind == Trial.Kind.PRACTICE else "catch"
    return {
        "rater": trial.rater.name,
        "pair": name,
        "left_arm": sides[0],
        "right_arm": sides[1],
        "position": trial.position,
        "class_name": pair.class_name,
        "kind": kind,
        "expected": trial.right_answer,
    }


def write(stream: IO[bytes], table: str, data: Iterator[Row], *, file_format: str) -> int:
    """Write rows to a stream as they come; return how many.

    Args:
        stream: Takes bytes; need not be seekable.
        table: One of `TABLES`.
        data: What `rows` yields.
        file_format: One of `FORMATS`.
    """
    if file_format == "parquet":
        return _write_parquet(stream, table, data)
    count = 0
    for count, text in enumerate(lines(table, data, file_format=file_format)):  # noqa: B007 (the last number is asked for)
        stream.write(text.encode())
    return count - (file_format == "json")


def pieces(table: str, data: Iterator[Row], *, file_format: str) -> Iterator[bytes]:
    """Yield a file's bytes piece by piece, to be sent as they come."""
    if file_format != "parquet":
        yield from (text.encode() for text in lines(table, data, file_format=file_format))
        return
    # Parquet's end is an index of what came before: the file is written to disk first, and sent from there.
    with tempfile.TemporaryFile() as file:
        _write_parquet(file, table, data)
        file.seek(0)
        while piece := file.read(65_536):
            yield piece


def lines(table: str, data: Iterator[Row], *, file_format: str) -> Iterator[str]:
    """Yield the pieces of a CSV or JSON file: its head, a piece for each row and, of JSON, its end."""
    names = [column.name for column in TABLES[table]]
    if file_format == "csv":
        yield _csv_line(names)
        for row in data:
            yield _csv_line([_text(row[name]) for name in names])
        return
    yield "["
    for place, row in enumerate(data):
        plain = {name: _text(value) if isinstance(value, datetime) else value for name, value in row.items()}
        yield ("," if place else "") + "\n" + json.dumps(plain, ensure_ascii=False)
    yield "\n]\n"


def _csv_line(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value)


def _write_parquet(stream: IO[bytes], table: str, data: Iterator[Row]) -> int:
    # Loaded here: a web worker that exports no Parquet does without.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds: dict[str, Callable[[], Any]] = {
        TEXT: pa.string,
        WHOLE: pa.int64,
        REAL: pa.float64,
        TIME: lambda: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([pa.field(column.name, kinds[column.kind]()) for column in TABLES[table]])
    count = 0
    with pq.ParquetWriter(stream, schema) as writer:
        while chunk := list(islice(data, CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count
