"""How far two column states are apart. Natural logarithms; reference first, current second.

Every function raises ``ValueError`` if the states are of different bins or one has no value at all.
Without drift a distance is not 0 but about its *noise floor*, which depends on rows and bins; a fixed
threshold such as "PSI above .2" means nothing without them.
"""

import math

import msgspec
import numpy as np

from everloop.stats.arrays import Counts, Floats
from everloop.stats.distributions import chi2_sf, kolmogorov_sf, normal_sf
from everloop.stats.drift.states import CategoricalState, ColumnState, NumericState, _require_same


class Tested(msgspec.Struct, frozen=True):
    """An effect and the probability of one at least as large without drift."""

    effect: float
    p: float


def psi(reference: ColumnState, current: ColumnState, *, bins: int = 10) -> float:
    """Population stability index, sum (p - q) ln(p / q) over about ``bins`` bins of equal reference share.

    Fine bins of a numeric state are joined to about ``bins``; an atom that fills several shares stays one bin.
    Categories are taken as they are. Shares are smoothed, (c + .5) / (n + .5 k), so that an empty bin does
    not dominate. Source: Lewis 1994; Yurdakul & Naranjo 2020.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["a", "b"])
    >>> round(psi(bins.count({"a": 50, "b": 50}), bins.count({"a": 80, "b": 20})), 2)
    0.4
    """
    one, two = _counts(reference, current)
    if isinstance(reference, NumericState):
        one, two = _joined(one, two, bins)
    p, q = ((c + 0.5) / (c.sum() + 0.5 * c.size) for c in (one, two))
    return float(((p - q) * np.log(p / q)).sum())


def psi_floor(bins: int, n: int, m: int) -> float:
    """Mean PSI without drift: (k - 1)(1/n + 1/m). Source: Yurdakul & Naranjo 2020.

    >>> round(psi_floor(10, 1000, 1000), 3)
    0.018
    """
    return (bins - 1) * (1 / n + 1 / m)


def js_distance(reference: ColumnState, current: ColumnState) -> float:
    """Jensen-Shannon distance over all bins, base e: 0 to sqrt(ln 2) = .833.

    Source: Lin 1991; Endres & Schindelin 2003.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["a", "b"])
    >>> round(js_distance(bins.count({"a": 9}), bins.count({"b": 9})), 3)
    0.833
    """
    one, two = _counts(reference, current)
    p, q = one / one.sum(), two / two.sum()
    r = (p + q) / 2
    return math.sqrt(max(0.0, (_kl(p, r) + _kl(q, r)) / 2))


def js_floor(bins: int, n: int, m: int) -> float:
    """Root mean square of the JS distance without drift: sqrt((k - 1)/8 (1/n + 1/m)).

    Within 3 % once n is 100 k or more; ``bins`` counts only those that hold rows.

    >>> round(js_floor(100, 1000, 1000), 3)
    0.157
    """
    return math.sqrt((bins - 1) / 8 * (1 / n + 1 / m))


def ks(reference: NumericState, current: NumericState) -> Tested:
    """Kolmogorov-Smirnov distance max|F - G| at the bins' edges, with its p-value (Smirnov 1939).

    Conservative: between edges and on ties the true distance can be larger (by .0003 with 256 bins).

    >>> from everloop.stats.drift.states import NumericBins
    >>> bins = NumericBins.fit(range(1000))
    >>> test = ks(bins.count(range(1000)), bins.count(range(200, 1000)))
    >>> round(test.effect, 2), test.p < 1e-9
    (0.2, True)
    """
    one, two = _counts(reference, current)
    n, m = one.sum(), two.sum()
    d = float(np.abs(np.cumsum(one) / n - np.cumsum(two) / m).max())
    return Tested(d, kolmogorov_sf(d * math.sqrt(n * m / (n + m))))


def wasserstein(reference: NumericState, current: NumericState) -> float:
    """Wasserstein-1 distance in standard deviations of the bins' reference: integral of |F - G| dx / sd.

    Exact where one distribution function lies above the other within each bin, since the area of a bin [a, b)
    is b D(b) - a D(a) - (S/n - T/m) with D = F - G and S, T the sums of its values; also far outside the
    reference. Source of the distance: Ramdas, Garcia & Cuturi 2017.

    >>> from everloop.stats.drift.states import NumericBins
    >>> values = np.random.default_rng(0).normal(20, 5, 4000)
    >>> bins = NumericBins.fit(values)
    >>> round(wasserstein(bins.count(values), bins.count(values + 2 * values.std())), 6)
    2.0
    """
    one, two = _counts(reference, current)
    n, m = one.sum(), two.sum()
    edges = (reference.bins.edges - reference.bins.centre) / reference.bins.scale
    below = (np.cumsum(one) / n - np.cumsum(two) / m)[:-1] * edges
    moved = reference.sums / n - current.sums / m
    # Left of the first edge and right of the last there is no other end: D is 0 there.
    areas = np.append(below, 0.0) - np.insert(below, 0, 0.0) - moved
    return float(np.abs(areas).sum())


