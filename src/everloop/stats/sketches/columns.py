"""All that is kept of a column, and of a table: states of parts that add up, and their bytes."""

from collections.abc import Sequence
from typing import Any, Literal, get_origin

import msgspec
import numpy as np

from everloop.stats.arrays import Counts, Floats
from everloop.stats.sketches.calendar import Calendar
from everloop.stats.sketches.distinct import DistinctSketch, SampleSketch, Witness
from everloop.stats.sketches.frequent import FrequentSketch
from everloop.stats.sketches.hashing import Hashes
from everloop.stats.sketches.moments import Comoments, Moments
from everloop.stats.sketches.quantiles import QuantileSketch

FORMAT = 1
"""Of kept states. One more when their meaning changes: those of another format are computed anew."""

Kind = Literal["number", "text", "time", "boolean", "other"]

CORRELATED = 64
"""Most columns whose correlations are kept: their number of pairs grows with its square."""
SAMPLED = 500
ROW_HASHES = 8192


class Batch(msgspec.Struct, frozen=True, eq=False):
    """The values of a column in a batch of `rows`, of which `nulls` are null and `nans` are NaN. The rest are values.

    hashes, counts: of the different values, in any order, and how often each occurs. witness: the values at places of these.
    numbers: in order, to rank (n,): numbers themselves, lengths of texts in characters, microseconds since 1970 of times.
    days: of times. empty, blank: texts without a character, and with nothing but space.
    """

    rows: int
    nulls: int
    nans: int
    hashes: Hashes
    counts: Counts
    witness: Witness
    numbers: Floats | None = None
    days: Any = None
    empty: int = 0
    blank: int = 0


class ColumnSketch(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A column. `quantiles` and `moments` are of numbers, of lengths of texts, of microseconds of times, without infinities for
    the moments; `calendar` is of times, `sample` of texts and integers."""

    kind: Kind
    rows: int
    nulls: int
    nans: int
    infinite: int
    zeros: int
    negative: int
    empty: int
    blank: int
    distinct: DistinctSketch
    frequent: FrequentSketch
    moments: Moments | None = None
    quantiles: QuantileSketch | None = None
    calendar: Calendar | None = None
    sample: SampleSketch | None = None

    @classmethod
    def of(cls, kind: Kind, batch: Batch, *, whole: bool = False) -> "ColumnSketch":
        """The state of one batch. `whole`: the numbers are integers, of which a sample is kept as of texts."""
        frequent = FrequentSketch.of(batch.hashes, batch.counts, batch.witness)
        moments = quantiles = sample = calendar = None
        infinite = zeros = negative = 0
        if batch.numbers is not None:
            ordered = batch.numbers
            finite = ordered[
                np.searchsorted(ordered, -np.inf, side="right") : np.searchsorted(ordered, np.inf)
            ]
            infinite = ordered.size - finite.size
            negative = int(np.searchsorted(ordered, 0.0))
            zeros = int(np.searchsorted(ordered, 0.0, side="right")) - negative
            moments = Moments.of(finite)
            quantiles = QuantileSketch.of(ordered, is_sorted=True)
        if kind == "text" or whole:
            sample = SampleSketch.of(batch.hashes, batch.witness, size=SAMPLED)
        if batch.days is not None:
            calendar = Calendar.of(batch.days)
        return cls(
            kind=kind,
            rows=batch.rows,
            nulls=batch.nulls,
            nans=batch.nans,
            infinite=infinite,
            zeros=zeros,
            negative=negative,
            empty=batch.empty,
            blank=batch.blank,
            distinct=DistinctSketch.of(batch.hashes, batch.counts),
            frequent=frequent,
            moments=moments,
            quantiles=quantiles,
            calendar=calendar,
            sample=sample,
        )

    def merge(self, other: "ColumnSketch") -> "ColumnSketch":
        """Both parts as one."""
        if self.kind != other.kind:
            raise ValueError(f"a column of kind {self.kind} and one of kind {other.kind} cannot be merged")
        return ColumnSketch(
            kind=self.kind,
            **{name: getattr(self, name) + getattr(other, name) for name in _COUNTS},
            **{name: _merged(getattr(self, name), getattr(other, name)) for name in _STATES},
        )

    @property
    def values(self) -> int:
        """Rows with a value: neither null nor NaN."""
        return self.rows - self.nulls - self.nans


_COUNTS = ("rows", "nulls", "nans", "infinite", "zeros", "negative", "empty", "blank")
_STATES = ("distinct", "frequent", "moments", "quantiles", "calendar", "sample")


def _merged(first: Any, second: Any) -> Any:
    return first if second is None else second if first is None else first.merge(second)


class TableSketch(msgspec.Struct, frozen=True, eq=False):
    """A table: its columns by name, the rows by their hashes, and the correlations of its first `CORRELATED` numeric columns.

    >>> bools = Batch(2, 0, 0, np.array([3, 5], np.uint64), np.array([1, 1]), lambda places: [True] * len(places))
    >>> part = TableSketch.of({"late": ColumnSketch.of("boolean", bools)}, np.array([1, 2], np.uint64), [], np.empty((0, 2)))
    >>> whole = part.merge(part)
    >>> whole.rows, whole.columns["late"].rows, whole.row_hashes.repeated
    (4, 4, 2)
    >>> unpack(pack(whole)).rows
    4
    """

    rows: int
    columns: dict[str, ColumnSketch]
    row_hashes: DistinctSketch
    correlated: list[str]
    comoments: Comoments

    @classmethod
    def of(
        cls, columns: dict[str, ColumnSketch], rows: Hashes, correlated: Sequence[str], numbers: Any
    ) -> "TableSketch":
        """The state of a batch: `rows` are hashes of its rows (n,), `numbers` the values of the `correlated` columns (p, n)."""
        return cls(
            rows.size,
            columns,
            DistinctSketch.of(rows, np.ones(rows.size, np.int64), size=ROW_HASHES),
            list(correlated),
            Comoments.of(numbers) if correlated else Comoments.empty(0),
        )

    def merge(self, other: "TableSketch") -> "TableSketch":
        """Both parts as one. Raises ValueError when they have other columns."""
        if list(self.columns) != list(other.columns) or self.correlated != other.correlated:
            raise ValueError("parts of one table must have the same columns")
        return TableSketch(
            self.rows + other.rows,
            {name: column.merge(other.columns[name]) for name, column in self.columns.items()},
            self.row_hashes.merge(other.row_hashes),
            self.correlated,
            self.comoments.merge(other.comoments),
        )


def pack(state: TableSketch) -> bytes:
    """A state as bytes, to be kept."""
    return msgspec.msgpack.encode(state, enc_hook=_array_out)


def unpack(data: bytes) -> TableSketch:
    """The state that `pack` wrote. Raises msgspec.MsgspecError when it is none."""
    return msgspec.msgpack.decode(data, type=TableSketch, dec_hook=_array_in)


def _array_out(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        return {"dtype": value.dtype.str[1:], "shape": value.shape, "data": little.tobytes()}
    raise NotImplementedError(type(value))


def _array_in(kind: Any, value: Any) -> Any:
    if get_origin(kind) is np.ndarray or kind is np.ndarray:
        return np.frombuffer(value["data"], dtype="<" + value["dtype"]).reshape(value["shape"])
    raise NotImplementedError(kind)
