"""Tests on rows that are not independent: rows of one day form a block, and blocks are compared.

On real flights the variance of a day's late rate is about a hundred times what independent rows would
give; a test on rows then finds "significant" differences in noise. Here each block counts once.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everloop.stats.arrays import Floats, labels_of, numbers
from everloop.stats.distributions import t_quantile, t_sf
from everloop.stats.intervals import Interval
from everloop.stats.metrics import auc

Bools = NDArray[np.bool_]


class BlockMeans(msgspec.Struct, frozen=True):
    """One mean a block, in the order of the sorted keys, with the number of rows behind each."""

    keys: tuple[int | str, ...]
    rows: tuple[int, ...]
    means: tuple[float, ...]

    def at_least(self, rows: int) -> "BlockMeans":
        """Only the blocks with at least ``rows`` rows: a day of three flights says little.

        >>> block_means([1, 1, 2], [0.0, 1.0, 5.0]).at_least(2).keys
        (1,)
        """
        kept = [i for i, count in enumerate(self.rows) if count >= rows]
        return BlockMeans(
            tuple(self.keys[i] for i in kept),
            tuple(self.rows[i] for i in kept),
            tuple(self.means[i] for i in kept),
        )


def jackknife(
    keys: ArrayLike, statistic: Callable[[Bools], float | None], *, level: float = 0.95
) -> Interval | None:
    """A statistic of all rows with an interval over blocks: for what is no mean of rows, such as a difference of AUCs.

    keys: (n,) the block of each row. statistic: given a mask (n,) of rows, its value on them, or None where it has none.
    Each block is left out once; the spread of the results gives the standard error (delete-one-group jackknife: Quenouille 1949,
    Tukey 1958; Shao & Tu 1995, section 2.3). None with fewer than two blocks, or where the statistic cannot be computed.

    >>> values = np.array([1.0, 3.0, 2.0, 4.0, 3.0, 5.0])
    >>> found = jackknife([1, 1, 2, 2, 3, 3], lambda rows: float(values[rows].mean()))
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (3.0, 0.516, 5.484)
    """
    blocks = labels_of("keys", keys)
    names = np.unique(blocks)
    whole = statistic(np.ones(len(blocks), dtype=bool))
    if whole is None or len(names) < 2:
        return None
    left_out = [statistic(blocks != name) for name in names]
    known = np.array([value for value in left_out if value is not None])
    if len(known) < len(names):
        return None
    error = math.sqrt((len(names) - 1) / len(names) * float(((known - known.mean()) ** 2).sum()))
    half = t_quantile(0.5 + level / 2, len(names) - 1) * error
    return Interval(whole, whole - half, whole + half, level)


class BlockTest(msgspec.Struct, frozen=True):
    """A one-sided t test over blocks.

    ``difference`` is what was tested to be above zero, in the unit of the values; ``low`` and ``high`` its
    95 % interval; ``p`` the probability of so large a t if the true difference were zero or less.
    """

    blocks: int
    rows: int
    difference: float
    sd: float
    t: float
    df: float
    p: float
    low: float
    high: float


def block_means(keys: ArrayLike, values: ArrayLike) -> BlockMeans:
    """Mean of ``values`` (n,) within each block named by ``keys`` (n,): integers, text or dates as text.

    >>> block_means(["mon", "tue", "mon"], [1.0, 5.0, 3.0])
    BlockMeans(keys=('mon', 'tue'), rows=(2, 1), means=(2.0, 5.0))
    """
    v = numbers("values", values)
    names, codes = np.unique(labels_of("keys", keys, length=v.size), return_inverse=True)
    rows = np.bincount(codes)
    means = np.bincount(codes, weights=v) / rows
    return BlockMeans(_plain(names.tolist()), tuple(rows.tolist()), tuple(means.tolist()))


def block_aucs(keys: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> BlockMeans:
    """AUC within each block; blocks that hold one class only are left out.

    Ranking within a day is not helped by telling bad days from good ones, so it shows another decay than
    the loss does.

    >>> block_aucs([1, 1, 2, 2], [0, 1, 1, 1], [0.2, 0.7, 0.5, 0.4])
    BlockMeans(keys=(1,), rows=(2,), means=(1.0,))
    """
    s = numbers("scores", scores)
    y = numbers("labels", labels, length=s.size)
    names, codes = np.unique(labels_of("keys", keys, length=s.size), return_inverse=True)
    kept: list[int | str] = []
    rows: list[int] = []
    values: list[float] = []
    order = np.argsort(codes, kind="stable")
    for name, part in zip(
        _plain(names.tolist()), np.split(order, np.cumsum(np.bincount(codes))[:-1]), strict=True
    ):
        value = auc(y[part], s[part])
        if value is not None:
            kept.append(name)
            rows.append(part.size)
            values.append(value)
    return BlockMeans(tuple(kept), tuple(rows), tuple(values))


def paired_differences(keys: ArrayLike, first: ArrayLike, second: ArrayLike) -> BlockMeans:
    """Block means of ``first - second``, two values of the same rows (n,).

    With ``first`` the champion's losses and ``second`` the candidate's, positive means a gain.

    >>> paired_differences([1, 1, 2], [0.5, 0.75, 1.0], [0.25, 0.5, 1.5]).means
    (0.25, -0.5)
    """
    one = numbers("first", first)
    two = numbers("second", second, length=one.size)
    return block_means(keys, one - two)


def paired_t(
    keys: ArrayLike, first: ArrayLike, second: ArrayLike, *, minimum_rows: int = 1
) -> BlockTest | None:
    """One-sided paired t test over blocks that ``first - second`` is above zero; None below two blocks.

    A fixed-sample test: looking every day and stopping at the first p < .05 breaks its promise; use
    `everloop.stats.sequential` for that.

    >>> test = paired_t([1, 2, 3], [0.5, 0.6, 0.7], [0.4, 0.4, 0.6])
    >>> test.blocks, round(test.t, 2), round(test.p, 3)
    (3, 4.0, 0.029)
    """
    return mean_above(paired_differences(keys, first, second).at_least(minimum_rows), 0.0)


def mean_above(current: BlockMeans, reference: "float | BlockMeans") -> BlockTest | None:
    """One-sided test that the mean of ``current`` blocks is above a reference; None below two blocks.

    A number is taken as known exactly (Student 1908). Block means of a reference period bring their own
    noise (Welch 1947), which is what an alarm against a short reference should use.

    >>> now, before = block_means([1, 2, 3], [0.4, 0.5, 0.6]), block_means([7, 8, 9], [0.1, 0.2, 0.3])
    >>> round(mean_above(now, 0.2).t, 2), round(mean_above(now, before).t, 2)
    (5.2, 3.67)
    """
    if len(current.means) < 2:
        return None
    mean, variance = _moments(current.means)
    if isinstance(reference, BlockMeans):
        if len(reference.means) < 2:
            return None
        base, base_variance = _moments(reference.means)
        squares = variance / len(current.means), base_variance / len(reference.means)
        df = _welch_df(squares, (len(current.means), len(reference.means)))
    else:
        base = float(numbers("reference", [reference])[0])
        squares = variance / len(current.means), 0.0
        df = len(current.means) - 1.0
    difference = mean - base
    error = math.sqrt(squares[0] + squares[1])
    t = _ratio(difference, error)
    half = t_quantile(0.975, df) * error
    return BlockTest(
        blocks=len(current.means),
        rows=sum(current.rows),
        difference=difference,
        sd=math.sqrt(variance),
        t=t,
        df=df,
        p=t_sf(t, df),
        low=difference - half,
        high=difference + half,
    )


def _moments(means: Sequence[float]) -> tuple[float, float]:
    values: Floats = np.asarray(means, dtype=np.float64)
    return float(values.mean()), float(values.var(ddof=1))


def _welch_df(squares: tuple[float, float], sizes: tuple[int, int]) -> float:
    below = sum(square**2 / (size - 1) for square, size in zip(squares, sizes, strict=True))
    return (squares[0] + squares[1]) ** 2 / below if below > 0 else float(sum(sizes) - 2)


def _ratio(difference: float, error: float) -> float:
    """difference / error, where equal blocks (error 0) are read as no evidence or overwhelming evidence."""
    if error > 0:
        return difference / error
    return 0.0 if difference == 0 else math.copysign(1e9, difference)


def _plain(keys: Sequence[object]) -> tuple[int | str, ...]:
    return tuple(key if isinstance(key, int | str) else str(key) for key in keys)
