"""What a shipment of journal records does to the ledger."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.runs import FINISHED, STATUSES, Shipped, checked_key
from everloop.domain.times import from_micros, micros
from everloop.errors import Conflict, InvalidInput
from everloop.store.ledger import Transaction
from everloop.store.schema.tracking import metric_blocks, run_metrics, run_output, runs
from everloop.tracking import records, writing
from everloop.tracking.blocks import Points, Summary, encode
from everloop.tracking.compacting import compact

_EARLIEST, _LATEST = micros(datetime(1, 1, 1, tzinfo=UTC)), micros(datetime(9999, 12, 31, tzinfo=UTC))


class _Batch:
    """The records of a shipment sorted by what they say."""

    def __init__(self, found: list[list[Any]], first: int) -> None:
        self.steps: dict[str, list[int]] = defaultdict(list)
        self.times: dict[str, list[int]] = defaultdict(list)
        self.values: dict[str, list[float]] = defaultdict(list)
        self.columns: dict[str, list[Points]] = defaultdict(list)
        self.params: list[dict[str, str]] = []
        self.tags: dict[str, str] = {}
        self.end: tuple[str, int] | None = None
        self.lost = 0
        self.output: list[tuple[int, str, int, list[str]]] = []
        """Number of the first record, stream, time, and texts of what was printed to one stream in a row."""
        for self._number, record in enumerate(found, first):
            self._take(*record)

    def _say(self, stream: str, text: str, time: int) -> None:
        if stream not in ("stdout", "stderr"):
            raise ValueError(f"there is no stream {stream!r}")
        if not _EARLIEST <= time <= _LATEST:
            raise ValueError("a time beyond the years 1 to 9999")
        if self.output and self.output[-1][1] == stream:
            self.output[-1][3].append(text)
        else:
            self.output.append((self._number, stream, time, [text]))

    def _take(self, kind: int, *rest: Any) -> None:
        if kind == records.POINT:
            key, value, step, time = rest
            self.steps[key].append(step)
            self.times[key].append(time)
            self.values[key].append(value)
        elif kind == records.POINTS:
            values, steps, time = rest
            numbers = msgspec.convert(values, dict[str, float])
            each_step = steps if isinstance(steps, list) else [steps] * len(numbers)
            for (key, value), step in zip(numbers.items(), each_step, strict=True):
                self._take(records.POINT, key, value, step, time)
        elif kind == records.COLUMN:
            import numpy as np

            key, steps, times, values = rest
            points = Points(
                np.frombuffer(steps, "<i8"), np.frombuffer(times, "<i8"), np.frombuffer(values, "<f8")
            )
            if not len(points.steps) == len(points.times) == len(points.values):
                raise ValueError("columns of different length")
            self.columns[key].append(points)
        elif kind == records.PARAMS:
            self.params.append(msgspec.convert(rest[0], dict[str, str]))
        elif kind == records.TAGS:
            self.tags |= msgspec.convert(rest[0], dict[str, str])
        elif kind == records.END:
            status, time = msgspec.convert(rest, tuple[str, int])
            if status not in STATUSES:
                raise ValueError(f"there is no status {status!r}")
            self.end = status, time
        elif kind == records.LOST:
            count, reason = msgspec.convert(rest, tuple[int, str])
            self.lost += count
            self.tags["everloop.lost"] = f"{self.lost} records: {reason}"
        elif kind == records.OUTPUT:
            stream, text, time = msgspec.convert(rest, tuple[str, str, int])
            self._say(stream, text, time)
        else:
            raise ValueError(f"there is no kind {kind!r}")

    def points(self) -> dict[str, Points]:
        """The points of each metric in the order they were logged."""
        found: dict[str, Points] = {}
        for key in [*self.values, *(key for key in self.columns if key not in self.values)]:
            checked_key(key, "metric")
            parts = list(self.columns.get(key, []))
            if key in self.values:
                parts.append(Points.of(self.steps[key], self.times[key], self.values[key]))
            joined = Points.joined(parts)
            if len(joined):
                if joined.times.min() < _EARLIEST or joined.times.max() > _LATEST:
                    raise ValueError("a time beyond the years 1 to 9999")
                found[key] = joined
        return found


def understood(found: list[list[Any]], first: int = 0) -> tuple[_Batch, dict[str, Points]]:
    """The records of a shipment and the points in them. Raises InvalidInput for what is no record."""
    try:
        batch = _Batch(found, first)
        return batch, batch.points()
    except (TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
        raise InvalidInput(f"a record cannot be understood: {error}") from None


class Shipment:
    """Journal records `first`, `first` + 1, … of a run, read before the ledger is locked: meanwhile others can write. Raises
    InvalidInput for what is no record."""

    def __init__(self, first: int, data: bytes) -> None:
        self.first = first
        self.found = records.decode_batch(data)
        self._whole = understood(self.found, first)

    def after(self, arrived: int) -> tuple[_Batch, dict[str, Points]]:
        """What it says from record `arrived` on: the records before that have come already."""
        return (
            self._whole if arrived == self.first else understood(self.found[arrived - self.first :], arrived)
        )


def receive(tx: Transaction, run_id: str, shipment: Shipment) -> Shipped:
    """Take in a shipment. Records that arrived before are passed over; a gap is refused."""
    row = writing.writable(tx, run_id)
    first = shipment.first
    if first > row.records:
        raise Conflict(
            f"records {row.records} to {first - 1} of run {run_id} are missing", hint="send those first"
        )
    count = first + len(shipment.found) - row.records
    if count <= 0:
        return Shipped(row.records)
    batch, points = shipment.after(row.records)
    add_points(tx, run_id, row.records, points)
    refused: list[str] = []
    for params in batch.params:
        refused += writing.set_params(tx, run_id, params, lenient=True)
    if batch.tags:
        writing.set_tags(tx, run_id, batch.tags)
    if batch.output:
        rows = [
            {
                "run": run_id,
                "record": record,
                "stream": stream,
                "time": from_micros(time),
                "text": "".join(texts),
            }
            for record, stream, time, texts in batch.output
        ]
        tx.execute(sa.insert(run_output), rows)
    arrived = row.records + count
    tx.execute(sa.update(runs).where(runs.c.id == run_id).values(records=arrived, heartbeat=tx.now))
    logged = {"first": row.records, "records": count, "metrics": len(points)}
    said = {"refused": refused, "lost": batch.lost}
    tx.event("run.logged", f"run:{run_id}", logged | {key: value for key, value in said.items() if value})
    if batch.end is not None:
        writing.end(tx, row, batch.end[0], from_micros(batch.end[1]))
        if batch.end[0] == FINISHED and row.records:  # what came all at once is in one block a metric
            compact(tx, run_id)
    return Shipped(arrived, refused)


FIRST_BLOCK = -(1 << 62)
"""Blocks of points that came without a journal are numbered from here up, out of the way of the journal's own numbers: by how
many points their metric had before."""


def add_points(tx: Transaction, run_id: str, record: int | None, points: dict[str, Points]) -> dict[str, int]:
    """Keep points, by metric, as blocks numbered `record` (None: they come without a journal), and bring what search reads up to
    date. A point that was the last of its metric already is the same point: it was sent twice. Returns how many points those
    metrics have now that got new ones."""
    if not points:
        return {}
    known = {row.key: Summary.of_row(dict(row._mapping)) for row in _summaries(tx, run_id, list(points))}
    new = {key: each for key, each in points.items() if key not in known or not known[key].ends_with(each)}
    if not new:
        return {}
    before = {key: known[key].count if key in known else 0 for key in new}
    tx.put(
        metric_blocks,
        [
            {
                "run": run_id,
                "key": key,
                "record": FIRST_BLOCK + before[key] if record is None else record,
                "count": len(each),
                "points": encode(each),
            }
            for key, each in new.items()
        ],
    )
    rows = []
    for key, each in new.items():
        summary = Summary.of(each)
        if key in known:
            summary = known[key].merged(summary)
        rows.append({"run": run_id, "key": key} | summary.row())
    writing.upsert(tx, run_metrics, rows)
    return {key: count + len(new[key]) for key, count in before.items()}


# Built once: what is sent for every point of a script that logs call by call.
_OF_RUN = sa.select(run_metrics).where(run_metrics.c.run == sa.bindparam("run_id"))
_OF_KEY = _OF_RUN.where(run_metrics.c.key == sa.bindparam("one_key"))
_OF_KEYS = _OF_RUN.where(run_metrics.c.key.in_(sa.bindparam("keys", expanding=True)))


def _summaries(tx: Transaction, run_id: str, keys: list[str]) -> Sequence[sa.Row[Any]]:
    if len(keys) == 1:
        return tx.execute(_OF_KEY, {"run_id": run_id, "one_key": keys[0]}).all()
    if len(keys) <= 500:
        return tx.execute(_OF_KEYS, {"run_id": run_id, "keys": keys}).all()
    return tx.execute(_OF_RUN, {"run_id": run_id}).all()
