"""What decided the pixels of several arms, side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "–"


@dataclass(frozen=True)
class SettingRow:
    """One setting.

    Attributes:
        name: dotted, `preset.image.size`.
        values: each arm's, as text.
    """

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the arms have different values."""
        return len(set(self.values)) > 1


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 -- JSON
    """Yield nested values as dotted names and texts."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, start=1):
            yield from flat(item, f"{name} {number}")
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, "" if value is None else str(value)


def side_by_side(settings: Mapping[str, Mapping[str, Any]]) -> list[SettingRow]:
    """Return the settings of some arms as rows, those in which the arms differ first.

    Args:
        settings: each arm's, by its name, which is left out of the rows.
    """
    tables = [dict(flat(dict(values))) for values in settings.values()]
    names = [name for name in dict.fromkeys(name for table in tables for name in table) if name != "arm"]
    rows = [SettingRow(name, tuple(table.get(name, ABSENT) for table in tables)) for name in names]
    return sorted(rows, key=lambda row: not row.differs)
