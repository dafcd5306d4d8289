"""Numbers over windows of rows, exact: a window's number depends on the rows in it and on nothing else.

Differences of running sums would be quicker but carry the rounding of all rows before the window, so two readers that start at
different moments would disagree in the last bits, and parity could not tell that from a fault. Running sums are used only where
they are exact: for counts, and for sums of whole numbers below 2**53.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from everloop.domain.featureviews import Function

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
EXACT = 2.0**53


class WindowValues:
    """The values of one expression over rows in a fixed order, NaN where missing."""

    def __init__(self, values: Floats) -> None:
        there = ~np.isnan(values)
        self._counts = np.concatenate([[0], np.cumsum(there)])
        # One more at the end: `reduceat` needs the end of the last window to be a place in the array.
        self._values = np.append(values[there], 0.0)
        self._sums: Floats | None = None
        whole = self._values[:-1]
        if len(whole) and np.all(whole == np.floor(whole)) and float(np.abs(whole).sum()) < EXACT:
            self._sums = np.concatenate([[0.0], np.cumsum(whole)])

    def over(self, function: Function, low: Positions, high: Positions, min_count: int) -> Floats:
        """The number of each window [low, high) of rows; NaN where it has fewer than `min_count` values."""
        first, last = self._counts[low], self._counts[high]
        counts = last - first
        enough = counts >= min_count
        result = np.full(len(low), np.nan)
        if function == "count":
            # Nothing in a window is a count of 0, unless more was asked for.
            return np.where(enough | (min_count == 1), counts, np.nan)
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
            case "last":
                result[enough] = self._values[last - 1]
        return result

    def _sum(self, first: Positions, last: Positions) -> Floats:
        if self._sums is not None:
            return self._sums[last] - self._sums[first]
        return self._reduced(np.add, first, last)

    def _reduced(self, function: np.ufunc, first: Positions, last: Positions) -> Floats:
        # In the order of their starts the stretches between windows, which `reduceat` reduces too, add up to one pass at most.
        order = np.argsort(first, kind="stable")
        bounds = np.empty(2 * len(first), np.int64)
        bounds[::2], bounds[1::2] = first[order], last[order]
        result = np.empty(len(first))
        result[order] = function.reduceat(self._values, bounds)[::2]
        return result
