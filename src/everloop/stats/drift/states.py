"""What is kept of a column in a window: counts and sums in bins that the reference fixed.

Merging two windows is addition, so a stream, a batch and an edge device share one path, hours roll up to
days, and order does not matter (counts exactly, sums up to rounding). A numeric column takes about 4 kB.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everloop.stats.arrays import Counts, Floats

BINS = 256
FIT_ROWS = 100_000
CATEGORIES = 1_000
OTHER = "(other)"
NEW = "(new)"

# Keeps sums and sums of squares finite, so that a state always fits into JSON.
_WILDEST = 1e140


class NumericBins(msgspec.Struct, frozen=True, eq=False):
    """Fixed bins of a numeric column; bin i holds edges[i-1] <= x < edges[i].

    Each value that holds a share of at least 1/bins of the reference is an *atom* with a bin of its own (the
    zeros of ``precip``, a default, a whole number); quantiles of the rest cut the rest. ``centre`` and
    ``scale`` are the reference's mean and standard deviation, by which sums are kept small.
    """

    edges: Floats
    centre: float
    scale: float

    @classmethod
    def fit(cls, values: ArrayLike, *, bins: int = BINS) -> "NumericBins":
        """Bins of about equal shares of the finite ``values`` (n,), from at most 100,000 of them, evenly strided.

        Raises:
            ValueError: fewer than two bins asked for, values not numeric, or none of them finite.

        >>> NumericBins.fit([0.0] * 98 + [1.0, 2.0], bins=4).edges.tolist()
        [0.0, 5e-324, 2.0]
        """
        if bins < 2:
            raise ValueError(f"bins must be at least 2, not {bins}")
        column = _column(values)
        finite = column[np.isfinite(column)]
        if finite.size == 0:
            raise ValueError("the reference has no finite value to fit bins to")
        sample = np.sort(finite[:: math.ceil(finite.size / FIT_ROWS)])
        distinct, counts = np.unique(sample, return_counts=True)
        is_atom = (counts >= sample.size / bins) & (counts > 1)
        atoms = distinct[is_atom]
        rest = np.repeat(distinct[~is_atom], counts[~is_atom])
        edges = [atoms, np.nextafter(atoms, np.inf)]
        pieces = round(bins * rest.size / sample.size)
        if rest.size:
            # Cut at values of the data, not between them: interpolation would overflow on wild scales.
            cuts = np.linspace(0, 1, max(pieces, 2) + 1)[1:-1]
            edges.append(np.quantile(rest, cuts, method="higher"))
        wide = np.clip(finite, -_WILDEST, _WILDEST)
        spread = float(wide.max() - wide.min())
        # A share of the range, not a constant, keeps columns of small scale visible; a constant column gets
        # the size of its value.
        scale = max(float(wide.std()), spread / 1000) or abs(float(wide[0])) or 1.0
        cuts_at = np.unique(np.concatenate(edges))
        return cls(cuts_at[np.isfinite(cuts_at)], float(wide.mean()), scale)

    @property
    def size(self) -> int:
        """Number of bins."""
        return self.edges.size + 1

    def count(self, values: ArrayLike) -> "NumericState":
        """The state of one batch (n,): NaN and None are missing, infinities are counted apart.

        >>> state = NumericBins.fit([1.0, 2.0, 3.0, 4.0], bins=2).count([1.0, 9.0, None, float("inf")])
        >>> state.rows, state.missing, state.infinite, state.counts.tolist()
        (4, 1, 1, [1, 1])
        """
        column = _column(values)
        finite = column[np.isfinite(column)]
        missing = int(np.isnan(column).sum())
        which = np.searchsorted(self.edges, finite, side="right")
        scaled = np.clip(
            (np.clip(finite, -_WILDEST, _WILDEST) - self.centre) / self.scale, -_WILDEST, _WILDEST
        )
        return NumericState(
            bins=self,
            rows=column.size,
            missing=missing,
            infinite=column.size - missing - finite.size,
            low=float(finite.min()) if finite.size else None,
            high=float(finite.max()) if finite.size else None,
            # Not np.dot: BLAS threads cost more than they save here, and change the last bits.
            squares=float((scaled * scaled).sum()),
            counts=np.bincount(which, minlength=self.size).astype(np.int64),
            sums=np.bincount(which, weights=scaled, minlength=self.size).astype(np.float64),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumericBins):
            return NotImplemented
        return (self.centre, self.scale) == (other.centre, other.scale) and np.array_equal(
            self.edges, other.edges
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        return {"edges": self.edges.tolist(), "centre": self.centre, "scale": self.scale}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NumericBins":
        """The bins that `to_dict` wrote."""
        return cls(np.asarray(data["edges"], dtype=np.float64), data["centre"], data["scale"])


class NumericState(msgspec.Struct, frozen=True, eq=False):
    """A numeric column in a window; ``sums`` and ``squares`` are of (x - centre) / scale of the bins."""

    bins: NumericBins
    rows: int
    missing: int
    infinite: int
    low: float | None
    high: float | None
    squares: float
    counts: Counts
    sums: Floats

    @property
    def n(self) -> int:
        """Rows with a finite value."""
        return self.rows - self.missing - self.infinite

    @property
    def missing_rate(self) -> float | None:
        """Share of missing rows; None for an empty window."""
        return self.missing / self.rows if self.rows else None

    @property
    def mean(self) -> float | None:
        """Mean of the finite values, in the column's unit; None if there are none."""
        return self.bins.centre + self.bins.scale * float(self.sums.sum()) / self.n if self.n else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of the finite values (divisor n), in the column's unit; None if there are none."""
        if not self.n:
            return None
        mean = float(self.sums.sum()) / self.n
        return self.bins.scale * math.sqrt(max(0.0, self.squares / self.n - mean * mean))

    def merge(self, other: "NumericState") -> "NumericState":
        """Both windows as one.

        Raises:
            ValueError: the states were counted in different bins.

        >>> bins = NumericBins.fit(range(100))
        >>> bins.count([1, 2]).merge(bins.count([3])).mean
        2.0
        """
        _require_same(self.bins, other.bins)
        return NumericState(
            bins=self.bins,
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            low=min((v for v in (self.low, other.low) if v is not None), default=None),
            high=max((v for v in (self.high, other.high) if v is not None), default=None),
            squares=self.squares + other.squares,
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumericState) and self.to_dict() == other.to_dict()

    def to_dict(self, *, bins: bool = True) -> dict[str, Any]:
        """Plain values for JSON; ``bins=False`` leaves out the bins, where they are stored once for many windows."""
        plain: dict[str, Any] = {
            "kind": "numeric",
            "rows": self.rows,
            "missing": self.missing,
            "infinite": self.infinite,
            "low": self.low,
            "high": self.high,
            "squares": self.squares,
            "counts": self.counts.tolist(),
            "sums": self.sums.tolist(),
        }
        return plain | {"bins": self.bins.to_dict()} if bins else plain


