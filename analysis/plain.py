"""A frozen value as what JSON can hold."""

import math
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from analysis.absent import Absent


def plain(value: object) -> Any:  # noqa: ANN401
    """Return dictionaries, lists, texts and numbers for a frozen value; no NaN and no infinity, which become None.

    A dataclass becomes its fields and `available: true`; what cannot be had becomes `available: false` and the reason.

    Raises:
        TypeError: For a value that JSON cannot hold.
    """
    if isinstance(value, Absent):
        return {"available": False, "reason": value.reason}
    if is_dataclass(value) and not isinstance(value, type):
        return {"available": True} | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    message = f"{type(value).__name__} has no place in JSON"
    raise TypeError(message)
