"""How many different values lie between two places of a sequence, for any number of such pairs at once.

A value counts at its first place in the window: where the place of the same value before it lies before the window. So the
answer is how many numbers of a sequence (those places before) are below a bound within a range, which a wavelet matrix answers
bit by bit: Claude, Navarro & Ordóñez, "The wavelet matrix" (Information Systems 47, 2015).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


class DistinctCounts:
    """Counts over one sequence of numbers, none of which is NaN. Takes a number a value and bit of the sequence's length.

    >>> counts = DistinctCounts(np.array([7.0, 7.0, 8.0, 7.0]))
    >>> counts.between(np.array([0, 1, 2, 3]), np.array([4, 3, 2, 4])).tolist()
    [2, 2, 0, 1]
    """

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        numbers = _places_before(values)
        self._bits = max(len(values).bit_length(), 1)
        # By level, from the highest bit down: how many zeros stand before each place of the sequence as it is sorted there.
        self._zeros: list[Positions] = []
        for level in reversed(range(self._bits)):
            ones = (numbers >> level) & 1
            self._zeros.append(np.concatenate([[0], np.cumsum(1 - ones)]))
            numbers = np.concatenate([numbers[ones == 0], numbers[ones == 1]])

    def between(self, low: Positions, high: Positions) -> Positions:
        """How many different values are in each [low, high)."""
        bound = low + 1  # the places before are counted from 1, 0 being none
        count = np.zeros(len(low), np.int64)
        low, high = low.copy(), high.copy()
        for level, zeros in zip(reversed(range(self._bits)), self._zeros, strict=True):
            low_zeros, high_zeros = zeros[low], zeros[high]
            one = (bound >> level) & 1 == 1
            count += np.where(one, high_zeros - low_zeros, 0)
            low = np.where(one, zeros[-1] + low - low_zeros, low_zeros)
            high = np.where(one, zeros[-1] + high - high_zeros, high_zeros)
        return count


def _places_before(values: npt.NDArray[np.float64]) -> Positions:
    """For each value: 1 + the place where it stood last before, 0 when it is the first of its kind."""
    order = np.argsort(values, kind="stable")
    again = np.append(False, values[order][1:] == values[order][:-1]) if len(values) else np.empty(0, bool)
    before = np.zeros(len(values), np.int64)
    before[order[again]] = order[np.flatnonzero(again) - 1] + 1
    return before
