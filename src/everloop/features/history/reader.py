"""Several views made ready for many questions: for a training set of a million rows, or for every day of a replay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.tables.native_parquet import confine
from everloop.data.tables.parquet import arrow_table
from everloop.data.tables.scanning import KeptConnection
from everloop.domain.consumption import note
from everloop.domain.featureviews import Aggregate, Feature, FeatureView, ParityReport, ViewRecord
from everloop.domain.times import micros
from everloop.errors import InvalidInput, nearest
from everloop.features.history.keys import UNKNOWN, Codes
from everloop.features.history.rows import LONG_AGO, ViewRows, compute_rows
from everloop.features.history.span import Span
from everloop.features.history.timeline import Timeline, Times
from everloop.features.online.contract import Layout, Packed, encode_key, encode_values, lost_types, storable
from everloop.features.parity.comparing import compare

SOURCES = b"everloop.sources"
FEATURES = b"everloop.features"
_MICROSECOND = timedelta(microseconds=1)


class Selected(NamedTuple):
    """A feature that was asked for, and what its column is called in the answer."""

    record: ViewRecord
    feature: Feature | Aggregate
    column: str


class FeatureReader:
    """Features of pinned data versions, held in memory. Made by `Features.prepare`.

    selected: what to answer. sources: which version of each dataset is read. tables: those versions, by dataset name. within: the
    moments that will be asked about (None: any), so that only rows are read that can count at one of them.

    Reading is safe from several threads; `extend` is not, beside anything else.
    """

    def __init__(
        self,
        selected: Sequence[Selected],
        sources: Mapping[str, str],
        tables: Mapping[str, Any],
        within: Span | None = None,
    ) -> None:
        self.selected = list(selected)
        self.sources = dict(sources)
        self._within = within
        self._views: dict[str, FeatureView] = {each.record.reference: each.record.view for each in selected}
        self._timelines: dict[str, Timeline] = {}
        self._created: dict[str, Times] = {}
        self._connection = KeptConnection()
        # A view's SQL sees its datasets and nothing else: no file that nobody recorded, and none of a server's.
        confine(self._connection.get(), tables.values())
        for reference, view in self._views.items():
            rows = compute_rows(self._connection.get(), view, tables, within)
            self._timelines[reference] = Timeline(view, rows)
            self._created[reference] = _created(rows)

    @property
    def references(self) -> list[str]:
        """The view versions that answer: ``feature:weather@v2``."""
        return list(self._views)

    def timeline(self, reference: str) -> Timeline:
        """The rows of a view version that answers."""
        return self._timelines[reference]

    @property
    def columns(self) -> list[str]:
        """The columns of the answer, in order."""
        return [each.column for each in self.selected]

    def history(self, frame: Any, *, time: str) -> pa.Table:
        """The frame with a column for each feature, as it was known at the instant in column `time`.

        Every row of the frame comes back once, in its order, with its other columns. A feature is null where nothing was known,
        or only something too old, and where the time or a key is null. Raises InvalidInput when a key or time column is missing,
        or the time is without a zone.
        """
        table = arrow_table(frame)
        moments, no_moment = _moments(table, time)
        self._require_within(table[time])
        taken = [name for name in self.columns if name in table.column_names]
        if taken:
            raise InvalidInput(
                f"the frame has a column '{taken[0]}' already", hint="drop it, or ask with full_names=True"
            )
        found: dict[str, Any] = {}
        for reference in self._views:
            found |= self._known(table, reference, moments, no_moment)
        answer = table
        for name in self.columns:
            answer = answer.append_column(name, found[name])
        for reference in (*self.sources.values(), *self.references):
            note(reference)
        return answer.replace_schema_metadata({**(table.schema.metadata or {}), **self.metadata()})

    def _known(
        self, table: pa.Table, reference: str, moments: Times, no_moment: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        """The features of one view, by their columns in the answer."""
        asked = [each for each in self.selected if each.record.reference == reference]
        timeline = self._timelines[reference]
        entities, unnamed = self._codes(table, self._views[reference], timeline)
        found: dict[str, Any] = {}
        columns = [each for each in asked if isinstance(each.feature, Feature)]
        if columns:
            rows = timeline.latest(entities, moments)
            values = timeline.columns([each.feature.name for each in columns], rows)
            found |= {each.column: value for each, value in zip(columns, values, strict=True)}
        windows = [(each.column, each.feature) for each in asked if isinstance(each.feature, Aggregate)]
        if windows:
            numbers = timeline.aggregates([feature.name for _, feature in windows], entities, moments)
            for (column, feature), window in zip(windows, numbers, strict=True):
                found[column] = _numbers(window, feature, unnamed | no_moment)
        return found

    def extend(self, source: str, rows: Any) -> None:
        """Take in rows that have newly arrived at a dataset, as if they had been appended to the version that is read.

        Views over several datasets or with a query of their own are not row by row, so they must be prepared anew: asking it
        of them raises InvalidInput.
        """
        table = arrow_table(rows)
        reading = {reference: view for reference, view in self._views.items() if source in view.sources}
        if not reading:
            raise InvalidInput(f"no feature here reads '{source}'", hint=nearest(source, self.sources) or "")
        for view in reading.values():
            if not view.row_by_row:
                raise InvalidInput(
                    f"feature view '{view.name}' has a query or a function of its own",
                    hint="prepare the reader anew",
                )
        computed = {
            reference: compute_rows(self._connection.get(), view, {source: table})
            for reference, view in reading.items()
        }
        for reference, fresh in computed.items():
            self._timelines[reference].add(fresh)
            self._created[reference] = np.concatenate([self._created[reference], _created(fresh)])

    def metadata(self) -> dict[bytes, bytes]:
        """What an answer says of where it came from, in the metadata of its schema."""
        return {SOURCES: json.dumps(self.sources).encode(), FEATURES: json.dumps(self.references).encode()}

    def parity(self, logged: Any, *, time: str, tolerance: float | None = None) -> ParityReport:
        """Recompute logged features and compare them, value by value. See `everloop.features.parity.comparing`."""
        return compare(self, logged, time=time, tolerance=tolerance)

    def packed(self, reference: str, until: datetime, keys: Any | None = None) -> tuple[Layout, list[Packed]]:
        """Entities of a view as of a moment, for the online store: all of them, or those of `keys` (a table of key columns).
        Columns are kept however old: their age is judged when they are read."""
        view, timeline = self._views[reference], self._timelines[reference]
        table = timeline.known_keys() if keys is None else _distinct(arrow_table(keys), view.entity.keys)
        entities = timeline.keys.find([table[name] for name in view.entity.keys])
        moment = micros(until)
        moments = np.full(table.num_rows, moment)
        rows = timeline.latest(entities, moments, however_old=True)
        columns = [timeline.column(each.name, rows) for each in view.columns]
        for each in view.aggregates:
            none = np.zeros(table.num_rows, bool)
            columns.append(_numbers(timeline.aggregate(each.name, entities, moments), each, none))
        created = self._created[reference]
        computed = moments if view.aggregates or not len(created) else created[np.maximum(rows, 0)]
        events = np.where(rows < 0, moments, timeline.event_times(rows)) if view.columns else moments
        there = (entities != UNKNOWN) & (
            (rows >= 0)
            | (timeline.positions(entities, moments) > timeline.first_positions(np.maximum(entities, 0)))
        )
        kinds = [str(column.type) for column in columns]
        layout = Layout(
            keys=view.entity.keys,
            key_types=tuple(str(table.schema.field(name).type) for name in view.entity.keys),
            names=(*(each.name for each in view.columns), *(each.name for each in view.aggregates)),
            columns=len(view.columns),
            ttl=None if view.ttl is None else view.ttl // _MICROSECOND,
            types=lost_types(kinds),
        )
        values = [
            [storable(value, kinds[place]) for value in column.to_pylist()]
            if place in layout.types
            else column.to_pylist()
            for place, column in enumerate(columns)
        ]
        listed = zip(
            zip(*(table[name].to_pylist() for name in view.entity.keys), strict=True),
            events.tolist(),
            computed.tolist(),
            zip(*values, strict=True),
            there.tolist(),
            strict=True,
        )
        return layout, [
            Packed(encode_key(key), event, created, encode_values(row))
            for key, event, created, row, known in listed
            if known
        ]

    def waiting(self, reference: str, until: datetime) -> int:
        """How many rows of a view become known only after a moment."""
        events = self._timelines[reference].event_times(np.arange(len(self._created[reference])))
        return int((np.maximum(events, self._created[reference]) > micros(until)).sum())

    def _codes(
        self, table: pa.Table, view: FeatureView, timeline: Timeline
    ) -> tuple[Codes, npt.NDArray[np.bool_]]:
        for key in view.entity.keys:
            if key not in table.column_names:
                raise InvalidInput(
                    f"feature view '{view.name}' needs the key '{key}'",
                    hint=nearest(key, table.column_names) or "add it to the frame",
                )
        columns = [table[key] for key in view.entity.keys]
        unnamed = np.zeros(table.num_rows, bool)
        for column in columns:
            if column.null_count:
                unnamed |= _one_array(pc.is_null(column)).to_numpy(zero_copy_only=False)
        return timeline.keys.find(columns), unnamed

    def _require_within(self, moments: Any) -> None:
        """Other moments would be answered without the rows that count at them."""
        asked = Span.of(moments) if self._within is not None else None
        if self._within is not None and asked is not None and not self._within.covers(asked):
            raise InvalidInput(
                f"the features were prepared for {self._within}, and the frame asks about {asked}",
                hint="prepare them for all moments that will be asked about",
            )


def asked_about(table: pa.Table, time: str) -> Span | None:
    """The moments in a frame's column of instants; None when it has none. Raises InvalidInput as `FeatureReader.history`."""
    _require_instants(table, time)
    return Span.of(table[time])


