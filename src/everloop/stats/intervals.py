"""Confidence intervals for rates, differences of rates and means of blocks. Only the means need numpy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from everloop.stats.distributions import beta_quantile, normal_quantile, t_quantile
from everloop.stats.findings import Interval as Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval of a rate (Wilson 1927): right coverage also near 0 and 1 and for small n.

    Raises:
        ValueError: n < 1, successes outside 0..n, or a level outside (0, 1).

    >>> interval = wilson(0, 20)
    >>> interval.low, round(interval.high, 3)
    (0.0, 0.161)
    """
    _check_counts(successes, n)
    z = _two_sided_z(level)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives the bound only up to rounding.
    low = 0.0 if successes == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if successes == n else min(1.0, (centre + half) / scale)
    return Interval(p, low, high, level)


def newcombe_difference(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, level: float = 0.95
) -> Interval:
    """Interval of rate 1 minus rate 2, from the two Wilson intervals (Newcombe 1998, method 10).

    >>> interval = newcombe_difference(56, 70, 48, 80)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.0524, 0.3339)
    """
    one = wilson(successes_1, n_1, level=level)
    two = wilson(successes_2, n_2, level=level)
    difference = one.estimate - two.estimate
    low = difference - math.hypot(one.estimate - one.low, two.high - two.estimate)
    high = difference + math.hypot(one.high - one.estimate, two.estimate - two.low)
    return Interval(difference, low, high, level)


def upper_bound(successes: int, n: int, *, level: float = 0.99) -> float:
    """One-sided exact upper bound of a rate (Clopper & Pearson 1934): P(bound >= rate) >= level.

    >>> round(upper_bound(0, 100, level=0.95), 4)
    0.0295
    """
    _check_counts(successes, n)
    _check_level(level)
    if successes == n:
        return 1.0
    return beta_quantile(level, successes + 1, n - successes)


def mean_of_blocks(block_means: ArrayLike, *, level: float = 0.95) -> Interval | None:
    """Student t interval of the mean of blocks taken as independent; None for fewer than two blocks.

    ``block_means`` has one value a block (a day), each counting the same; see `everloop.stats.blocks`.

    >>> interval = mean_of_blocks([1.0, 2.0, 3.0])
    >>> round(interval.low, 2), round(interval.high, 2)
    (-0.48, 4.48)
    >>> mean_of_blocks([1.0]) is None
    True
    """
    from everloop.stats.arrays import numbers

    means = numbers("block_means", block_means)
    _check_level(level)
    if means.size < 2:
        return None
    centre = float(means.mean())
    half = t_quantile(0.5 + level / 2, means.size - 1) * float(means.std(ddof=1)) / math.sqrt(means.size)
    return Interval(centre, centre - half, centre + half, level)


def _two_sided_z(level: float) -> float:
    _check_level(level)
    return normal_quantile(0.5 + level / 2)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")


def _check_counts(successes: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..{n}, not {successes}")