class CategoricalBins(msgspec.Struct, frozen=True):
    """The categories of a reference, most frequent first.

    ``complete`` tells whether they are all it had: then an unknown value is *new*; otherwise it may be one of
    the rare ones that were cut off, and is *other*.
    """

    categories: tuple[str, ...]
    complete: bool

    @classmethod
    def fit(cls, values: "ArrayLike | Mapping[Any, int]", *, limit: int = CATEGORIES) -> "CategoricalBins":
        """The ``limit`` most frequent values of an array (n,), or of counts by value.

        >>> CategoricalBins.fit(["a", "b", "b", None])
        CategoricalBins(categories=('b', 'a'), complete=True)
        """
        counts, _ = _tally(values)
        if not counts:
            raise ValueError("the reference has no category to fit to")
        ordered = sorted(counts, key=lambda name: (-counts[name], name))
        return cls(tuple(ordered[:limit]), len(ordered) <= limit)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all bins: the categories, then other, then new."""
        return (*self.categories, OTHER, NEW)

    def count(self, values: "ArrayLike | Mapping[Any, int]") -> "CategoricalState":
        """The state of one batch: an array (n,), or counts by value (None and NaN are missing).

        >>> CategoricalBins.fit(["a", "b"]).count({"a": 5, "z": 2, None: 1}).to_counts()
        {'a': 5, 'b': 0, '(other)': 0, '(new)': 2}
        """
        tally, missing = _tally(values)
        counts = np.array([tally.pop(name, 0) for name in self.categories] + [0, 0], dtype=np.int64)
        counts[-1 if self.complete else -2] = sum(tally.values())
        return CategoricalState(self, int(counts.sum()) + missing, missing, counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and values for JSON."""
        return {"categories": list(self.categories), "complete": self.complete}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CategoricalBins":
        """The bins that `to_dict` wrote."""
        return cls(tuple(data["categories"]), data["complete"])