def _moments(table: pa.Table, time: str) -> tuple[Times, npt.NDArray[np.bool_]]:
    _require_instants(table, time)
    column = table[time]
    numbers = _one_array(column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()))
    absent = _one_array(pc.is_null(numbers)).to_numpy(zero_copy_only=False)
    moments: Times = pc.fill_null(numbers, LONG_AGO).to_numpy(zero_copy_only=False)
    return moments, absent


def _require_instants(table: pa.Table, time: str) -> None:
    if time not in table.column_names:
        raise InvalidInput(
            f"the frame has no column '{time}'",
            hint=nearest(time, table.column_names) or "name the column of instants in time=…",
        )
    column = table[time]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise InvalidInput(
            f"the time '{time}' is {column.type}, not an instant with a time zone",
            hint="make it one: in pandas with tz_localize or utc=True, in Arrow timestamp('us', 'UTC')",
        )


def _created(rows: ViewRows) -> Times:
    """When each row was known as the data say it."""
    return rows.event if rows.created is None else rows.created


def _distinct(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The keys of a table, each once, without those that name no entity."""
    return table.select(list(names)).drop_null().group_by(list(names)).aggregate([])


def _numbers(values: npt.NDArray[np.float64], feature: Aggregate, absent: npt.NDArray[np.bool_]) -> pa.Array:
    missing = np.isnan(values) | absent
    if feature.function in ("count", "distinct"):
        return pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)
    return pa.array(values, mask=missing)


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
