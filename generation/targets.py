"""What a pair is guided towards: a class, or several at once; and how people write that."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from generation.classes import short_list
from generation.errors import SettingsError
from generation.presets import Image, Preset

LONGEST_NAME = 200  # what a row has room for
SIGNS = re.compile("([+,])")


@dataclass(frozen=True)
class Target:
    """One or more classes that an image is to be of, all at once.

    Attributes:
        classes: their indices, ascending.
        index: the manifest's `class_index`. A class has its own; combinations are numbered on from the preset's
            classes, in the order in which they were asked for.
        name: the manifest's `class_name`: `sneaker`, or `sneaker + bag`.
    """

    classes: tuple[int, ...]
    index: int
    name: str

    @property
    def setting(self) -> int | list[int]:
        """The target as a run's settings have it."""
        return self.classes[0] if len(self.classes) == 1 else list(self.classes)


def all_classes(image: Image) -> tuple[Target, ...]:
    """Return every class of a preset, each for itself."""
    return tuple(Target((index,), index, image.name_of(index)) for index in range(image.classes))


def resolve_targets(preset: Preset, texts: Sequence[str]) -> tuple[Target, ...]:
    """Read what somebody wrote after `--classes`.

    Args:
        preset: whose classes they are.
        texts: class names in any case, synonyms or indices; with commas between targets, `sneaker,bag`, and plus
            signs between the classes of one, `sneaker+bag`. A name that has such a sign itself is read as that name
            wherever it fits.

    Returns:
        The targets, in order; without texts all classes.

    Raises:
        SettingsError: a class that the preset does not have, or a class or a combination twice.
    """
    image = preset.image
    if not texts:
        return all_classes(image)
    combinations = [combination for text in texts for combination in _combinations(preset, text)]
    written = ", ".join(texts)
    if len(set(combinations)) < len(combinations) or any(len(set(c)) < len(c) for c in combinations):
        raise SettingsError(f"--classes names a class twice: {written}.")
    return number_targets(image, combinations)


def number_targets(image: Image, combinations: Sequence[tuple[int, ...]]) -> tuple[Target, ...]:
    """Return the targets of classes and combinations of classes, in order.

    Raises:
        SettingsError: a combination's name is too long.
    """
    targets, after = [], image.classes
    for combination in combinations:
        name = " + ".join(image.name_of(index) for index in combination)
        if len(name) > LONGEST_NAME:
            raise SettingsError(
                f"The name {name[:40] + '...'!r} has {len(name)} characters, {LONGEST_NAME} at most: "
                "take fewer classes at once, or shorter names."
            )
        targets.append(Target(combination, combination[0] if len(combination) == 1 else after, name))
        after += len(combination) > 1
    return tuple(targets)


def _combinations(preset: Preset, text: str) -> list[tuple[int, ...]]:
    """Split `dress,sneaker+bag` at its commas and plus signs, but not within a class name."""
    words = SIGNS.split(text)
    pieces, signs = words[::2], [*words[1::2], ""]
    reading = _read(preset.image, pieces, signs)
    if reading is None:
        unknown = next((piece for piece in pieces if _class_of(preset.image, piece) is None), text)
        raise SettingsError(f"No class {unknown.strip()!r} in preset {preset.name}: it has {_classes_of(preset)}.")
    combinations, current = [], []
    for index, sign in reading:
        current.append(index)
        if sign != "+":
            combinations.append(tuple(sorted(current)))
            current = []
    return combinations


def _read(image: Image, pieces: Sequence[str], signs: Sequence[str]) -> list[tuple[int, str]] | None:
    """Join pieces to class names, each with the sign after it; of several ways that with the longest first name.

    Going from the end, `rests[i]` is how the pieces from i on read, or None where they don't.
    """
    most = 1 + max((len(SIGNS.findall(name)) for name in (*image.class_names, *image.synonyms)), default=0)
    rests: list[list[tuple[int, str]] | None] = [None] * len(pieces) + [[]]
    for start in reversed(range(len(pieces))):
        for end in range(min(start + most, len(pieces)), start, -1):
            parts = zip(pieces[start:end], [*signs[start : end - 1], ""], strict=True)
            index, rest = _class_of(image, "".join(piece + sign for piece, sign in parts)), rests[end]
            if index is not None and rest is not None:
                rests[start] = [(index, signs[end - 1]), *rest]
                break
    return rests[0]


def _class_of(image: Image, word: str) -> int | None:
    index = image.index_of(word)
    digits = word.strip()
    if index is None and digits.isascii() and digits.isdigit() and int(digits) < image.classes:
        return int(digits)
    return index


def _classes_of(preset: Preset) -> str:
    image = preset.image
    return short_list(image.class_names) if image.class_names else f"the indices 0 to {image.classes - 1}"
