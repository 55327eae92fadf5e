"""A number that cannot be had, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Absent:
    """Stands in a report where a statistic would stand.

    Attributes:
        reason: Why it cannot be had, as a clause that ends without a full stop.
    """

    reason: str
