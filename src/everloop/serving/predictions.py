"""The prediction log read back as tables: parts that rest as Parquet objects, and parts still in the server's journals.

Columns: prediction_id, time (when it happened), received (when the server took it), key, arm, mode, model, revision, seconds,
error, score, label, further outputs of the model, then the features as the model was fed them. A feature whose name is one of the
former is called ``feature.NAME``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from everloop.domain.times import from_micros, micros
from everloop.serving.frames import Frame, Packed, decode, unpack
from everloop.store.journal import read_journal

MOMENT = pa.timestamp("us", "UTC")

HEAD = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("time", MOMENT),
        ("received", MOMENT),
        ("key", pa.string()),
        ("arm", pa.string()),
        ("mode", pa.string()),
        ("model", pa.string()),
        ("revision", pa.int32()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
        ("score", pa.float64()),
        ("label", pa.string()),
    ]
)
"""The columns every prediction has."""

ROW_GROUP = 20_000
"""Rows of a Parquet row group: what is read at least to find one prediction."""


class Part(NamedTuple):
    """Rows of the log that were read together, and the earliest and latest time among them (microseconds)."""

    first: int
    last: int
    rows: pa.Table


class Segment:
    """One journal of a server, read as it grows: each record once. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = 0
        self._parts: list[Part] = []
        self._one_at_a_time = threading.Lock()

    def parts(self) -> list[Part]:
        """All records so far: what came between two looks is one part. NotFound when it was collected meanwhile."""
        with self._one_at_a_time:
            fresh, reached = [], self._end
            for end, payload in read_journal(self.path, self._end):
                fresh.append(decode(payload))
                reached = end
            if fresh:
                spans = [frame.span() for frame in fresh]
                low, high = min(first for first, _ in spans), max(last for _, last in spans)
                self._parts.append(Part(low, high, table_of(fresh).combine_chunks()))
                self._end = reached
            return list(self._parts)


