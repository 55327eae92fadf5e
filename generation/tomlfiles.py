"""TOML files that mirror frozen dataclasses: sections are dataclasses, and every key and type is checked."""

import dataclasses
import difflib
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from generation.errors import GenerationError

T = TypeVar("T")


@dataclass(frozen=True)
class TomlReader:
    """Reads one kind of file.

    Attributes:
        top: what messages call the file's own keys, those above its first section.
        error: what bad input raises, in one line.
    """

    top: str
    error: type[GenerationError]

    def load(self, path: Path) -> dict[str, Any]:
        """Return a file's plain values.

        Raises:
            GenerationError: the reader's, where it is no TOML or cannot be read.
        """
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self.error(f"{path} is no valid TOML: {error}.") from error
        except OSError as error:
            raise self.error(f"{path} cannot be read ({error}): check the path.") from error

    def read(self, cls: type[T], table: Any, where: str | None = None, **known: Any) -> T:  # noqa: ANN401 -- any TOML
        """Return the dataclass that a table of plain values describes.

        Args:
            cls: a dataclass of whole numbers, numbers, texts, truth values, `Literal`s, tuples and dictionaries of
                these, and dataclasses; or any of these or None.
            table: the values.
            where: the section's name; the file itself, unless given.
            known: fields that the table does not have to give, and may not.

        Raises:
            GenerationError: the reader's, where a key is unknown or missing, or a value is of another type.
        """
        where = where or self.top
        if not isinstance(table, dict):
            raise self.error(f"[{where}] must be a section of keys, not {table!r}.")
        hints = typing.get_type_hints(cls)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in known}  # type: ignore[arg-type]
        for key in table:
            if key not in fields:
                raise self.error(f"Unknown key {key!r} in [{where}]: {_suggestion(key, list(fields))}.")
        missing = [
            name
            for name, f in fields.items()
            if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise self.error(f"[{where}] lacks {', '.join(missing)}: add the key{'s' if missing[1:] else ''}.")
        values = {
            key: self._value(hints[key], value, key if where == self.top else f"{where}.{key}")
            for key, value in table.items()
        }
        return cls(**values, **known)

    def _value(self, hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 -- one return per kind of value
        origin = typing.get_origin(hint)
        if isinstance(hint, types.UnionType) or origin is typing.Union:
            if value is None:
                return None
            return self._value(next(part for part in typing.get_args(hint) if part is not type(None)), value, where)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self.read(hint, value, where)
        if origin is tuple and isinstance(value, list | tuple):
            return tuple(self._value(typing.get_args(hint)[0], item, where) for item in value)
        if origin is dict and isinstance(value, dict):
            return {key: self._value(typing.get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}
        if origin is Literal and value in typing.get_args(hint):
            return value
        if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if hint in (int, str, bool) and type(value) is hint:
            return value
        raise self.error(f"{where} = {value!r} cannot be: expected {_describe(hint)}.")


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _describe(hint: Any) -> str:  # noqa: ANN401 -- a type, or a typing form
    origin = typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    if origin is tuple:
        return f"a list of {_describe(typing.get_args(hint)[0])}"
    if origin is dict:
        return f"a section of keys, each {_describe(typing.get_args(hint)[1])}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))
