"""The truth that came later: reading it, finding its predictions, and one final label for each prediction.

Labels come late, unordered, twice, and corrected. A batch is kept as it came, with the prediction each row
belongs to; which label counts is decided when they are read: the one observed last, then the one received
last. So the order of arrival never matters.
"""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from everloop.errors import InvalidInput, NotFound, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTANT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("key", pa.string()),
        ("time", INSTANT),
        ("label", pa.float64()),
        ("observed", INSTANT),
        ("day", INSTANT),
    ]
)
"""A batch as it is kept. `time` is the prediction's time where the giver knew it; `day` the start of the
window of the prediction found, null while none is."""

Ints = NDArray[np.int64]

LABEL_NAMES = ("label", "actual", "value", "target", "y")
OBSERVED_NAMES = ("observed", "observed_at")


def read_table(given: pa.Table | str | Path) -> pa.Table:
    """An Arrow table from what a user gives: a table, or a Parquet, CSV or JSON-lines file. Raises NotFound,
    InvalidInput."""
    if isinstance(given, pa.Table):
        return given
    path = Path(given)
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="give a Parquet, CSV or JSON-lines file with labels")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix in {".json", ".jsonl", ".ndjson"}:
            import pyarrow.json as pj

            return pj.read_json(path)
        import pyarrow.csv as pv

        # An identifier of digits alone is still no number.
        text = {"prediction_id": pa.string(), "key": pa.string()}
        return pv.read_csv(path, convert_options=pv.ConvertOptions(column_types=text))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InvalidInput(
            f"{path} cannot be read: {error}", hint="give Parquet, CSV or JSON lines"
        ) from None


def normalised(table: pa.Table) -> pa.Table:
    """The rows in the columns of `SCHEMA` (day still null). A row names its prediction by `prediction_id`, or
    by `key` with the prediction's `time` where one key was asked about more than once.

    Raises InvalidInput: no label, nothing that names the prediction, a label that is no number, times without
    a zone.
    """
    names = table.column_names
    label = next((name for name in LABEL_NAMES if name in names), None)
    if label is None:
        raise InvalidInput(
            f"the actuals have no column 'label'; theirs are {', '.join(names)}",
            hint=nearest("label", names) or "name it label",
        )
    if "prediction_id" not in names and "key" not in names:
        raise InvalidInput(
            "the actuals do not say which prediction they belong to",
            hint="add a column prediction_id, or key and time",
        )
    observed = next((name for name in OBSERVED_NAMES if name in names), None)
    rows = table.num_rows
    columns = {
        "prediction_id": _text(table, "prediction_id", rows),
        "key": _text(table, "key", rows),
        "time": _instants(table, "time", rows),
        "label": _labels(table[label]),
        "observed": _instants(table, observed or "observed", rows),
        "day": pa.nulls(rows, INSTANT),
    }
    return pa.table(columns, schema=SCHEMA)


def matched(actuals: pa.Table, predictions: pa.Table, days: pa.Array) -> pa.Table:
    """`actuals` with `prediction_id`, `time` and `day` filled in where one of `predictions` is meant; rows
    that have a day are left.

    predictions: columns prediction_id, key, time. days: the start of each prediction's window. A row with a
    `prediction_id` means that one; a row with `key` and `time` the prediction of that key at that time; a row
    with only a `key` the newest prediction of that key that was made before the label was observed.
    """
    if predictions.num_rows == 0 or actuals.num_rows == 0:
        return actuals
    position = pc.index_in(actuals["prediction_id"], value_set=predictions["prediction_id"].combine_chunks())
    if actuals["key"].null_count < actuals.num_rows:
        position = pc.coalesce(position, _by_key(actuals, predictions))
    position = pc.if_else(pc.is_valid(actuals["day"]), pa.scalar(None, pa.int32()), position)
    filled = {
        "prediction_id": pc.coalesce(
            pc.take(predictions["prediction_id"], position), actuals["prediction_id"]
        ),
        "key": actuals["key"],
        "time": pc.coalesce(pc.take(predictions["time"].cast(INSTANT), position), actuals["time"]),
        "label": actuals["label"],
        "observed": actuals["observed"],
        "day": pc.coalesce(pc.take(days, position), actuals["day"]),
    }
    return pa.table(filled, schema=SCHEMA)


def latest(batches: Sequence[tuple[pa.Table, datetime]]) -> tuple[pa.Table, dict[str, int]]:
    """One label a prediction out of batches with the times they were received, in any order.

    Returns columns prediction_id, label, observed; and how many rows said nothing new (`duplicates`) or
    something else (`corrections`) than the row before them in the order of observation.
    """
    parts = []
    for table, received in batches:
        known = table.filter(pc.and_(pc.is_valid(table["prediction_id"]), pc.is_valid(table["label"])))
        stamp = pa.scalar(received.astimezone(UTC), INSTANT)
        parts.append(
            pa.table(
                {
                    "prediction_id": known["prediction_id"],
                    "label": known["label"],
                    "observed": pc.fill_null(known["observed"], stamp),
                    "received": pa.repeat(stamp, known.num_rows),
                }
            )
        )
    everything = pa.concat_tables(parts) if parts else _no_labels()
    order = pc.sort_indices(
        everything,
        sort_keys=[(name, "ascending") for name in ("prediction_id", "observed", "received", "label")],
    )
    rows = everything.take(order)
    if rows.num_rows == 0:
        return rows.select(["prediction_id", "label", "observed"]), {"duplicates": 0, "corrections": 0}
    ids = rows["prediction_id"].combine_chunks()
    labels = rows["label"].to_numpy()
    same = np.asarray(pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False), dtype=bool)
    last = np.append(~same, True)
    changed = same & (labels[1:] != labels[:-1])
    counts = {"duplicates": int((same & ~changed).sum()), "corrections": int(changed.sum())}
    return rows.filter(pa.array(last)).select(["prediction_id", "label", "observed"]), counts


