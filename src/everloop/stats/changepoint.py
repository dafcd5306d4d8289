"""Since when: the most likely onset of a shift of the mean in a short series of window values."""

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from everloop.stats.arrays import numbers
from everloop.stats.distributions import t_sf


class Onset(msgspec.Struct, frozen=True):
    """A shift of the mean: ``index`` is the first window after it, ``before`` and ``after`` the two means.

    ``score`` is the two-sample t at that split and ``p`` its two-sided probability without a shift, times the
    number of splits tried (Bonferroni: conservative). ``earliest`` and ``latest`` bound the splits that are
    nearly as likely (log likelihood within 1.92 of the best).
    """

    index: int
    before: float
    after: float
    score: float
    p: float
    earliest: int
    latest: int


def onset(values: ArrayLike, *, minimum_windows: int = 2) -> Onset | None:
    """The most likely onset in ``values`` (one a window, in time order); None for a series too short or constant.

    Normal model with one variance and a mean that shifts once: the split with the largest likelihood is that
    with the largest |t| (Hinkley 1970; Worsley 1979). Each side has at least ``minimum_windows``. It always
    names the best split: read ``p`` before believing that there is one. Windows must not be strongly
    autocorrelated.

    >>> found = onset([0.20, 0.22, 0.19, 0.21, 0.31, 0.30, 0.33])
    >>> found.index, round(found.before, 3), round(found.after, 3), found.p < 0.01
    (4, 0.205, 0.313, True)
    >>> onset([0.2, 0.2]) is None
    True
    """
    if minimum_windows < 1:
        raise ValueError(f"minimum_windows must be at least 1, not {minimum_windows}")
    x = numbers("values", values)
    n = x.size
    if n < max(2 * minimum_windows, 3):
        return None
    centred = x - x.mean()
    total = float((centred**2).sum())
    # A spread within rounding of the values is a constant series.
    if total <= n * (float(np.abs(x).max()) * 1e-12) ** 2:
        return None
    sizes = np.arange(minimum_windows, n - minimum_windows + 1)
    between = np.cumsum(centred)[sizes - 1] ** 2 * n / (sizes * (n - sizes))
    within = np.maximum(
        total - between, total * 1e-12
    )  # a perfect step has no spread left, but a finite score
    best = int(np.argmax(between))
    at = int(sizes[best])
    likely = sizes[n / 2 * np.log(within / within[best]) <= 1.92]
    t = math.sqrt(float(between[best] / within[best]) * (n - 2))
    return Onset(
        index=at,
        before=float(x[:at].mean()),
        after=float(x[at:].mean()),
        score=t,
        p=min(1.0, sizes.size * 2 * t_sf(t, n - 2)),
        earliest=int(likely.min()),
        latest=int(likely.max()),
    )