class CategoricalState(msgspec.Struct, frozen=True, eq=False):
    """A categorical column in a window; ``counts`` in the order of ``bins.names``."""

    bins: CategoricalBins
    rows: int
    missing: int
    counts: Counts

    @property
    def n(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def missing_rate(self) -> float | None:
        """Share of missing rows; None for an empty window."""
        return self.missing / self.rows if self.rows else None

    @property
    def new(self) -> int:
        """Rows with a value that the reference never had."""
        return int(self.counts[-1])

    def to_counts(self) -> dict[str, int]:
        """Rows by name of the bin."""
        return dict(zip(self.bins.names, self.counts.tolist(), strict=True))

    def merge(self, other: "CategoricalState") -> "CategoricalState":
        """Both windows as one; ``ValueError`` if they were counted in different bins.

        >>> bins = CategoricalBins.fit(["a", "b"])
        >>> bins.count(["a"]).merge(bins.count(["b", "c"])).to_counts()
        {'a': 1, 'b': 1, '(other)': 0, '(new)': 1}
        """
        _require_same(self.bins, other.bins)
        return CategoricalState(
            self.bins, self.rows + other.rows, self.missing + other.missing, self.counts + other.counts
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CategoricalState) and self.to_dict() == other.to_dict()

    def to_dict(self, *, bins: bool = True) -> dict[str, Any]:
        """Plain values for JSON; ``bins=False`` leaves out the bins, where they are stored once for many windows."""
        plain: dict[str, Any] = {
            "kind": "categorical",
            "rows": self.rows,
            "missing": self.missing,
            "counts": self.counts.tolist(),
        }
        return plain | {"bins": self.bins.to_dict()} if bins else plain


ColumnState = NumericState | CategoricalState


def merge(first: ColumnState, second: ColumnState) -> ColumnState:
    """Two windows of one column as one; ``ValueError`` if they were counted in different bins.

    >>> bins = NumericBins.fit([1.0, 2.0])
    >>> merge(bins.count([1.5]), bins.count([1.0, 2.0])).n
    3
    """
    if isinstance(first, NumericState) and isinstance(second, NumericState):
        return first.merge(second)
    if isinstance(first, CategoricalState) and isinstance(second, CategoricalState):
        return first.merge(second)
    raise ValueError("windows of one column must both be numeric or both categorical")


def state_from_dict(
    data: Mapping[str, Any], *, bins: NumericBins | CategoricalBins | None = None
) -> ColumnState:
    """The state that ``to_dict`` wrote; give ``bins`` if it was written without them.

    Raises:
        ValueError: no bins anywhere, bins of the other kind, counts that do not fit them, or an unknown kind.

    >>> state = NumericBins.fit([1.0, 2.0]).count([1.5])
    >>> state_from_dict(state.to_dict()) == state
    True
    """
    kind = data.get("kind")
    if bins is None and "bins" not in data:
        raise ValueError("the state was stored without its bins: give them as bins=")
    counts = np.asarray(data["counts"], dtype=np.int64)
    if kind == "numeric":
        numeric = bins if bins is not None else NumericBins.from_dict(data["bins"])
        if not isinstance(numeric, NumericBins) or numeric.size != counts.size:
            raise ValueError("a numeric state does not fit these bins")
        return NumericState(
            bins=numeric,
            rows=data["rows"],
            missing=data["missing"],
            infinite=data["infinite"],
            low=data["low"],
            high=data["high"],
            squares=data["squares"],
            counts=counts,
            sums=np.asarray(data["sums"], dtype=np.float64),
        )
    if kind == "categorical":
        categorical = bins if bins is not None else CategoricalBins.from_dict(data["bins"])
        if not isinstance(categorical, CategoricalBins) or len(categorical.names) != counts.size:
            raise ValueError("a categorical state does not fit these bins")
        return CategoricalState(categorical, data["rows"], data["missing"], counts)
    raise ValueError(f"a column state is numeric or categorical, not {kind!r}")


def _column(values: ArrayLike) -> NDArray[np.float64]:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("the column is not numeric: count it as categories") from None
    if column.ndim != 1:
        raise ValueError(f"a column must have one dimension, not {column.ndim}")
    return column


def _tally(values: "ArrayLike | Mapping[Any, int]") -> tuple[Counter[str], int]:
    """Rows by value as text, and missing rows. Whole floats read like integers, as a join may have made them."""
    raw = values if isinstance(values, Mapping) else Counter(np.asarray(values).tolist())
    counts: Counter[str] = Counter()
    missing = 0
    for value, rows in raw.items():
        if value is None or value != value:
            missing += rows
        elif isinstance(value, float) and value.is_integer():
            counts[str(int(value))] += rows
        else:
            counts[str(value)] += rows
    return counts, missing


def _require_same(first: object, second: object) -> None:
    if first is not second and first != second:
        raise ValueError("the states were counted in different bins and cannot be compared or merged")
