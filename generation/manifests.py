"""Manifests of pairs: the list that goes with images, ours or any other generator's."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image as PillowImage

from generation.checkpoints import sha256_of, write_atomically
from generation.errors import DatasetError
from generation.plain import file_within, plain_image

COLUMNS = ("pair", "class_index", "class_name", "seed", "arm", "file", "sha256")
LONGEST_ARM, LONGEST_CLASS_NAME = 40, 200  # what a row has room for


@dataclass(frozen=True)
class ImageRecord:
    """A line of a manifest; `file` is relative to the manifest's folder."""

    pair: int
    class_index: int
    class_name: str
    seed: int
    arm: str
    file: str
    sha256: str


@dataclass(frozen=True)
class NumberedRecord:
    """A record and the number of the line that it stands on, the header being 1."""

    line: int
    record: ImageRecord


def write_manifest(path: Path, records: Iterable[ImageRecord]) -> None:
    """Write a manifest as CSV, a record at a time."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(record) for record in records)

    write_atomically(path, write)


def read_manifest(path: Path) -> list[NumberedRecord]:
    """Read a manifest and check that it describes whole pairs.

    Args:
        path: a CSV with the columns of COLUMNS, in any order; others are ignored.

    Returns:
        The records, in the file's order. Every pair has the same arms, and one class and seed.

    Raises:
        DatasetError: no such file, a missing column, a wrong value, a pair without its like: with the line's number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): give a manifest as CSV in UTF-8.") from error
    try:
        records = list(_parse(path, text))
    except csv.Error as error:
        raise DatasetError(f"{path} is no CSV that can be read ({error}): check its quotes.") from error
    if not records:
        raise DatasetError(f"{path} lists no images: it needs a line for each image of each arm.")
    _check_pairs(path, records)
    return records


def _parse(path: Path, text: str) -> Iterator[NumberedRecord]:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise DatasetError(f"{path}, line 1: two columns are named {twice[0]}; name each once.")
    if missing := [name for name in COLUMNS if name not in header]:
        raise DatasetError(f"{path}, line 1: no column {', '.join(missing)}; the header is {','.join(COLUMNS)}.")
    line = reader.line_num + 1
    for values in reader:
        if any(value.strip() for value in values):
            if len(values) != len(header):
                raise DatasetError(f"{path}, line {line}: {len(values)} values for {len(header)} columns.")
            row = {name: value.strip() for name, value in zip(header, values, strict=True)}
            yield NumberedRecord(line, _record(path, line, row))
        line = reader.line_num + 1


def _record(path: Path, line: int, row: dict[str, str]) -> ImageRecord:
    numbers = {}
    for name, digits in (("pair", 9), ("class_index", 9), ("seed", 18)):
        text = row[name]
        if not (text.isascii() and text.isdigit() and len(text) <= digits):
            raise DatasetError(
                f"{path}, line {line}: {name} is {text!r}; give a whole number, 0 or more, of at most {digits} digits."
            )
        numbers[name] = int(text)
    for name in ("class_name", "arm", "file", "sha256"):
        if not row[name]:
            raise DatasetError(f"{path}, line {line}: {name} is empty.")
    if not all(character.isascii() and (character.isalnum() or character in "-_") for character in row["arm"]):
        raise DatasetError(f"{path}, line {line}: arm is {row['arm']!r}; use letters, digits, - and _.")
    for name, longest in (("arm", LONGEST_ARM), ("class_name", LONGEST_CLASS_NAME)):
        if len(row[name]) > longest:
            raise DatasetError(f"{path}, line {line}: {name} has {len(row[name])} characters, {longest} at most.")
    return ImageRecord(
        **numbers, class_name=row["class_name"], arm=row["arm"], file=row["file"], sha256=row["sha256"].lower()
    )


def _check_pairs(path: Path, records: Sequence[NumberedRecord]) -> None:
    """Refuse a pair that lists an arm twice, lacks one, or is of two classes or seeds."""
    arms = sorted({numbered.record.arm for numbered in records})
    if len({arm.casefold() for arm in arms}) < len(arms):
        raise DatasetError(f"{path} has arms whose names differ only by case, of {', '.join(arms)}: rename one.")
    if len(arms) < 2:
        raise DatasetError(f"{path} has one arm only, {arms[0]!r}: pairs need two.")
    pairs: dict[int, dict[str, NumberedRecord]] = {}
    for numbered in records:
        record = numbered.record
        pair = pairs.setdefault(record.pair, {})
        if before := pair.get(record.arm):
            raise DatasetError(
                f"{path}, line {numbered.line}: pair {record.pair} has arm {record.arm!r} on line {before.line} too."
            )
        for other in pair.values():
            for name in ("class_index", "class_name", "seed"):
                theirs, ours = getattr(other.record, name), getattr(record, name)
                if theirs != ours:
                    raise DatasetError(
                        f"{path}, line {numbered.line}: {name} is {ours!r}, but line {other.line} of the same pair has "
                        f"{theirs!r}; a pair has one class and seed."
                    )
        pair[record.arm] = numbered
    for index, pair in pairs.items():
        if absent := [arm for arm in arms if arm not in pair]:
            line = next(iter(pair.values())).line
            raise DatasetError(f"{path}, line {line}: pair {index} has no image of arm {absent[0]!r}.")


def load_images(path: Path, records: Sequence[NumberedRecord]) -> Iterator[tuple[ImageRecord, PillowImage.Image]]:
    """Yield each record's image, all in one mode: grey where every file is grey, else colour.

    Args:
        path: the manifest; files are relative to its folder and must lie in it.
        records: what `read_manifest` returned.

    Yields:
        The record and its decoded image, of mode L or RGB.

    Raises:
        DatasetError: a file is missing, not the one that sha256 tells, no image, or of another size than its pair's
            first: with the line's number.
    """
    mode = "L" if all(_open(path, numbered).mode == "L" for numbered in records) else "RGB"
    sizes: dict[int, tuple[tuple[int, int], int]] = {}
    for numbered in records:
        image = _open(path, numbered)
        size, line = sizes.setdefault(numbered.record.pair, (image.size, numbered.line))
        if image.size != size:
            raise DatasetError(
                f"{path}, line {numbered.line}: {numbered.record.file} is {image.size[0]}x{image.size[1]}, but line "
                f"{line} of the same pair is {size[0]}x{size[1]}; raters could tell the arms apart by size."
            )
        yield numbered.record, image.convert(mode)


def _open(path: Path, numbered: NumberedRecord) -> PillowImage.Image:
    """Return the image that a line names, upright, opaque and in sRGB: of mode L or RGB."""
    where, record = f"{path}, line {numbered.line}", numbered.record
    try:
        file = file_within(path.parent, record.file)
        if file is not None and sha256_of(file) != record.sha256:
            raise DatasetError("is not the file that sha256 tells; make the manifest anew.")
        image = plain_image(file) if file is not None else None
    except DatasetError as error:
        raise DatasetError(f"{where}: {record.file} {error}") from error
    if image is None:
        raise DatasetError(f"{where}: no file {record.file} in {path.parent}.")
    return image
