"""Rows that come one by one from a stream: kept for history, and answered at once by the online store.

A pushed row is a row of the view's dataset. It is appended there as a new version, so the point-in-time join sees it by the same
rule as any other row, and what is online stays what history says. Then every stored version of every view over that dataset gets
the new values. The first comes before the second: whoever is interrupted in between pushes again, which adds nothing to the data
and completes the store.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from everloop.data.data import Data
from everloop.domain.datasets import Added, VersionRecord
from everloop.domain.featureviews import ViewRecord
from everloop.domain.names import shown
from everloop.domain.online import Pushed
from everloop.errors import InvalidInput, nearest
from everloop.features.increments import is_by_row
from everloop.features.online.at_hand import OnlineFeatures
from everloop.features.online.contract import NEVER, Held, Layout, Packed
from everloop.governance.identity import Permission
from everloop.governance.operations import operation

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader

TYPED = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]\Z")


class PushedFeatures(OnlineFeatures):
    """The part of the features room that takes rows from streams."""

    def push(self, view: str, rows: Any) -> Pushed:
        """Take in new rows of a view's dataset: anything that speaks Arrow, or a list of mappings. They are there for history and
        for `get` when this returns.

        The rows have the dataset's columns; one that is left out is null, unless the view needs it. Pushing the same rows again
        changes nothing. Push in batches: each call makes a version of the dataset. Raises InvalidInput when a value has another
        type than the column, or the view is not one row by one (a query or Python code of its own).
        """
        record = self.view(view)
        _require_rows(record)
        source = record.view.sources[0]
        newest = self.context.room(Data).version(source)
        table = self._fitting(record, newest, rows)
        self._fresh(
            record, newest.reference, table
        )  # what the view cannot compute is refused before it is kept
        with self._pushing:
            added = self.context.room(Data).add(table, source, f"pushed to {record.name}", append=True)
            now = self.context.clock()
            others, left = self._beside(record)
            applied, waiting = self._bring(record, added, table, now)
            for other in others:
                self._bring(other, added, table, now)
        return Pushed(
            reference=record.reference,
            data=added.reference,
            unchanged=added.unchanged,
            rows=table.num_rows,
            applied=applied,
            older=table.num_rows - waiting - applied,
            waiting=waiting,
            left=left,
        )

    @operation(Permission.WRITE)
    def push_rows(self, view: str, rows: list[dict[str, Any]]) -> Pushed:
        """Take in new rows of a view's dataset from a program that speaks HTTP: see `push`. Instants are text in ISO 8601, with
        their zone."""
        return self.push(view, rows)

    @operation(Permission.WRITE)
    def put_online(self, reference: str, layout: Layout, rows: list[Packed]) -> int:
        """Write pushed rows into the online store, unless it has newer ones; give how many. `push` computes them."""
        record = self.view(reference)
        held = Held(record.reference, record.name, record.version, layout, NEVER)
        return self._online.put(held, rows)

    # What becomes of a push

    def _bring(self, record: ViewRecord, added: Added, table: Any, now: datetime) -> tuple[int, int]:
        """Bring the store up to date for these entities: how many it answers otherwise now, and how many rows wait."""
        fresh = self._fresh(record, added.reference, table)
        if added.unchanged or record.view.aggregates:
            # What a window has now, and where rows that came before stand, only the whole history knows.
            layout, rows = self._whole(record, added, table).packed(record.reference, now, keys=table)
        else:
            layout, rows = fresh.packed(record.reference, now)
        applied = self.put_online(record.reference, layout, rows) if rows else 0
        return applied, fresh.waiting(record.reference, now)

    def _fresh(self, record: ViewRecord, reference: str, table: Any) -> "FeatureReader":
        """A reader of these rows alone."""
        from everloop.features.history.reader import FeatureReader, Selected

        [source] = record.view.sources
        selected = [Selected(record, each, each.name) for each in record.view.features]
        return FeatureReader(selected, {source: reference}, {source: table})

    def _whole(self, record: ViewRecord, added: Added, table: Any) -> Any:
        """A reader of the whole dataset, kept from push to push while nobody else adds to it."""
        [source] = record.view.sources
        known, reader = self._histories.get(record.reference, ("", None))
        if reader is not None and not added.unchanged and added.parent == known:
            reader.extend(source, table)
        elif reader is None or known != added.reference:
            name = record.reference.removeprefix("feature:")
            reader = self.stored_reader(name, at={source: added.reference})
        self._histories[record.reference] = (added.reference, reader)
        return reader

    def _beside(self, record: ViewRecord) -> tuple[list[ViewRecord], list[str]]:
        """Other stored view versions over the same data: those that the rows can be brought to, and those that must be
        materialised to show them."""
        source = record.view.sources[0]
        stored = [self.view(each.reference) for each in self.online_views()]
        others = [
            each for each in stored if source in each.view.sources and each.reference != record.reference
        ]
        by_row = [each for each in others if is_by_row(each.view)]
        return by_row, [each.reference for each in others if each not in by_row]

    # What may be pushed

    def _fitting(self, record: ViewRecord, newest: VersionRecord, rows: Any) -> Any:
        """The rows as a table with the columns and types of the dataset."""
        import pyarrow as pa

        from everloop.data.tables.parquet import arrow_table, is_arrow

        schema = self._schema(newest)
        if is_arrow(rows):
            given = arrow_table(rows)
            columns: dict[str, Any] = {name: given[name] for name in given.column_names}
            count = given.num_rows
        else:
            columns, count = _columns(rows)
        for name in columns:
            if name not in schema.names:
                raise InvalidInput(
                    f"dataset '{newest.name}' has no column {shown(name)}", hint=nearest(name, schema.names)
                )
        if not count:
            raise InvalidInput("no rows are pushed")
        for name in record.view.entity.keys:
            if name in schema.names and name not in columns:
                raise InvalidInput(
                    f"feature view '{record.name}' needs the key '{name}'", hint=nearest(name, columns)
                )
        fitted = [
            _typed(columns[field.name], field) if field.name in columns else pa.nulls(count, field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(fitted, schema=schema.remove_metadata())

    def _schema(self, newest: VersionRecord) -> Any:
        """The types of a dataset's columns, as they stand in its last file."""
        import pyarrow.parquet as pq

        known = self._schemas.get(newest.name)
        if known is not None and known[0] == newest.columns:
            return known[1]
        if newest.rows is None:
            raise InvalidInput(f"the files of {newest.reference} are not one table, so no row can be pushed")
        last = self.context.room(Data).manifest(newest).files[-1]
        if not last.path.lower().endswith(".parquet"):
            raise InvalidInput(
                f"{newest.reference} is kept as {last.path.rpartition('.')[2].upper()}, whose types are not certain",
                hint=f"add it as Parquet: everloop data add FILE.parquet --name {newest.name}",
            )
        with self.objects.open(last.digest) as stream:
            schema = pq.read_schema(stream)
        self._schemas[newest.name] = (newest.columns, schema)
        return schema

    @cached_property
    def _pushing(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _histories(self) -> dict[str, tuple[str, Any]]:
        return {}

    @cached_property
    def _schemas(self) -> dict[str, tuple[list[Any], Any]]:
        return {}


def _require_rows(record: ViewRecord) -> None:
    if not is_by_row(record.view):
        raise InvalidInput(
            f"feature view '{record.name}' has a query or code of its own, so its rows are not rows of its data",
            hint="add to the data, then: everloop features materialize",
        )


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, list[Any]], int]:
    """Rows as columns; a value that a row does not have is null."""
    if not isinstance(rows, Sequence) or not all(isinstance(each, Mapping) for each in rows):
        raise InvalidInput(
            f"a {type(rows).__name__} is no table",
            hint="give a table of pyarrow or pandas, or a list of mappings",
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}, len(rows)


def _typed(values: Any, field: Any) -> Any:
    """A column with the type that the dataset has. Raises InvalidInput naming it."""
    import pyarrow as pa

    is_list = isinstance(values, list)
    instant = TYPED.match(str(field.type)) is not None
    try:
        if is_list and instant:
            values = [_instant(value) for value in values]
        column = pa.array(values, None if is_list and instant else field.type) if is_list else values
        if instant and pa.types.is_timestamp(column.type) and column.type.tz is None:
            raise InvalidInput(f"'{field.name}' has times without a zone", hint="say which: … +00:00")
        return pa.chunked_array(
            [column.cast(field.type)] if is_list else column.cast(field.type).chunks, field.type
        )
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        ValueError,
        OverflowError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"'{field.name}' does not fit: {reason}", hint=f"the dataset has it as {field.type}"
        ) from None


def _instant(value: Any) -> datetime | None:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise ValueError(f"{value!r} is not an instant with a zone")
    return moment