def window_starts(times: pa.ChunkedArray | pa.Array, day_starts_at: float) -> pa.Array:
    """The start of the day window of each instant."""
    stamps = np.asarray(times.cast(INSTANT).cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    shift = int(day_starts_at * 3_600_000_000)
    day = 86_400_000_000
    return pa.array((stamps - shift) // day * day + shift, pa.int64()).cast(INSTANT)


def as_datetimes(days: pa.Array) -> list[datetime]:
    """The distinct instants of an array, sorted, nulls left out."""
    return sorted(value.astimezone(UTC) for value in pc.unique(days).to_pylist() if value is not None)


def _by_key(actuals: pa.Table, predictions: pa.Table) -> pa.Array:
    """The position of the prediction that each row means by its key, null where there is none.

    Predictions lie sorted by key, time and position, each a number: what a row means is found by one search for its own.
    """
    keys = pc.unique(predictions["key"])
    moments = _micros(predictions["time"])
    instants = np.unique(moments)

    def numbered(table: pa.Table, rank: Ints) -> Ints:
        key = pc.fill_null(pc.index_in(table["key"], value_set=keys, skip_nulls=True), -1).to_numpy()
        return np.where(key < 0, -1, key.astype(np.int64) * (len(instants) + 1) + rank)

    made = numbered(predictions, np.searchsorted(instants, moments))
    order = np.argsort(made, kind="stable")
    made = made[order]
    # With a time, the first of that very moment; without one, the last that was made before the truth was seen.
    exact = actuals["time"].is_valid().to_numpy()
    asked, seen = _micros(actuals["time"]), _micros(actuals["observed"])
    seen = np.where(actuals["observed"].is_valid().to_numpy(), seen, np.iinfo(np.int64).max)
    at = np.searchsorted(instants, asked)
    there = instants[np.minimum(at, len(instants) - 1)] == asked
    first = numbered(actuals, at)
    last = numbered(actuals, np.searchsorted(instants, seen, side="right") - 1)
    begin = np.searchsorted(made, numbered(actuals, np.zeros_like(at)))
    place = np.where(exact, np.searchsorted(made, first), np.searchsorted(made, last, side="right") - 1)
    inside = np.minimum(place, len(made) - 1)
    found = (first >= 0) & np.where(exact, there & (made[inside] == first), place >= begin)
    return pa.array(order[inside], pa.int32(), mask=~found)


def _micros(column: pa.ChunkedArray) -> Ints:
    """Instants as whole numbers of microseconds, 0 where there is none."""
    return np.asarray(pc.fill_null(column.cast(INSTANT).cast(pa.int64()), 0).to_numpy(), dtype=np.int64)


def _text(table: pa.Table, name: str, rows: int) -> Any:
    if name not in table.column_names:
        return pa.nulls(rows, pa.string())
    return table[name].cast(pa.string())


def _instants(table: pa.Table, name: str, rows: int) -> Any:
    if name not in table.column_names:
        return pa.nulls(rows, INSTANT)
    column = table[name]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pa.array([_instant(value, name) for value in column.to_pylist()], INSTANT)
    if not pa.types.is_timestamp(column.type):
        raise InvalidInput(
            f"the column '{name}' of the actuals holds no times",
            hint="give instants, such as 2026-01-01T00:00:00Z",
        )
    if column.type.tz is None:
        raise InvalidInput(f"the times in '{name}' have no time zone", hint="give instants in UTC")
    return column.cast(INSTANT)


def _instant(value: str | None, name: str) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(
            f"'{value}' in the column '{name}' is no time", hint="write 2026-01-01T00:00:00Z"
        ) from None
    if moment.tzinfo is None:
        raise InvalidInput(f"the times in '{name}' have no time zone", hint="give instants in UTC")
    return moment


def _labels(column: pa.ChunkedArray) -> Any:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        labels = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidInput("the labels are no numbers", hint="give 0 and 1, or a number") from None
    missing = len(labels) - int(pc.sum(pc.fill_null(pc.is_finite(labels), False)).as_py() or 0)
    if missing:
        raise InvalidInput(
            f"{missing} of {len(labels)} labels are missing or no finite number",
            hint="leave out the rows whose truth has not come",
        )
    return labels


def _no_labels() -> pa.Table:
    return pa.table(
        {
            "prediction_id": pa.array([], pa.string()),
            "label": pa.array([], pa.float64()),
            "observed": pa.array([], INSTANT),
            "received": pa.array([], INSTANT),
        }
    )


def row_digest(table: pa.Table) -> str:
    """SHA-256 of the rows as given: the same batch sent twice is known by it."""
    digest = hashlib.sha256()
    for name in SCHEMA.names:
        column = table[name]
        values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        digest.update(name.encode() + b"\0")
        if column.null_count == len(column):
            digest.update(b"\0" * max(len(column) - 1, 0))
        elif column.null_count == 0:
            digest.update("\0".join(map(repr, values.to_pylist())).encode())
        else:
            given = ("" if value is None else repr(value) for value in values.to_pylist())
            digest.update("\0".join(given).encode())
    return digest.hexdigest()


def to_parquet(table: pa.Table) -> bytes:
    """A batch as it is stored."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The batch of `to_parquet`."""
    with pq.ParquetFile(
        pa.BufferReader(data)
    ) as file:  # read_table looks for a dataset first: three times the work
        return file.read()
