"""Logged features against those recomputed from history: which columns differ, in how many rows, since when.

What counts as equal: two missing values (null and NaN are one thing), two numbers within the tolerance, anything else only
when it is the same. The tolerance is relative: one part in 10**9, or in 10**6 where either side is kept in 32 bits or fewer,
which have 24 bits of precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.tables.parquet import arrow_table
from everloop.domain.featureviews import ColumnParity, ParityReport
from everloop.errors import InvalidInput, nearest
from everloop.features.parity.causes import Numbers, cause_of_instants, cause_of_numbers, cause_of_text
from everloop.features.parity.moments import OtherMoments

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader
    from everloop.features.on_demand.composed import ComposedReader

TOLERANCE = 1e-9
SINGLE = 1e-6
SAMPLE = 5

Mask = npt.NDArray[np.bool_]


def compare(
    reader: FeatureReader | ComposedReader, logged: Any, *, time: str, tolerance: float | None = None
) -> ParityReport:
    """Recompute every feature of the reader for the rows logged, and compare. `logged` has the keys, the instant in column
    `time`, and the features by their names."""
    if tolerance is not None and not tolerance >= 0:  # NaN too: nothing would differ
        raise InvalidInput(
            f"a tolerance of {tolerance} tells nothing apart", hint="give 0 or more, such as 1e-6"
        )
    table = arrow_table(logged)
    for name in reader.columns:
        if name not in table.column_names:
            raise InvalidInput(f"the feature '{name}' was not logged", hint=nearest(name, table.column_names))
    asked = table.drop(reader.columns)
    again = reader.history(asked, time=time)
    elsewhen = OtherMoments(reader, asked, time)
    different = np.zeros(table.num_rows, bool)
    columns = []
    for name in reader.columns:
        logged_values, history = _one_array(table[name]), _one_array(again[name])
        result, rows = _column(name, logged_values, history, table[time], tolerance)
        if result.rows_different:
            cause = _cause(name, logged_values, history, rows, elsewhen, tolerance)
            result = msgspec.structs.replace(result, cause=cause)
        columns.append(result)
        different |= rows
    return ParityReport(
        compared=table.num_rows,
        different=int(different.sum()),
        columns=columns,
        sources=reader.sources,
        features=reader.references,
    )


def _column(
    name: str, logged: Any, again: Any, times: Any, tolerance: float | None
) -> tuple[ColumnParity, Mask]:
    rows = _different(name, logged, again, tolerance)
    one_sided = _missing(logged) != _missing(again)
    places = np.flatnonzero(rows)
    largest, moments = None, times.take(pa.array(places))
    if len(both := np.flatnonzero(rows & ~one_sided)) and _are_numbers(logged, again):
        apart = np.abs(_floats(logged)[both] - _floats(again)[both])
        largest = float(apart.max())
    sample = [
        {
            "row": int(row),
            "time": times[int(row)].as_py(),
            "logged": logged[int(row)].as_py(),
            "history": again[int(row)].as_py(),
        }
        for row in places[:SAMPLE]
    ]
    report = ColumnParity(
        column=name,
        rows_different=len(places),
        missing=int(one_sided.sum()),
        max_abs=largest,
        first_time=pc.min(moments).as_py() if len(places) else None,
        last_time=pc.max(moments).as_py() if len(places) else None,
        sample=sample,
    )
    return report, rows


def _different(name: str, logged: Any, again: Any, tolerance: float | None) -> Mask:
    """The rows in which two columns differ."""
    mine, theirs = _missing(logged), _missing(again)
    rows: Mask = mine != theirs
    if _are_numbers(logged, again):
        a, b = _floats(logged), _floats(again)
        both = ~(mine | theirs)
        allowed = _tolerance(logged.type, again.type) if tolerance is None else tolerance
        with np.errstate(invalid="ignore"):
            near = (a == b) | (np.abs(a - b) <= allowed * np.abs(b))
        return rows | (both & ~near)
    try:
        equal = pc.fill_null(pc.equal(logged.cast(again.type), again), False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidInput(f"'{name}' was logged as {logged.type}; from history it is {again.type}") from None
    return rows | (~(mine & theirs) & ~equal.to_numpy(zero_copy_only=False))


def _cause(
    name: str, logged: Any, again: Any, rows: Mask, elsewhen: OtherMoments, tolerance: float | None
) -> str:
    if _are_numbers(logged, again):
        told = cause_of_numbers(Numbers(_floats(logged), _floats(again), rows, name))
    elif pa.types.is_timestamp(logged.type) and pa.types.is_timestamp(again.type):
        told = cause_of_instants(_seconds(logged)[rows], _seconds(again)[rows])
    else:
        places = pa.array(np.flatnonzero(rows))
        told = cause_of_text(logged.take(places).to_pylist(), again.take(places).to_pylist())
    return told or elsewhen.cause(name, logged, rows, lambda a, b: _different(name, a, b, tolerance))


def _are_numbers(logged: Any, again: Any) -> bool:
    return _is_number(again.type) and (_is_number(logged.type) or pa.types.is_null(logged.type))


def _missing(column: Any) -> Mask:
    mask: Mask = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)).to_numpy(
        zero_copy_only=False
    )
    return mask


def _floats(column: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _seconds(column: Any) -> npt.NDArray[np.float64]:
    micros = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    return _floats(micros) / 1e6


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _tolerance(*kinds: Any) -> float:
    narrow = any(pa.types.is_floating(kind) and kind.bit_width <= 32 for kind in kinds)
    return SINGLE if narrow else TOLERANCE


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
