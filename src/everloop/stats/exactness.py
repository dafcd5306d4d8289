"""How identical two results are: prediction arrays graded in units in the last place, feature tables cell by cell."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everloop.stats.arrays import Floats

Grade = Literal["bits", "predictions", "tolerance", "failed"]

# Measured: other thread counts move k by up to 1.4, other BLAS kernels by up to 111.
TOLERANCE = 1_000.0


class Exactness(msgspec.Struct, frozen=True):
    """How identical two prediction arrays are.

    ``k`` is the largest difference in units in the last place at the scale of its output column; None where it
    cannot be measured (text, other shape, NaN in one only, a column that was all zero). ``first_difference`` is
    the row of the first difference, ``flips`` the rows whose decision changed.
    """

    grade: Grade
    k: float | None
    max_abs: float | None
    rows_different: int
    first_difference: int | None
    flips: int
    reason: str


def compare_predictions(
    reference: ArrayLike,
    other: ArrayLike,
    *,
    same_content: bool = False,
    tolerance: float = TOLERANCE,
    threshold: float | None = None,
) -> Exactness:
    """Grade ``other`` against ``reference``: predictions (n,) or scores (n, outputs) of the same rows.

    - ``bits``: equal bytes, and ``same_content`` says that the models' canonical digests are equal too;
    - ``predictions``: equal bytes and equal type;
    - ``tolerance``: per output column max|a - b| <= tolerance * eps * max|a|, NaN and infinities in the same
      places, no decision flipped;
    - ``failed``: anything else; integers, booleans and text must be equal.

    eps belongs to the coarser of the two float types. Scaling by the column, not by the element, because an
    output near zero would otherwise turn rounding into thousands of units. A decision is ``score >= threshold``
    for one output if ``threshold`` is given, and the largest of several columns.

    >>> a = np.array([0.1, 0.5, 1.0])
    >>> compare_predictions(a, a).grade, compare_predictions(a, a, same_content=True).grade
    ('predictions', 'bits')
    >>> moved = compare_predictions(a, a + [0, 4e-16, 0])
    >>> moved.grade, moved.k, moved.first_difference
    ('tolerance', 2.0, 1)
    >>> compare_predictions(["late", "ok"], ["late", "late"]).grade
    'failed'
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative, not {tolerance}")
    a, b = np.asarray(reference), np.asarray(other)
    if a.ndim not in (1, 2) or a.shape[0] == 0:
        raise ValueError(f"predictions must have shape (n,) or (n, outputs) with n > 0, not {a.shape}")
    if a.shape != b.shape:
        return Exactness("failed", None, None, a.shape[0], None, 0, f"shape {b.shape} instead of {a.shape}")
    different = _different(a, b)
    rows = different.reshape(a.shape[0], -1).any(axis=1)
    first = int(np.argmax(rows)) if rows.any() else None
    count = int(rows.sum())
    if not (a.dtype.kind == "f" and b.dtype.kind == "f"):
        numeric = a.dtype.kind in "iufb" and b.dtype.kind in "iufb"
        max_abs = (
            float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if numeric and count else None
        )
        if count or a.dtype.kind != b.dtype.kind:
            what = f"{count} labels differ" if count else f"type {b.dtype} instead of {a.dtype}"
            return Exactness("failed", None, max_abs, count, first, count, what)
        return Exactness("bits" if same_content else "predictions", 0.0, 0.0, 0, None, 0, "all labels equal")
    if count == 0 and a.dtype == b.dtype and _same_signs(a, b):
        return Exactness("bits" if same_content else "predictions", 0.0, 0.0, 0, None, 0, "all bytes equal")

    eps = float(max(np.finfo(a.dtype).eps, np.finfo(b.dtype).eps))
    wide_a, wide_b = (x.astype(np.float64).reshape(a.shape[0], -1) for x in (a, b))
    flips = _flips(wide_a, wide_b, threshold)
    finite = np.isfinite(wide_a) & np.isfinite(wide_b)
    # Infinities must be equal, and NaN stand in the same cells.
    misplaced = int((~finite & _different(wide_a, wide_b)).any(axis=1).sum())
    gaps = np.abs(np.where(finite, wide_a, 0) - np.where(finite, wide_b, 0))
    max_abs = float(gaps.max())
    if misplaced:
        reason = f"NaN or infinity in other places in {misplaced} rows"
        return Exactness("failed", None, max_abs, count, first, flips, reason)
    k = _units(gaps, np.abs(np.where(finite, wide_a, 0)).max(axis=0), eps)
    if k is None:
        return Exactness("failed", None, max_abs, count, first, flips, "an output that was all zero is not")
    if flips:
        return Exactness("failed", k, max_abs, count, first, flips, f"{flips} decisions flipped")
    if k > tolerance:
        return Exactness("failed", k, max_abs, count, first, 0, f"k = {k:.4g} is above {tolerance:g}")
    return Exactness("tolerance", k, max_abs, count, first, 0, f"k = {k:.4g} is within {tolerance:g}")


class ColumnParity(msgspec.Struct, frozen=True):
    """One column of two tables; ``max_abs`` and ``mean_abs`` over cells with a number on both sides."""

    column: str
    rows_different: int
    max_abs: float | None
    mean_abs: float | None
    first_difference: int | None


