"""Logged features against those recomputed from history: which columns differ, in how many rows, since when.

What counts as equal: two missing values (null and NaN are one thing), two numbers within the tolerance, anything else only
when it is the same. The tolerance is relative: one part in 10**9, or in 10**6 where either side is kept in 32 bits or fewer,
which have 24 bits of precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.tables import arrow_table
from everloop.domain.featureviews import ColumnParity, ParityReport
from everloop.errors import InvalidInput, nearest

if TYPE_CHECKING:
    from everloop.features.composed import ComposedReader
    from everloop.features.reader import FeatureReader

TOLERANCE = 1e-9
SINGLE = 1e-6
SAMPLE = 5

Mask = npt.NDArray[np.bool_]


def compare(
    reader: FeatureReader | ComposedReader, logged: Any, *, time: str, tolerance: float | None = None
) -> ParityReport:
    """Recompute every feature of the reader for the rows logged, and compare. `logged` has the keys, the instant in column
    `time`, and the features by their names."""
    table = arrow_table(logged)
    for name in reader.columns:
        if name not in table.column_names:
            raise InvalidInput(f"the feature '{name}' was not logged", hint=nearest(name, table.column_names))
    again = reader.history(table.drop(reader.columns), time=time)
    different = np.zeros(table.num_rows, bool)
    columns = []
    for name in reader.columns:
        result, rows = _column(name, _one_array(table[name]), _one_array(again[name]), table[time], tolerance)
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
    mine, theirs = _missing(logged), _missing(again)
    one_sided: Mask = mine != theirs
    largest = None
    if _is_number(again.type) and (_is_number(logged.type) or pa.types.is_null(logged.type)):
        a, b = _floats(logged), _floats(again)
        both = ~(mine | theirs)
        distance = np.zeros(len(a))
        with np.errstate(invalid="ignore"):
            distance[both] = np.where(a[both] == b[both], 0.0, np.abs(a[both] - b[both]))
        allowed = _tolerance(logged.type, again.type) if tolerance is None else tolerance
        rows = one_sided | (both & ~(distance <= allowed * np.abs(b)))
        apart = distance[rows & both]
        largest = float(apart.max()) if len(apart) else None
    else:
        try:
            equal = pc.fill_null(pc.equal(logged.cast(again.type), again), False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InvalidInput(
                f"'{name}' was logged as {logged.type}; from history it is {again.type}"
            ) from None
        rows = one_sided | (~(mine & theirs) & ~equal.to_numpy(zero_copy_only=False))
    places = np.flatnonzero(rows)
    first = pc.min(times.take(pa.array(places))).as_py() if len(places) else None
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
        first_time=first,
        sample=sample,
    )
    return report, rows


def _missing(column: Any) -> Mask:
    mask: Mask = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)).to_numpy(
        zero_copy_only=False
    )
    return mask


def _floats(column: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _tolerance(*kinds: Any) -> float:
    narrow = any(pa.types.is_floating(kind) and kind.bit_width <= 32 for kind in kinds)
    return SINGLE if narrow else TOLERANCE


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
