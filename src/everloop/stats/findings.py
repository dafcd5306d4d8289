"""What statistics say, as data: intervals, coefficients, labels that are probably wrong. Importing them needs no numpy."""

from __future__ import annotations

import msgspec


class Interval(msgspec.Struct, frozen=True):
    """An estimate with the ends of its confidence interval, all in the unit of the estimate."""

    estimate: float
    low: float
    high: float
    level: float

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the closed interval.

        >>> from everloop.stats.intervals import wilson
        >>> wilson(5, 10).contains(0.5)
        True
        """
        return self.low <= value <= self.high


class Coefficient(msgspec.Struct, frozen=True):
    """An agreement with its interval. estimate: None where it cannot be told, as when everybody always gave the same answer.
    items: how many it is computed from (those with two answers at least)."""

    name: str
    estimate: float | None
    interval: Interval | None
    items: int


class LabelErrors(msgspec.Struct, frozen=True):
    """What was found.

    thresholds: of each class; None for one that nobody gave.
    joint: how many items are given class i (row) and confidently of class j (column).
    estimated: the same scaled to the given classes' counts, as shares of all items: what was estimated of given x true class.
    candidates: items that are probably wrong, worst first.
    """

    thresholds: list[float | None]
    joint: list[list[int]]
    estimated: list[list[float]]
    candidates: list[Candidate]

    @property
    def share(self) -> float:
        """The estimated share of wrong labels."""
        return 1 - sum(row[at] for at, row in enumerate(self.estimated)) if self.estimated else 0.0


class Candidate(msgspec.Struct, frozen=True):
    """An item whose label is probably wrong: its row, the class given, the one it is confidently of, and the score it is ranked
    by (low is worse)."""

    row: int
    given: int
    suggested: int
    score: float