def chi2(reference: ColumnState, current: ColumnState) -> Tested:
    """Two-sample chi-square test on the 2 x k table; the effect is Cramér's V (0 to 1).

    Both samples count as noisy (a goodness-of-fit against scaled reference counts flags 30 % of columns that
    did not move). Bins with an expected count below 5 are joined first. Source: Pearson 1900; Cochran 1954.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["a", "b"])
    >>> test = chi2(bins.count({"a": 50, "b": 50}), bins.count({"a": 80, "b": 20}))
    >>> round(test.effect, 2), f"{test.p:.1e}"
    (0.31, '8.7e-06')
    """
    one, two = _counts(reference, current)
    both = one + two
    total = both.sum()
    smaller = min(one.sum(), two.sum()) / total
    rare = both * smaller < 5
    one, two = (np.append(c[~rare], c[rare].sum()) for c in (one, two))
    if 0 < (one[-1] + two[-1]) * smaller < 5 and one.size > 1:
        # Even together the rare ones are too few: they join the smallest of the others.
        least = int(np.argmin((one + two)[:-1]))
        for counts in (one, two):
            counts[least] += counts[-1]
            counts[-1] = 0
    filled = (one + two) > 0
    table = np.vstack([one[filled], two[filled]]).astype(np.float64)
    columns = int(filled.sum())
    if columns < 2:
        return Tested(0.0, 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    return Tested(math.sqrt(statistic / total), chi2_sf(statistic, columns - 1))


def total_variation(reference: ColumnState, current: ColumnState) -> float:
    """Half the sum of |p - q| over all bins: the share of rows that would have to change.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["a", "b"])
    >>> round(total_variation(bins.count({"a": 50, "b": 50}), bins.count({"a": 80, "b": 20})), 2)
    0.3
    """
    one, two = _counts(reference, current)
    return float(np.abs(one / one.sum() - two / two.sum()).sum()) / 2


def missing_difference(reference: ColumnState, current: ColumnState) -> Tested:
    """Current minus reference missing rate, with the two-sided p of the pooled z test of two proportions.

    >>> from everloop.stats.drift.states import NumericBins
    >>> bins = NumericBins.fit([1.0, 2.0])
    >>> test = missing_difference(bins.count([1.0] * 100), bins.count([1.0] * 90 + [None] * 10))
    >>> test.effect, round(test.p, 4)
    (0.1, 0.0012)
    """
    _require_same(reference.bins, current.bins)
    return rate_difference(reference.missing, reference.rows, current.missing, current.rows)


def new_difference(reference: CategoricalState, current: CategoricalState) -> Tested:
    """Current minus reference share of rows with a category that the reference's bins do not know.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["a", "b"])
    >>> new_difference(bins.count(["a", "b"] * 100), bins.count(["a", "z"] * 100)).effect
    0.5
    """
    _require_same(reference.bins, current.bins)
    return rate_difference(reference.new, reference.n, current.new, current.n)


def rate_difference(successes: int, n: int, now_successes: int, now_n: int) -> Tested:
    """Second rate minus first, with the two-sided p of z = (p2 - p1) / sqrt(P(1 - P)(1/n + 1/m)), P pooled.

    >>> rate_difference(0, 10, 0, 10)
    Tested(effect=0.0, p=1.0)
    """
    if n < 1 or now_n < 1:
        raise ValueError("a rate needs at least one row on each side")
    difference = now_successes / now_n - successes / n
    pooled = (successes + now_successes) / (n + now_n)
    variance = pooled * (1 - pooled) * (1 / n + 1 / now_n)
    if variance == 0:
        return Tested(0.0, 1.0)
    return Tested(difference, 2 * normal_sf(abs(difference) / math.sqrt(variance)))


def _kl(p: Floats, r: Floats) -> float:
    held = p > 0
    return float((p[held] * np.log(p[held] / r[held])).sum())


def _counts(reference: ColumnState, current: ColumnState) -> tuple[Counts, Counts]:
    _require_same(reference.bins, current.bins)
    for name, state in (("reference", reference), ("current", current)):
        if state.n < 1:
            raise ValueError(f"the {name} window has no value to compare")
    return reference.counts, current.counts


def _joined(one: Counts, two: Counts, bins: int) -> tuple[Counts, Counts]:
    """Neighbouring fine bins joined into about ``bins`` of equal share, by the middle of each in the reference."""
    middle = (np.cumsum(one) - one / 2) / one.sum()
    which = np.minimum((middle * bins).astype(np.int64), bins - 1)
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    return np.add.reduceat(one, starts), np.add.reduceat(two, starts)
