"""Rows by day, or by month or year where they stretch over very many days: exact counts, and the gaps between them."""

from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.stats.arrays import Counts

Unit = Literal["day", "month", "year"]

SIZE = 5_000
"""Most days or months that are kept apart: over 13 years of days."""

_CODES: dict[Unit, str] = {"day": "D", "month": "M", "year": "Y"}
_COARSER: dict[Unit, Unit] = {"day": "month", "month": "year"}


class Gap(NamedTuple):
    """Units without a row between the two at `after` and `before`."""

    after: int
    before: int
    missing: int


class Calendar(msgspec.Struct, frozen=True, eq=False):
    """Counts by day, month or year since 1970: `at` in order, `counts`.

    >>> days = Calendar.of(np.array(["2013-01-01", "2013-01-02", "2013-01-05"], dtype="datetime64[D]"))
    >>> [gap.missing for gap in days.gaps()], days.label(days.gaps()[0].after)
    ([2], '2013-01-02')
    """

    unit: Unit
    at: NDArray[np.int64]
    counts: Counts
    size: int = SIZE

    @classmethod
    def of(cls, days: NDArray[np.datetime64], *, size: int = SIZE) -> "Calendar":
        """The state of a batch of days (n,), without missing ones."""
        at, counts = np.unique(days.astype("datetime64[D]").astype(np.int64), return_counts=True)
        return cls("day", at, counts.astype(np.int64), size)._settled()

    def merge(self, other: "Calendar") -> "Calendar":
        """Both parts as one: the same as if all rows had been seen together."""
        if self.size != other.size:
            raise ValueError(f"calendars of {self.size} and {other.size} places cannot be merged")
        first, second = self, other
        while first.unit != second.unit:
            # The finer one is made coarser.
            if list(_CODES).index(first.unit) < list(_CODES).index(second.unit):
                first = first._coarser()
            else:
                second = second._coarser()
        at, which = np.unique(np.concatenate((first.at, second.at)), return_inverse=True)
        counts = np.bincount(which, weights=np.concatenate((first.counts, second.counts)), minlength=at.size)
        return Calendar(first.unit, at, counts.astype(np.int64), self.size)._settled()

    def _settled(self) -> "Calendar":
        state = self
        while state.at.size > state.size and state.unit in _COARSER:
            state = state._coarser()
        return state

    def _coarser(self) -> "Calendar":
        unit = _COARSER[self.unit]
        moments = self.at.astype(f"datetime64[{_CODES[self.unit]}]")
        at, which = np.unique(
            moments.astype(f"datetime64[{_CODES[unit]}]").astype(np.int64), return_inverse=True
        )
        counts = np.bincount(which, weights=self.counts, minlength=at.size).astype(np.int64)
        return Calendar(unit, at, counts, self.size)

    def label(self, at: int) -> str:
        """A place as ISO text: ``2013-01-02``, ``2013-01`` or ``2013``."""
        return str(np.array(at).astype(f"datetime64[{_CODES[self.unit]}]"))

    def gaps(self) -> list[Gap]:
        """Places without any row between two that have some, the longest first."""
        jumps = np.flatnonzero(np.diff(self.at) > 1)
        found = [
            Gap(int(self.at[i]), int(self.at[i + 1]), int(self.at[i + 1] - self.at[i] - 1)) for i in jumps
        ]
        return sorted(found, key=lambda gap: (-gap.missing, gap.after))
