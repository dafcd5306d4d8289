"""What repeated runs of one configuration say: the mean with its interval, and whether two configurations differ.

Student's t for one mean; for the difference of two, Welch's test, which does not take the spreads for equal, with the degrees of
freedom of Satterthwaite (B. L. Welch, "The generalization of 'Student's' problem when several different population variances
are involved", Biometrika 34, 1947).

The folds of a cross-validation are not independent: any two models share most of their training rows. Their variance is corrected
by the share of rows tested to rows trained on, `overlap` (C. Nadeau and Y. Bengio, "Inference for the generalization error",
Machine Learning 52, 2003): s² (1/n + overlap) instead of s²/n.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from everloop.stats.distributions import t_quantile
from everloop.stats.intervals import Interval


def mean_of_repeats(values: Sequence[float], *, level: float = 0.95, overlap: float = 0.0) -> Interval | None:
    """The mean of repeats with Student's interval; None for fewer than two, or where one is not finite (or too large to be
    squared). `overlap`: 0 for independent repeats, 1/(k-1) for the folds of a k-fold cross-validation.

    >>> found = mean_of_repeats([0.80, 0.82, 0.84])
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (0.82, 0.77, 0.87)
    >>> folds = mean_of_repeats([0.80, 0.82, 0.84], overlap=1 / 2)
    >>> round(folds.low, 3), round(folds.high, 3)
    (0.741, 0.899)
    """
    if len(values) < 2 or not _usable(values):
        return None
    mean, n = fmean(values), len(values)
    half = t_quantile(0.5 + level / 2, n - 1) * math.sqrt(_variance(values) * (1 / n + overlap))
    return Interval(mean, mean - half, mean + half, level)


def difference_of_repeats(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95
) -> Interval | None:
    """Mean of `second` minus mean of `first` with Welch's interval; None where either has fewer than two, or one is not finite.

    >>> found = difference_of_repeats([0.80, 0.82, 0.84], [0.85, 0.88, 0.91])
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (0.06, -0.001, 0.121)
    """
    if min(len(first), len(second)) < 2 or not _usable([*first, *second]):
        return None
    parts = [_variance(each) / len(each) for each in (first, second)]
    error = sum(parts)
    difference = fmean(second) - fmean(first)
    if error == 0:
        return Interval(difference, difference, difference, level)
    freedom = error**2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (first, second), strict=True)
    )
    half = t_quantile(0.5 + level / 2, freedom) * math.sqrt(error)
    return Interval(difference, difference - half, difference + half, level)


def difference_of_pairs(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95, overlap: float = 0.0
) -> Interval | None:
    """Mean of `second` minus `first`, measured in pairs (the same seed, the same fold), with Student's interval of the paired
    differences; None for fewer than two pairs, or where one is not finite. `overlap` as for `mean_of_repeats`.

    >>> found = difference_of_pairs([0.80, 0.82, 0.90], [0.85, 0.88, 0.95])
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (0.053, 0.039, 0.068)
    """
    if not _usable([*first, *second]):
        return None
    differences = [b - a for a, b in zip(first, second, strict=True)]
    return mean_of_repeats(differences, level=level, overlap=overlap)


def _usable(values: Sequence[float]) -> bool:
    return all(abs(each) < 1e150 for each in values)


def _variance(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1)
