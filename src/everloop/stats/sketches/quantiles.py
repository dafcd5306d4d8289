"""Ranks and quantiles of a stream of numbers, with a proven bound of the error.

Values are kept in levels; one of level i stands for 2^i values of its neighbourhood. A level that grows beyond `size` is
sorted and every second value goes one level up, by turns the first or the second of each pair, which moves no rank by more
than 2^i. What all that may have moved is summed up in `error`: no rank is wrong by more. Nothing is random, so the same parts
give the same state. Source: Munro and Paterson 1980; Manku, Rajagopalan and Lindsay, SIGMOD 1998; Agarwal et al., *Mergeable
summaries*, PODS 2012.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from everloop.stats.arrays import Floats

SIZE = 1024


class QuantileSketch(msgspec.Struct, frozen=True, eq=False):
    """Numbers by rank: `n` of them, the exact `low` and `high`, and sorted `levels`, where level i holds values of weight 2^i.

    >>> sketch = QuantileSketch.of(np.arange(10_000.0))
    >>> abs(sketch.rank(2500.0) - 2501) <= sketch.error <= 10
    True
    >>> sketch.merge(sketch).n
    20000
    """

    size: int
    n: int
    low: float | None
    high: float | None
    error: int
    levels: list[Floats]

    @classmethod
    def empty(cls, size: int = SIZE) -> "QuantileSketch":
        if size < 2:
            raise ValueError(f"size must be at least 2, not {size}")
        return cls(size, 0, None, None, 0, [])

    @classmethod
    def of(cls, values: ArrayLike, *, size: int = SIZE, is_sorted: bool = False) -> "QuantileSketch":
        """The state of a batch of numbers (n,). Raises ValueError for NaN; infinities are numbers like others."""
        column = np.asarray(values, dtype=np.float64)
        ordered = column if is_sorted else np.sort(column)
        if not ordered.size:
            return cls.empty(size)
        if math.isnan(ordered[-1]):
            raise ValueError("NaN has no rank")
        level = max(0, math.ceil(math.log2(ordered.size / size)))
        step = 1 << level
        whole = ordered.size // step * step
        # The middle one of each 2^level neighbours stands for them; what is left over at the end stands for itself.
        # Copies: a view would keep the whole batch.
        levels = [np.empty(0)] * level + [ordered[:whole].reshape(-1, step)[:, step // 2].copy()]
        if level:
            levels[0] = ordered[whole:].copy()
        error = step // 2 if level else 0
        low, high = float(ordered[0]), float(ordered[-1])
        return cls.empty(size)._settled(ordered.size, low, high, error, levels)

    def merge(self, other: "QuantileSketch") -> "QuantileSketch":
        """Both parts as one; the errors add up."""
        if self.size != other.size:
            raise ValueError(f"sketches of sizes {self.size} and {other.size} cannot be merged")
        levels = []
        for level in range(max(len(self.levels), len(other.levels))):
            both = [each.levels[level] for each in (self, other) if level < len(each.levels)]
            levels.append(both[0] if len(both) == 1 else np.sort(np.concatenate(both)))
        return self._settled(
            self.n + other.n,
            min((end for end in (self.low, other.low) if end is not None), default=None),
            max((end for end in (self.high, other.high) if end is not None), default=None),
            self.error + other.error,
            levels,
        )

    def _settled(
        self, n: int, low: float | None, high: float | None, error: int, levels: Sequence[Floats]
    ) -> "QuantileSketch":
        kept = list(levels)
        for level in range(64):
            if level >= len(kept):
                break
            values = kept[level]
            if values.size <= self.size:
                continue
            even = values.size - values.size % 2
            # Which of a pair goes up changes by turns, so that what is lost to one side comes back from the other.
            up = values[(level + n) % 2 : even : 2].copy()
            kept[level] = values[even:].copy()
            if level + 1 == len(kept):
                kept.append(up)
            else:
                kept[level + 1] = np.sort(np.concatenate((kept[level + 1], up)))
            error += 1 << level
        return QuantileSketch(self.size, n, low, high, error, kept)

    @property
    def relative_error(self) -> float:
        """No rank is wrong by more than this share of all values."""
        return self.error / self.n if self.n else 0.0

    def weighted(self) -> tuple[Floats, Floats]:
        """The kept values in order (m,), and for how many values each stands (m,)."""
        if not self.levels:
            return np.empty(0), np.empty(0)
        values = np.concatenate(self.levels)
        weights = np.repeat(
            [float(1 << level) for level in range(len(self.levels))], [v.size for v in self.levels]
        )
        order = np.argsort(values, kind="stable")
        return values[order], weights[order]

    def rank(self, value: float) -> int:
        """About how many values are at most `value`; wrong by `error` at most."""
        values, weights = self.weighted()
        return int(weights[: np.searchsorted(values, value, side="right")].sum())

    def quantile(self, share: float) -> float | None:
        """The least kept value that at least `share` (0 to 1) of all are at most; None when there are none."""
        found = self.quantiles([share])
        return found[0] if found else None

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Several quantiles; nothing when there are no values. The ends are exact."""
        if self.low is None or self.high is None:
            return []
        values, weights = self.weighted()
        below = np.cumsum(weights)
        at = np.searchsorted(below, np.asarray(shares) * self.n, side="left")
        found = values[np.minimum(at, values.size - 1)].tolist()
        return [
            self.low if share <= 0 else self.high if share >= 1 else value
            for share, value in zip(shares, found, strict=True)
        ]

    def histogram(self, edges: Floats) -> list[int]:
        """About how many values lie in each ``edges[i] <= x < edges[i + 1]``, the last one with its end; wrong by twice `error`
        at most.

        >>> QuantileSketch.of([1.0, 2.0, 2.5, 4.0]).histogram(np.array([1.0, 2.0, 4.0]))
        [1, 3]
        """
        values, weights = self.weighted()
        counts, _ = np.histogram(values, bins=edges, weights=weights)
        return [round(count) for count in counts.tolist()]