def table_of(frames: Iterable[Frame]) -> pa.Table:
    """Frames as one table, in their order."""
    return joined([_frame_table(frame) for frame in frames])


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of several models one under the other; what one does not have is null there. A column that is a whole number in
    one and a fraction in another is a fraction."""
    return pa.concat_tables(tables, promote_options="permissive") if tables else HEAD.empty_table()


def within(
    table: pa.Table,
    since: datetime | None = None,
    until: datetime | None = None,
    arms: Sequence[str] | None = None,
    modes: Sequence[str] | None = None,
) -> pa.Table:
    """The rows whose time lies in [since, until), of these arms and modes."""
    masks = []
    if since is not None:
        masks.append(pc.greater_equal(table["time"], pa.scalar(since, MOMENT)))
    if until is not None:
        masks.append(pc.less(table["time"], pa.scalar(until, MOMENT)))
    for column, wanted in (("arm", arms), ("mode", modes)):
        if wanted is not None:
            masks.append(pc.is_in(table[column], pa.array(list(wanted), pa.string())))
    for mask in masks[1:]:
        masks[0] = pc.and_(masks[0], mask)
    return table.filter(masks[0]) if masks else table


def overlapping(
    parts: Iterable[Part], since: datetime | None = None, until: datetime | None = None
) -> list[pa.Table]:
    """The tables that may hold rows in [since, until)."""
    low = micros(since) if since is not None else None
    high = micros(until) if until is not None else None
    return [
        part.rows
        for part in parts
        if (low is None or part.last >= low) and (high is None or part.first < high)
    ]


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, sorted by time, in row groups small enough to fetch one."""
    sink = pa.BufferOutputStream()
    ordered = table.sort_by([("time", "ascending"), ("prediction_id", "ascending")])
    pq.write_table(ordered, sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue().to_pybytes()


def read_parquet(
    source: Any, since: datetime | None, until: datetime | None, columns: Sequence[str] | None
) -> pa.Table:
    """Rows of a stored segment whose time lies in [since, until); only row groups that may hold some are read."""
    with source, pq.ParquetFile(source) as file:
        wanted = [
            name for name in file.schema_arrow.names if columns is None or name in {*columns, *HEAD.names}
        ]
        groups = [group for group in range(file.num_row_groups) if _may_hold(file, group, since, until)]
        return within(file.read_row_groups(groups, columns=wanted), since, until)


def spans(table: pa.Table) -> tuple[datetime, datetime, datetime, datetime]:
    """Earliest and latest time, earliest and latest receipt."""
    times, received = pc.min_max(table["time"]), pc.min_max(table["received"])
    return times["min"].as_py(), times["max"].as_py(), received["min"].as_py(), received["max"].as_py()


def counts_by_model(table: pa.Table) -> dict[str, int]:
    """Rows of each model reference."""
    counted = table["model"].value_counts()
    return {each["values"]: each["counts"] for each in counted.to_pylist()}


def feature_names(table: pa.Table) -> list[str]:
    """The columns of a predictions table that are features or further outputs: all but those every prediction has."""
    return [name for name in table.column_names if name not in HEAD.names]


def _may_hold(file: pq.ParquetFile, group: int, since: datetime | None, until: datetime | None) -> bool:
    place = file.schema_arrow.get_field_index("time")
    statistics = file.metadata.row_group(group).column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return (since is None or statistics.max >= since) and (until is None or statistics.min < until)


def _frame_table(frame: Frame) -> pa.Table:
    rows = frame.rows
    columns: dict[str, pa.Array] = {
        "prediction_id": _ids(frame.ids),
        "time": _times(frame.times, rows),
        "received": pa.repeat(pa.scalar(from_micros(frame.received), MOMENT), rows),
        "key": pa.array(frame.keys, pa.string()) if frame.keys is not None else pa.nulls(rows, pa.string()),
        "arm": pa.repeat(frame.arm, rows),
        "mode": pa.repeat(frame.mode, rows),
        "model": pa.repeat(frame.model, rows),
        "revision": pa.repeat(pa.scalar(frame.revision, pa.int32()), rows),
        "seconds": pa.repeat(frame.seconds, rows),
        "error": pa.repeat(pa.scalar(frame.error or None, pa.string()), rows),
        "score": pa.nulls(rows, pa.float64()),
        "label": pa.nulls(rows, pa.string()),
    }
    for name, packed in frame.outputs.items():
        if name == "label":
            columns["label"] = _texts(packed)
        elif name == frame.score:
            columns["score"] = _array(packed)
        else:
            columns[f"feature.{name}" if name in HEAD.names else name] = _array(packed)
    for name, packed in frame.features.items():
        columns[f"feature.{name}" if name in columns else name] = _array(packed)
    return pa.table(columns)


def _array(packed: Packed) -> pa.Array:
    if isinstance(packed.data, list):
        return pa.array(packed.data, pa.string())
    if packed.kind == "M":
        return pa.array(unpack(packed)).cast(MOMENT)
    return pa.array(unpack(packed), from_pandas=True)


def _texts(packed: Packed) -> pa.Array:
    """Labels as text, whatever they were: true, 1 and 'late' meet in one column. Booleans become 0 and 1, as truth is."""
    if isinstance(packed.data, list):
        return pa.array(packed.data, pa.string())
    values = unpack(packed)
    return pa.array(
        (values.astype(np.int8) if values.dtype.kind == "b" else values).astype(str).tolist(), pa.string()
    )


def _ids(ids: bytes) -> pa.Array:
    """Identifiers as text, made of their hexadecimal digits without a Python object a row."""
    rows = len(ids) // 16
    offsets = np.arange(0, 32 * rows + 1, 32, dtype="<i4")
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(ids.hex().encode())]
    )


def _times(times: bytes | int, rows: int) -> pa.Array:
    values = (
        np.full(rows, times, dtype="<i8") if isinstance(times, int) else np.frombuffer(times, dtype="<i8")
    )
    return pa.array(values).cast(MOMENT)
