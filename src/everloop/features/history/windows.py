"""Numbers over windows of rows, exact: a window's number depends on the rows in it and on nothing else.

Differences of running sums would be quicker but carry the rounding of all rows before the window, so two readers that start at
different moments would disagree in the last bits, and parity could not tell that from a fault. Running sums are used only where
they are exact: for counts, and for sums of whole numbers below 2**53.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from everloop.domain.featureviews import Function
from everloop.features.history.distinct import DistinctCounts

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
EXACT = 2.0**53
_AT_ONCE = 1 << 21
"""Rows of windows that are laid out side by side at a time, where that is needed."""


class WindowValues:
    """The values of one expression over rows in a fixed order, NaN where missing."""

    def __init__(self, values: Floats) -> None:
        there = ~np.isnan(values)
        self._counts = np.concatenate([[0], np.cumsum(there)])
        # One more at the end: `reduceat` needs the end of the last window to be a place in the array.
        self._values = np.append(values[there], 0.0)
        self._there = there
        self._sums: Floats | None = None
        self._distinct: DistinctCounts | None = None
        whole = self._values[:-1]
        if len(whole) and np.all(whole == np.floor(whole)) and float(np.abs(whole).sum()) < EXACT:
            self._sums = np.concatenate([[0.0], np.cumsum(whole)])

    # The sum of both infinities is no number, and the answer says so: nothing to warn of.
    @np.errstate(invalid="ignore")
    def over(self, function: Function, low: Positions, high: Positions, min_count: int) -> Floats:
        """The number of each window [low, high) of rows; NaN where it has fewer than `min_count` values."""
        first, last = self._counts[low], self._counts[high]
        counts = last - first
        if function in ("count", "distinct"):
            numbers = counts if function == "count" else self._different(first, last)
            # Nothing in a window is a count of 0, unless more was asked for.
            return np.where((counts >= min_count) | (min_count == 1), numbers, np.nan)
        enough = counts >= (max(min_count, 2) if function == "std" else min_count)
        result = np.full(len(low), np.nan)
        if not enough.any():
            return result
        first, last = first[enough], last[enough]
        match function:
            case "sum":
                result[enough] = self._sum(first, last)
            case "mean":
                result[enough] = self._sum(first, last) / counts[enough]
            case "min":
                result[enough] = self._reduced(np.minimum, first, last)
            case "max":
                result[enough] = self._reduced(np.maximum, first, last)
            case "std":
                result[enough] = self._deviation(first, last)
            case "first":
                result[enough] = self._values[first]
            case "last":
                result[enough] = self._values[last - 1]
        return result

    def over_some(
        self,
        function: Function,
        low: Positions,
        high: Positions,
        min_count: int,
        order: npt.NDArray[np.int64],
        after: npt.NDArray[np.int64],
    ) -> Floats:
        """As `over`, of those rows of each window whose `order` is greater than the window's `after`."""
        result = np.full(len(low), np.nan)
        for part, rows, windows in _laid_out(low, high):
            keep = self._there[rows] & (order[rows] > after[part][windows])
            # What is kept of each window, one window behind the other, is a row of windows again.
            values = self._values[self._counts[rows[keep]]]
            ends = np.cumsum(np.bincount(windows[keep], minlength=part.stop - part.start))
            result[part] = WindowValues(values).over(function, np.append(0, ends[:-1]), ends, min_count)
        return result

    def _different(self, first: Positions, last: Positions) -> Floats:
        if self._distinct is None:
            self._distinct = DistinctCounts(self._values[:-1])
        return self._distinct.between(first, last).astype(np.float64)

    def _sum(self, first: Positions, last: Positions) -> Floats:
        if self._sums is not None:
            return self._sums[last] - self._sums[first]
        return self._reduced(np.add, first, last)

    def _deviation(self, first: Positions, last: Positions) -> Floats:
        """Of samples, in two passes: from the mean of the window, not from differences of large sums."""
        result = np.empty(len(first))
        means = self._sum(first, last) / (last - first)
        for part, rows, windows in _laid_out(first, last):
            squares = (self._values[rows] - means[part][windows]) ** 2
            sizes = last[part] - first[part]
            result[part] = np.sqrt(np.add.reduceat(squares, np.cumsum(sizes) - sizes) / (sizes - 1))
        return result

    def _reduced(self, function: np.ufunc, first: Positions, last: Positions) -> Floats:
        # In the order of their starts the stretches between windows, which `reduceat` reduces too, add up to one pass at most.
        order = np.argsort(first, kind="stable")
        bounds = np.empty(2 * len(first), np.int64)
        bounds[::2], bounds[1::2] = first[order], last[order]
        result = np.empty(len(first))
        result[order] = function.reduceat(self._values, bounds)[::2]
        return result


def _laid_out(low: Positions, high: Positions) -> Iterator[tuple[slice, Positions, Positions]]:
    """Windows some at a time: which they are, the rows in them one window behind the other, and the window of each row (counted
    from the first of these)."""
    sizes = high - low
    behind = np.cumsum(sizes)
    start = 0
    while start < len(low):
        before = behind[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(behind, before + _AT_ONCE, side="right")))
        part = slice(start, stop)
        windows = np.repeat(np.arange(stop - start), sizes[part])
        offsets = behind[part] - sizes[part] - before
        rows = np.arange(len(windows)) - offsets[windows] + low[part][windows]
        yield part, rows, windows
        start = stop
