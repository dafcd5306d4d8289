"""The moments that will be asked about, and the rows of a view that can count at any of them.

A training set of four months out of ten years, or two hundred logged rows of one day, need not read what they cannot see.
That is sound because a window's number depends on the rows in it and on nothing else (see `everloop.features.history.windows`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.featureviews import FeatureView
from everloop.domain.times import from_micros, micros, require_zone

_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = micros(datetime.min.replace(tzinfo=UTC))
_LATEST = micros(datetime.max.replace(tzinfo=UTC))
"""What lies outside of these is not worth a bound, and databases need not know of it."""


class Span(NamedTuple):
    """From the first to the last of some moments, both included, in microseconds."""

    first: int
    last: int

    @classmethod
    def of(cls, moments: Any) -> Span | None:
        """Of a column of instants; None when it has none.

        >>> Span.of(pa.chunked_array([[5, None, 3]], pa.timestamp("us", "UTC")))
        Span(first=3, last=5)
        """
        found = pc.min_max(moments)
        if not found["min"].is_valid:
            return None
        instants = pa.timestamp("us", "UTC")
        return cls(*(found[each].cast(instants, safe=False).value for each in ("min", "max")))

    @classmethod
    def between(cls, since: datetime | None, until: datetime | None) -> Span:
        """From one instant to another, None where there is no bound. Raises InvalidInput for times without a zone.

        >>> Span.between(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None).first
        1000000
        """
        return cls(
            _EARLIEST - 1 if since is None else micros(require_zone(since, "since")),
            _LATEST + 1 if until is None else micros(require_zone(until, "until")),
        )

    def widened(self, *, back: int, ahead: int) -> Span:
        """With so many microseconds before and behind."""
        return Span(self.first - back, self.last + ahead)

    def __str__(self) -> str:
        return " to ".join(
            str(from_micros(each)) if _EARLIEST <= each <= _LATEST else "any time" for each in self
        )

    def covers(self, other: Span) -> bool:
        """Whether all of another lies in this one."""
        return self.first <= other.first and other.last <= self.last


def counting(view: FeatureView, span: Span, event: str, available: str) -> str:
    """A condition in SQL that holds for every row that counts at a moment of the span, and for few others.

    event, available: expressions of a row's event time and of its availability, the latter empty where the data do not say it.

    What became known after the last moment counts at none. What became known longer before the first one than the longest
    window and the time to live are is in no window, and too old to answer; nor does it hide an older row that would, as that
    is too old as well. A column without a time to live answers for ever.
    """
    lead = 0 if available else max(view.available_after // _MICROSECOND, 0)
    first, last = _longest_ago(view, span.first), span.last
    conditions = []
    if last <= _LATEST:
        latest = _instant(max(last - lead, _EARLIEST))
        conditions.append(f"({event}) <= {latest}")
        if available:
            conditions.append(f"(({available}) is null or ({available}) <= {latest})")
    if first is not None and first >= _EARLIEST:
        earliest = _instant(first - lead)
        later = f" or ({available}) >= {earliest}" if available else ""
        conditions.append(f"(({event}) >= {earliest}{later})")
    return " and ".join(conditions) or "true"


def _longest_ago(view: FeatureView, first: int) -> int | None:
    """The earliest time at which a row that counts may have become known; None when it may be any."""
    if view.columns and view.ttl is None:
        return None
    reaches = [each.over for each in view.aggregates] + ([view.ttl] if view.columns and view.ttl else [])
    return first - max(reaches, default=timedelta()) // _MICROSECOND


def _instant(moment: int) -> str:
    return f"make_timestamptz({moment}::bigint)"