class Parity(msgspec.Struct, frozen=True):
    """Two tables of the same rows; ``columns`` that differ, worst (most rows, then largest gap) first.

    ``flips`` counts cells that differ other than by an amount: text, a value against a missing one.
    """

    rows: int
    rows_different: int
    max_abs: float
    flips: int
    columns: tuple[ColumnParity, ...]
    absent: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether all columns are there and no cell differs."""
        return not (self.rows_different or self.absent or self.unexpected)


def parity(
    a: Mapping[str, ArrayLike],
    b: Mapping[str, ArrayLike],
    tolerance: "float | Mapping[str, float]" = 0.0,
    *,
    relative: float = 0.0,
) -> Parity:
    """Compare feature tables cell by cell, columns by name: what was served against what is recomputed.

    Numbers are equal if |a - b| <= tolerance + relative * |a|; ``tolerance`` may be given by column (0 where
    absent). NaN and None equal each other. Text, booleans and other objects must be equal. Columns of ``a``
    without a partner are ``absent``, those only in ``b`` are ``unexpected``.

    Raises:
        ValueError: columns of unequal length, no common column, or a negative tolerance.

    >>> served = {"temp": [20.0, 25.0, None], "carrier": ["AA", "UA", "B6"]}
    >>> again = {"temp": [68.0, 77.0, None], "carrier": ["AA", "UA", "B6"]}
    >>> found = parity(served, again)
    >>> found.rows_different, found.max_abs, [c.column for c in found.columns]
    (2, 52.0, ['temp'])
    """
    common = [name for name in a if name in b]
    if not common:
        raise ValueError("the tables have no column in common")
    by_column = tolerance if isinstance(tolerance, Mapping) else dict.fromkeys(common, tolerance)
    if relative < 0 or not all(value >= 0 for value in by_column.values()):
        raise ValueError("tolerances must not be negative")
    lengths = {
        f"{side}.{name}": len(np.asarray(t[name])) for side, t in (("a", a), ("b", b)) for name in common
    }
    rows = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != rows:
            raise ValueError(f"column {name} has {length} rows, expected {rows}")
    different_rows = np.zeros(rows, dtype=np.bool_)
    flips = 0
    columns: list[ColumnParity] = []
    for name in common:
        numbers_a, numbers_b = _numbers(a[name]), _numbers(b[name])
        if numbers_a is None or numbers_b is None:
            different = _different(np.asarray(a[name], dtype=object), np.asarray(b[name], dtype=object))
            gaps = np.zeros(0)
            flips += int(different.sum())
        else:
            both = np.isfinite(numbers_a) & np.isfinite(numbers_b)
            gap = np.abs(np.where(both, numbers_a, 0) - np.where(both, numbers_b, 0))
            allowed = by_column.get(name, 0.0) + relative * np.abs(np.where(both, numbers_a, 0))
            misplaced = ~both & _different(numbers_a, numbers_b)
            different = (gap > allowed) | misplaced
            gaps = gap[both]
            flips += int(misplaced.sum())
        different_rows |= different
        if different.any():
            columns.append(
                ColumnParity(
                    column=name,
                    rows_different=int(different.sum()),
                    max_abs=float(gaps.max()) if gaps.size else None,
                    mean_abs=float(gaps.mean()) if gaps.size else None,
                    first_difference=int(np.argmax(different)),
                )
            )
    columns.sort(key=lambda c: (-c.rows_different, -(c.max_abs or 0.0), c.column))
    return Parity(
        rows=rows,
        rows_different=int(different_rows.sum()),
        max_abs=max((c.max_abs or 0.0 for c in columns), default=0.0),
        flips=flips,
        columns=tuple(columns),
        absent=tuple(name for name in a if name not in b),
        unexpected=tuple(name for name in b if name not in a),
    )


def _units(gaps: Floats, scales: Floats, eps: float) -> float | None:
    """Largest gap in eps of its column's scale; None if a column of zeros has a gap."""
    moved = gaps.max(axis=0) > 0
    if (scales[moved] == 0).any():
        return None
    return float((gaps.max(axis=0)[moved] / (eps * scales[moved])).max()) if moved.any() else 0.0


def _flips(a: Floats, b: Floats, threshold: float | None) -> int:
    if a.shape[1] > 1:
        return int((np.argmax(a, axis=1) != np.argmax(b, axis=1)).sum())
    if threshold is None:
        return 0
    return int(((a >= threshold) != (b >= threshold)).sum())


def _different(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Cells that differ, where NaN equals NaN and None; -0.0 equals 0.0."""
    unequal = np.asarray(a != b, dtype=np.bool_)
    return unequal & ~(_absent(a) & _absent(b))


def _same_signs(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether equal floats are equal bytes: -0.0 == 0.0 is not; the bits inside a NaN do not count."""
    return bool(((np.signbit(a) == np.signbit(b)) | np.isnan(a)).all())


def _absent(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values), dtype=np.bool_)
    if values.dtype.kind == "O":
        flat = [
            value is None or (isinstance(value, float) and value != value)
            for value in values.ravel().tolist()
        ]
        return np.array(flat, dtype=np.bool_).reshape(values.shape)
    return np.zeros(values.shape, dtype=np.bool_)


def _numbers(values: ArrayLike) -> Floats | None:
    """The column as floats if all its cells are numbers or missing; else None. Booleans and text are no amounts."""
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind == "O":
        cells = array.tolist()
        if all(
            cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells
        ):
            return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return None
