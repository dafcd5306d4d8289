"""The most frequent values of a stream, and how many occurrences of each may be missing.

At most `size` values have a counter. When there are more, the count of the first one too many is taken from all, and who is
left without any goes: so every counter is short by at most `missed`, and a value without one occurred at most `missed` times.
Source: Misra and Gries 1982; merging: Agarwal et al., *Mergeable summaries*, PODS 2012, who show that `missed` <= n / (size +
1).
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from everloop.stats.arrays import Counts
from everloop.stats.sketches.hashing import Hashes

SIZE = 1000

Value = str | int | float | bool
Witness = Callable[[Hashes], list[Value]]
"""Given hashes of a batch: the values that have them."""


class FrequentSketch(msgspec.Struct, frozen=True, eq=False):
    """Counters of values, known by their hashes: `hashes` in order, `counts`, and the `values` themselves.

    >>> hashes, counts = np.array([1, 2], np.uint64), np.array([5, 3])
    >>> sketch = FrequentSketch.of(hashes, counts, lambda wanted: [f"v{each}" for each in wanted.tolist()])
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
        """The state of a batch: its different hashes (n,) in order with their counts (n,); only values that stay are asked for."""
        kept, often, missed = _reduced(hashes, counts, size)
        return cls(size, missed, kept, often, witness(kept) if kept.size else [])

    def merge(self, other: "FrequentSketch") -> "FrequentSketch":
        """Both parts as one; what each may have missed adds up."""
        if self.size != other.size:
            raise ValueError(f"sketches of {self.size} and {other.size} counters cannot be merged")
        every, which = np.unique(np.concatenate((self.hashes, other.hashes)), return_inverse=True)
        both = np.concatenate((self.counts, other.counts))
        often = np.bincount(which, weights=both, minlength=every.size).astype(np.int64)
        kept, often, more = _reduced(every, often, self.size)
        known = {
            **dict(zip(other.hashes.tolist(), other.values, strict=True)),
            **dict(zip(self.hashes.tolist(), self.values, strict=True)),
        }
        values = [known[each] for each in kept.tolist()]
        return FrequentSketch(self.size, self.missed + other.missed + more, kept, often, values)

    @property
    def exact(self) -> bool:
        """Whether every value has its counter, and every counter is right."""
        return self.missed == 0

    def top(self, most: int | None = None) -> list[tuple[Value, int]]:
        """The most frequent values with their counters, most frequent first; equals by their hash."""
        order: Sequence[int] = np.argsort(-self.counts, kind="stable").tolist()
        return [(self.values[at], int(self.counts[at])) for at in order[:most]]


def _reduced(hashes: Hashes, counts: Counts, size: int) -> tuple[Hashes, Counts, int]:
    """What stays of counters when there may be only `size` of them, and what each lost."""
    if hashes.size <= size:
        return hashes, counts, 0
    place = counts.size - size - 1
    one_too_many = int(np.partition(counts, place)[place])
    stays = counts > one_too_many
    return hashes[stays], counts[stays] - one_too_many, one_too_many
