"""Where in the log the predictions are that a batch of labels speaks of: the likely days first, the whole log last.

Labels mostly come within days, so the newest days are looked at first, then further back. Older ones are found through their
identifiers, which say when they were made, in the one part of the log that was received then. Only what is still missing after
that, labels by key alone or by identifiers of the caller's own, is looked for in all that is left, part by part.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.deployments import SegmentRecord
from everloop.domain.ids import made_at
from everloop.domain.monitors import DAY, Outcome, window_start
from everloop.domain.times import EPOCH
from everloop.monitoring import actuals

Span = tuple[datetime, datetime]
Answers = Callable[[datetime, datetime], pa.Table]
"""The live predictions with since <= time < until: prediction_id, key, time."""

SOON_DAYS = (2, 7)
SKEW = timedelta(minutes=1)
"""An identifier is made a little before its prediction is received."""


def match(
    table: pa.Table,
    received: datetime,
    outcome: Outcome,
    answers: Answers,
    segments: Callable[[], Sequence[SegmentRecord]],
) -> pa.Table:
    """The rows of a batch (`actuals.SCHEMA`) with their predictions filled in, however old those are. segments: the parts of the
    log, asked for only when the newest days do not do."""
    search = _Search(table, received, outcome, segments)
    for since, until in search.spans():
        rows = answers(since, until)
        if rows.num_rows:
            days = actuals.window_starts(rows["time"], outcome.day_starts_at)
            search.table = actuals.matched(search.table, rows, days)
        if search.done:
            break
    return search.table


class _Search:
    """A batch on the way to its predictions: `table` is how far it has come, `spans` says where to look next."""

    def __init__(
        self,
        table: pa.Table,
        received: datetime,
        outcome: Outcome,
        segments: Callable[[], Sequence[SegmentRecord]],
    ) -> None:
        self.table = table
        self._received = received
        self._outcome = outcome
        self._segments = segments

    @property
    def done(self) -> bool:
        """All rows have found theirs, or the others say the very moment of their prediction, which was looked at first."""
        left = self._left()
        return left.num_rows == 0 or (
            left["prediction_id"].null_count == left.num_rows and left["time"].null_count == 0
        )

    def spans(self) -> Iterator[Span]:
        table, shift = self.table, self._outcome.day_starts_at
        if table["time"].null_count == 0 and table.num_rows:
            named = pc.min_max(table["time"])
            first, last = (named[side].as_py().astimezone(UTC) for side in ("min", "max"))
            yield window_start(first, shift), window_start(last, shift) + DAY
        newest = pc.max(table["observed"]).as_py() or self._received
        until = end = window_start(newest.astimezone(UTC), shift) + DAY
        for days in (*SOON_DAYS, self._outcome.lookback_days):
            since = until - timedelta(days=days)
            if since < end:
                yield since, end
                end = since
        parts = self._segments()
        yield from _received_with(self._left()["prediction_id"].drop_null().to_pylist(), parts)
        oldest = min((each.first for each in parts), default=end)
        step = timedelta(days=self._outcome.lookback_days)
        while end > oldest:  # newest first, for of a key's predictions the newest is meant
            yield end - step, end
            end -= step
        yield EPOCH, end  # what is in no part yet: journals on their way

    def _left(self) -> pa.Table:
        return self.table.filter(pc.is_null(self.table["day"]))


def _received_with(identifiers: Iterable[str], parts: Sequence[SegmentRecord]) -> list[Span]:
    """The times of the predictions in those parts of the log that were received when the identifiers were made."""
    moments = sorted({moment for each in identifiers if (moment := made_at(each)) is not None})
    found = []
    for part in parts:
        next_made = bisect_left(moments, part.received_first - SKEW)
        if next_made < len(moments) and moments[next_made] <= part.received_last + SKEW:
            found.append((part.first, part.last + timedelta(microseconds=1)))
    return _merged(found)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans without overlaps, the newest first.

    >>> _merged([(EPOCH, EPOCH + DAY), (EPOCH + DAY / 2, EPOCH + 2 * DAY)]) == [(EPOCH, EPOCH + 2 * DAY)]
    True
    """
    merged: list[Span] = []
    for since, until in sorted(spans):
        if merged and since <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((since, until))
    return merged[::-1]
