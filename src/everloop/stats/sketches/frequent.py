"""The most frequent values of a stream, and how many occurrences of each may be missing.

At most `size` values have a counter. When there are more, the count of the first one too many is taken from all, and who is
left without any goes: so every counter is short by at most `missed`, and a value without one occurred at most `missed` times.
Source: Misra and Gries 1982; merging: Agarwal et al., *Mergeable summaries*, PODS 2012, who show that `missed` <= n / (size +
1).
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.stats.arrays import Counts
from everloop.stats.sketches.distinct import Value, Witness, summed
from everloop.stats.sketches.hashing import Hashes

SIZE = 1000


class FrequentSketch(msgspec.Struct, frozen=True, eq=False):
    """Counters of values, known by their hashes: `hashes` in order, `counts`, and the `values` themselves.

    >>> hashes, counts = np.array([1, 2], np.uint64), np.array([5, 3])
    >>> sketch = FrequentSketch.of(hashes, counts, lambda places: [f"v{hashes[at]}" for at in places])
    >>> sketch.top(1), sketch.exact
    ([('v1', 5)], True)
    """

    size: int
    missed: int
    hashes: Hashes
    counts: Counts
    values: list[Value]

    @classmethod
    def empty(cls, size: int = SIZE) -> "FrequentSketch":
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        return cls(size, 0, np.empty(0, np.uint64), np.empty(0, np.int64), [])

    @classmethod
    def of(cls, hashes: Hashes, counts: Counts, witness: Witness, *, size: int = SIZE) -> "FrequentSketch":
        """The state of a batch: its different hashes (n,) in any order, with their counts (n,), and their values by place."""
        stays, missed = _reduced(counts, size)
        order = stays[np.argsort(hashes[stays])]
        return cls(size, missed, hashes[order], counts[order] - missed, witness(order))

    def merge(self, other: "FrequentSketch") -> "FrequentSketch":
        """Both parts as one; what each may have missed adds up."""
        if self.size != other.size:
            raise ValueError(f"sketches of {self.size} and {other.size} counters cannot be merged")
        both = np.concatenate((self.hashes, other.hashes))
        every, often = summed(both, np.concatenate((self.counts, other.counts)))
        stays, more = _reduced(often, self.size)
        kept = every[stays]
        known = {
            **dict(zip(other.hashes.tolist(), other.values, strict=True)),
            **dict(zip(self.hashes.tolist(), self.values, strict=True)),
        }
        values = [known[each] for each in kept.tolist()]
        return FrequentSketch(self.size, self.missed + other.missed + more, kept, often[stays] - more, values)

    @property
    def exact(self) -> bool:
        """Whether every value has its counter, and every counter is right."""
        return self.missed == 0

    def top(self, most: int | None = None) -> list[tuple[Value, int]]:
        """The most frequent values with their counters, most frequent first; equals by their hash."""
        order: Sequence[int] = np.argsort(-self.counts, kind="stable").tolist()
        return [(self.values[at], int(self.counts[at])) for at in order[:most]]


def _reduced(counts: Counts, size: int) -> tuple[NDArray[np.intp], int]:
    """The places of counters that stay when there may be only `size` of them, and what each loses."""
    if counts.size <= size:
        return np.arange(counts.size), 0
    most = int(counts.max())
    if most == 1:
        return np.empty(0, np.intp), 1
    place = counts.size - size - 1
    if most < counts.size:
        # Of so many, most are equal, which selecting by comparisons is slow for.
        one_too_many = int(np.searchsorted(np.cumsum(np.bincount(counts)), place, side="right"))
    else:
        one_too_many = int(np.partition(counts, place)[place])
    return np.flatnonzero(counts > one_too_many), one_too_many
