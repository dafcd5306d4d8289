"""The rows of a view in the order they became known, and what was known of an entity at a moment.

Rows are sorted by entity, then by when they became known (the later of event and availability time), then by event time, then by
availability as the data say it, then as they stand in the data. Two facts follow, which the property tests hold it to:

- What counts for an entity at T is a run of its rows from its first one to a place that bisection finds.
- The answer of the column rule (latest event time, then latest availability, then last in the data) in such a run is the last
  row that has its greatest event time: among rows of equal event time a later availability never sorts earlier.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from everloop.domain.featureviews import FeatureView
from everloop.features.history.keys import UNKNOWN, Codes, KeyCodes
from everloop.features.history.rows import LONG_AGO, ViewRows, values_key
from everloop.features.history.windows import WindowValues

Times = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]

_MICROSECOND = timedelta(microseconds=1)
_WORTH_THREADS = 1 << 20
"""Values to fetch from which on threads are worth starting."""


class Timeline:
    """One view, ready to be asked. Rows may be added; questions never change it."""

    def __init__(self, view: FeatureView, rows: ViewRows) -> None:
        self._view = view
        self._codes = KeyCodes(view.entity.keys)
        self._columns: dict[str, Any] = {}
        self._values: dict[str, npt.NDArray[np.float64]] = {}
        self._marks: dict[str, KeyCodes] = {}
        empty = np.empty(0, np.int64)
        # In sorted order: entity, when known, event time, availability as the data say it, number of the row in the data.
        self._entity: Codes = empty
        self._known: Times = empty
        self._event: Times = empty
        self._created: Times = empty
        self._row: Positions = empty
        self._rows = 0
        self.add(rows)

    @property
    def keys(self) -> KeyCodes:
        return self._codes

    def add(self, rows: ViewRows) -> None:
        """Take rows in that stand after all others in the data; when they became known does not matter."""
        codes = self._codes.learn(rows.keys)
        self._keep(rows)
        created = rows.event if rows.created is None else rows.created
        known = np.maximum(rows.event, created)
        numbers = np.arange(self._rows, self._rows + rows.size)
        self._rows += rows.size
        named = codes != UNKNOWN
        fields = [codes, known, rows.event, created, numbers]
        if not named.all():
            fields = [each[named] for each in fields]
        order = sorted_order(*fields[:4])
        self._merge([each[order] for each in fields])
        self._index()

    def positions(self, codes: Codes, times: Times) -> Positions:
        """For each entity and moment: the place behind the last row that was known. The entity's first place when there is
        none."""
        asked = np.where(codes == UNKNOWN, 0, codes)
        low, high = self._starts[asked], self._starts[asked + 1]
        high = np.where(codes == UNKNOWN, low, high)
        while True:
            open_ = low < high
            if not open_.any():
                return low
            middle = (low + high) >> 1
            known = self._known[np.where(open_, middle, 0)] <= times
            low = np.where(open_ & known, middle + 1, low)
            high = np.where(open_ & ~known, middle, high)

    def first_positions(self, codes: Codes) -> Positions:
        """The place of an entity's first row."""
        return self._starts[codes]

    def latest(self, codes: Codes, times: Times, *, however_old: bool = False) -> Positions:
        """The number in the data of the row that answers for columns, -1 where none does: nothing known, or too old."""
        if not len(self._known):
            return np.full(len(codes), -1)
        behind = self.positions(codes, times)
        found = (codes != UNKNOWN) & (behind > self._starts[np.where(codes == UNKNOWN, 0, codes)])
        best = self._best[np.where(found, behind - 1, 0)]
        if self._view.ttl is not None and not however_old:
            found &= times - self._event[best] <= self._view.ttl // _MICROSECOND
        return np.where(found, self._row[best], -1)

    def columns(self, names: Sequence[str], rows: Positions) -> list[Any]:
        """Values of columns in rows of the data, null for -1."""
        missing = rows < 0
        indices, places = pa.array(rows, mask=missing), np.maximum(rows, 0)

        def taken(name: str) -> Any:
            column = self._columns[name]
            if len(column) and column.null_count == 0 and _plain(column.type):
                # Three times as quick as `take`, which looks at the validity of every value.
                return pa.array(np.take(column.to_numpy(), places), column.type, mask=missing)
            return column.take(indices)

        if len(rows) * len(names) < _WORTH_THREADS:
            return [taken(name) for name in names]
        with ThreadPoolExecutor(
            os.cpu_count() or 1
        ) as pool:  # numpy and Arrow let other threads run meanwhile
            return list(pool.map(taken, names))

    def column(self, name: str, rows: Positions) -> Any:
        """Values of one column, as `columns`."""
        return self.columns([name], rows)[0]

    def known_keys(self) -> pa.Table:
        """The keys of all entities, in the order of their codes."""
        return self._codes.table()

    def moments(self) -> tuple[Codes, Times]:
        """Of each row of a known entity: which entity, and when the row became known."""
        return self._entity, self._known

    def event_times(self, rows: Positions) -> Times:
        """Event times of rows of the data; meaningless for -1."""
        return self._by_row[np.maximum(rows, 0)]

    def aggregates(self, names: Sequence[str], codes: Codes, times: Times) -> list[npt.NDArray[np.float64]]:
        """The numbers of windows for each entity and moment, NaN where there is none."""
        places = {timedelta(): self.positions(codes, times)}
        answers = []
        for name in names:
            [declared] = [each for each in self._view.aggregates if each.name == name]
            # Moments before 1970 minus a window still fit; the moment that stands for a null does not.
            after = np.maximum(times, LONG_AGO // 2) - declared.over // _MICROSECOND
            if declared.over not in places:  # windows of one length begin at one place
                places[declared.over] = self.positions(codes, after)
            low, high = places[declared.over], places[timedelta()]
            values, function, least = (
                self._windows[values_key(declared)],
                declared.function,
                declared.min_count,
            )
            if declared.by == "event" and self._late:
                # Rows true after `after` became known after it too; among those, late news of older times do not count.
                answers.append(values.over_some(function, low, high, least, self._event, after))
            else:
                answers.append(values.over(function, low, high, least))
        return answers

    def aggregate(self, name: str, codes: Codes, times: Times) -> npt.NDArray[np.float64]:
        """The numbers of one window, as `aggregates`."""
        return self.aggregates([name], codes, times)[0]

    def _keep(self, rows: ViewRows) -> None:
        for name, column in rows.columns.items():
            known = self._columns.get(name)
            self._columns[name] = (
                column if known is None else pa.concat_arrays([known, column.cast(known.type)])
            )
        marks = {name: self._marked(name, marks) for name, marks in rows.marks.items()}
        for name, values in (rows.values | marks).items():
            known = self._values.get(name)
            self._values[name] = values if known is None else np.concatenate([known, values])

    def _marked(self, name: str, marks: Any) -> npt.NDArray[np.float64]:
        """Values of any type as numbers that are equal where they are, NaN where missing."""
        if pa.types.is_null(marks.type):
            return np.full(len(marks), np.nan)
        codes = self._marks.setdefault(name, KeyCodes((name,))).learn([marks])
        return np.where(codes == UNKNOWN, np.nan, codes)

    def _merge(self, fields: list[npt.NDArray[np.int64]]) -> None:
        mine = [self._entity, self._known, self._event, self._created, self._row]
        if len(self._entity):
            # Later in the data sorts last among equals, so the place is to the right of all that are equal in all fields.
            at = _places_right(mine[:4], fields[:4])
            merged = [np.insert(old, at, new) for old, new in zip(mine, fields, strict=True)]
        else:
            merged = fields
        self._entity, self._known, self._event, self._created, self._row = merged

    def _index(self) -> None:
        """All that follows from the order of the rows; linear, so that adding a few rows to many is cheap."""
        count = max(self._codes.count, 1)
        self._starts: Positions = np.searchsorted(self._entity, np.arange(count + 1))
        self._best = _running_latest(self._entity, self._event)
        self._by_row: Times = np.zeros(max(self._rows, 1), np.int64)
        self._by_row[self._row] = self._event
        self._late = bool(np.any(self._known > self._event))
        self._windows = {name: WindowValues(values[self._row]) for name, values in self._values.items()}


def sorted_order(entity: Codes, known: Times, event: Times, created: Times) -> Positions:
    """The order of rows by entity, known, event, created, and then as they stand.

    As `np.lexsort`, in a third of the time: entity and known fit into one number nearly always, and few rows are equal in it.
    """
    both = _packed(entity, known)
    if both is None:
        return np.lexsort((created, event, known, entity))
    order: Positions = np.argsort(both, kind="stable")
    ordered = both[order]
    tied = np.append(ordered[1:] == ordered[:-1], False)
    tied[1:] |= tied[:-1]
    if tied.any():
        rows = order[tied]
        order[tied] = rows[np.lexsort((created[rows], event[rows], both[rows]))]
    return order


def _packed(entity: Codes, times: Times) -> npt.NDArray[np.int64] | None:
    """Entity and time as one number that orders like the pair, None where 64 bits are too few for it."""
    if not len(entity):
        return entity
    first, last = int(times.min()), int(times.max())
    span = last - first + 1
    if (int(entity.max()) + 1) * span >= 2**63:
        return None
    return entity * span + (times - first)


def _running_latest(entity: Codes, event: Times) -> Positions:
    """For each place: the last place up to it, within the entity, that has the greatest event time so far."""
    places = np.arange(len(entity))
    if not len(entity):
        return places
    starts = np.append(True, entity[1:] != entity[:-1])
    if np.all(starts[1:] | (event[1:] >= event[:-1])):
        return places
    # With the entity in front one pass runs over all entities; ranks stand for times that would not fit beside it.
    ranks = _packed(entity, event)
    if ranks is None:
        ranks = np.unique(event, return_inverse=True)[1] + entity * (len(entity) + 1)
    records = ranks == np.maximum.accumulate(ranks)
    return np.maximum.accumulate(np.where(records, places, 0))


def _plain(kind: Any) -> bool:
    """Whether numpy has values of a type as they are."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _places_right(
    sorted_fields: list[npt.NDArray[np.int64]], wanted: list[npt.NDArray[np.int64]]
) -> Positions:
    """Where tuples belong among sorted tuples, behind equal ones: bisection field by field."""
    low = np.zeros(len(wanted[0]), np.int64)
    high = np.full(len(wanted[0]), len(sorted_fields[0]))
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = np.where(open_, (low + high) >> 1, 0)
        before = np.ones(
            len(low), bool
        )  # whether the tuple in the middle sorts before the wanted one, or equals it
        for mine, theirs in zip(reversed(sorted_fields), reversed(wanted), strict=True):
            here = mine[middle]
            before = (here < theirs) | ((here == theirs) & before)
        low = np.where(open_ & before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
