"""How many different values there are, and how many occur more than once.

Of all hashes the `size` smallest are kept, each with how often it occurred. While there are fewer, the answer is exact. Else
they are a fair sample of the different values: the k-th smallest of D evenly spread hashes lies at about k/D of their range,
so D is about (k - 1) over it, with a relative standard error of 1/sqrt(k - 2). Source: Bar-Yossef et al. 2002; Beyer et al.,
*On synopses for distinct-value estimation*, SIGMOD 2007.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from everloop.stats.arrays import Counts
from everloop.stats.sketches.hashing import Hashes

SIZE = 2048
_RANGE = float(2**64)


def starts(ordered: NDArray[Any]) -> NDArray[np.intp]:
    """Where each different value of an ordered array (n,) begins.

    >>> starts(np.array([4, 4, 7])).tolist()
    [0, 2]
    """
    return np.flatnonzero(np.concatenate((np.ones(min(1, ordered.size), bool), ordered[1:] != ordered[:-1])))


def summed(hashes: Hashes, counts: Counts) -> tuple[Hashes, Counts]:
    """Hashes in order, each once, with the sum of its counts."""
    different, which = np.unique(hashes, return_inverse=True)
    return different, np.bincount(which, weights=counts, minlength=different.size).astype(np.int64)


def smallest(hashes: Hashes, size: int) -> NDArray[np.intp]:
    """Places of the `size` smallest of different hashes (n,), in order.

    >>> smallest(np.array([5, 3, 9], np.uint64), 2).tolist()
    [1, 0]
    """
    low = _low(hashes, size)
    places = low if low.size >= size else np.arange(hashes.size)
    return places[np.argsort(hashes[places])][:size]


def _low(hashes: Hashes, size: int) -> NDArray[np.intp]:
    """Places of hashes below about twice the share that is wanted: they are spread evenly, so these are mostly enough."""
    if hashes.size <= 4 * size:
        return np.arange(hashes.size)
    return np.flatnonzero(hashes < np.uint64(2 * size / hashes.size * _RANGE))


Value = str | int | float | bool
Witness = Callable[[NDArray[np.intp]], list[Value]]
"""Given places in a batch: the values there. So only those that are kept are ever made."""


class DistinctSketch(msgspec.Struct, frozen=True, eq=False):
    """The `size` smallest hashes in order, how often each occurred, and of how many values in all.

    >>> a = DistinctSketch.of(np.array([7, 5, 7], dtype=np.uint64), np.array([1, 1, 1]))
    >>> a.distinct, a.repeated, a.exact
    (2, 1, True)
    """

    size: int
    total: int
    hashes: Hashes
    counts: Counts

    @classmethod
    def empty(cls, size: int = SIZE) -> "DistinctSketch":
        if size < 3:
            raise ValueError(f"size must be at least 3, not {size}")
        return cls(size, 0, np.empty(0, np.uint64), np.empty(0, np.int64))

    @classmethod
    def of(cls, hashes: Hashes, counts: Counts, *, size: int = SIZE) -> "DistinctSketch":
        """The state of a batch: its hashes (n,) in any order, and for how many values each stands (n,)."""
        few = _low(hashes, size)
        every, often = summed(hashes[few], counts[few])
        if every.size < size and few.size < hashes.size:
            every, often = summed(hashes, counts)
        return cls(size, int(counts.sum()), every[:size], often[:size])

    def merge(self, other: "DistinctSketch") -> "DistinctSketch":
        """Both parts as one: the same as if all values had been seen together."""
        if self.size != other.size:
            raise ValueError(f"sketches of {self.size} and {other.size} hashes cannot be merged")
        both = np.concatenate((self.hashes, other.hashes))
        every, often = summed(both, np.concatenate((self.counts, other.counts)))
        # Copies: a view would keep twice as much.
        return DistinctSketch(
            self.size, self.total + other.total, every[: self.size].copy(), often[: self.size].copy()
        )

    @property
    def exact(self) -> bool:
        """Whether nothing was left out."""
        return self.hashes.size < self.size

    @property
    def distinct(self) -> int:
        """Different values: exact, or the estimate."""
        if self.exact:
            return int(self.hashes.size)
        if not self.repeated:
            return self.total  # of thousands picked blindly, none occurs twice
        furthest = (float(self.hashes[-1]) + 1) / _RANGE
        return min(self.total, round((self.size - 1) / furthest))

    @property
    def relative_error(self) -> float:
        """Standard error of `distinct`, relative; 0 when it is exact.

        >>> round(DistinctSketch.of(np.arange(3, dtype=np.uint64), np.ones(3, np.int64), size=3).relative_error, 2)
        1.0
        """
        return 0.0 if self.exact else 1 / math.sqrt(self.size - 2)

    @property
    def repeated(self) -> int:
        """Values that another one is equal to and came before: of `total`, those beyond the first of each. Exact, or the share
        of the sampled ones times `total`."""
        kept = int(self.counts.sum())
        beyond = kept - int(self.hashes.size)
        return beyond if self.exact else round(beyond / kept * self.total)


class SampleSketch(msgspec.Struct, frozen=True, eq=False):
    """The values of the `size` smallest hashes: a fair sample of the different values, whatever part they came from.

    >>> first = SampleSketch(2, np.array([1, 9], np.uint64), ["a", "z"])
    >>> first.merge(SampleSketch(2, np.array([4], np.uint64), ["m"])).values
    ['a', 'm']
    """

    size: int
    hashes: Hashes
    values: list[str]

    @classmethod
    def of(cls, hashes: Hashes, witness: Witness, *, size: int) -> "SampleSketch":
        """The state of a batch of different hashes (n,), whose values `witness` tells by place."""
        few = smallest(hashes, size)
        return cls(size, hashes[few], [str(value) for value in witness(few)])

    def merge(self, other: "SampleSketch") -> "SampleSketch":
        """Both parts as one: the same as if all values had been seen together."""
        if self.size != other.size:
            raise ValueError(f"samples of {self.size} and {other.size} values cannot be merged")
        known = dict(zip(other.hashes.tolist(), other.values, strict=True))
        known |= dict(zip(self.hashes.tolist(), self.values, strict=True))
        kept = sorted(known)[: self.size]
        return SampleSketch(self.size, np.array(kept, dtype=np.uint64), [known[each] for each in kept])
