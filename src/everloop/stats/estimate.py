"""Performance before labels arrive, estimated from the model's own calibrated scores (CBPE).

All of it assumes that P(y given x) is unchanged: concept drift does not show, and the bands stay narrow while
it happens. Show the assumption with the number, and score the estimate once labels land.
"""

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everloop.stats.arrays import Floats, binary, labels_of, numbers, probabilities, weights_for
from everloop.stats.metrics import expected_calibration_error

ASSUMPTION = "assumes that P(y given x) is unchanged"
# Below this many effective rows a weighted estimate says nothing.
MINIMUM_EFFECTIVE_ROWS = 100.0


class Calibration(msgspec.Struct, frozen=True):
    """A non-decreasing map from score to probability: corners of a piecewise linear line. Empty: the identity."""

    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def apply(self, scores: ArrayLike) -> Floats:
        """Calibrated probabilities of ``scores`` (n,); beyond the ends the end value.

        >>> Calibration((0.0, 1.0), (0.2, 0.6)).apply([0.5]).round(12).tolist()
        [0.4]
        """
        raw = probabilities("scores", scores)
        return np.interp(raw, self.scores, self.probabilities) if self.scores else raw


class Estimate(msgspec.Struct, frozen=True):
    """A metric's expectation and the band that holds the realised value about 997 times in 1000 (3 sd).

    ``value`` is None where even the expectation is undefined (nothing predicted positive).
    """

    value: float | None
    low: float | None
    high: float | None


class PerformanceEstimate(msgspec.Struct, frozen=True):
    """Expected metrics of unlabelled rows; ``positive_rate`` is the expected share of positive labels."""

    rows: int
    positive_rate: Estimate
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: Estimate
    brier: Estimate
    assumption: str = ASSUMPTION


def isotonic(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Calibration:
    """Least-squares non-decreasing fit by pooling adjacent violators (Ayer et al. 1955).

    Ties in score are one point; between points the line is interpolated, as scikit-learn does.

    >>> isotonic([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1]).probabilities
    (0.0, 0.5, 0.5, 1.0)
    """
    s = probabilities("scores", scores)
    y = binary("labels", labels, length=s.size)
    w = weights_for(weights, s.size)
    points, group = np.unique(s[w > 0], return_inverse=True)
    mass = np.asarray(np.bincount(group, weights=w[w > 0]), np.float64)
    sums = np.asarray(np.bincount(group, weights=(w * y)[w > 0]), np.float64)
    sizes = np.ones(points.size, dtype=np.int64)
    # The order in which violators are pooled does not matter. Most go in a few rounds, each of which pools all runs that do not
    # rise; the rest in one pass.
    while True:
        starts = np.flatnonzero(np.concatenate(([True], np.diff(sums / mass) > 0)))
        few = starts.size > 0.8 * sums.size
        sums, mass, sizes = (
            np.add.reduceat(sums, starts),
            np.add.reduceat(mass, starts),
            np.add.reduceat(sizes, starts),
        )
        if few:
            break
    pool_means, pool_sizes = _pooled(sums, mass, sizes)
    fitted = np.minimum(np.repeat(pool_means, pool_sizes), 1.0)
    # Inside a flat stretch only its two ends matter.
    corner = np.ones(points.size, dtype=np.bool_)
    corner[1:-1] = (np.diff(fitted)[:-1] != 0) | (np.diff(fitted)[1:] != 0)
    return Calibration(tuple(points[corner].tolist()), tuple(fitted[corner].tolist()))


def _pooled(sums: Floats, mass: Floats, sizes: NDArray[np.int64]) -> tuple[list[float], list[int]]:
    """The mean and the number of points of each block, once no mean is below the one before it."""
    pool_sums: list[float] = []
    pool_mass: list[float] = []
    pool_sizes: list[int] = []
    for total, weight, size in zip(sums.tolist(), mass.tolist(), sizes.tolist(), strict=True):
        while pool_sums and pool_sums[-1] / pool_mass[-1] >= total / weight:
            total += pool_sums.pop()
            weight += pool_mass.pop()
            size += pool_sizes.pop()
        pool_sums.append(total)
        pool_mass.append(weight)
        pool_sizes.append(size)
    means = [total / weight for total, weight in zip(pool_sums, pool_mass, strict=True)]
    return means, pool_sizes


def fit_calibration(scores: ArrayLike, labels: ArrayLike, *, folds: int = 10) -> Calibration:
    """Isotonic calibration if it lowers the cross-validated calibration error, else the identity.

    Every ``folds``-th row forms a fold; rows should not be sorted by label.

    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(4000)
    >>> y = rng.random(4000) < p
    >>> fit_calibration(p, y) == Calibration(), fit_calibration(p**3, y) == Calibration()
    (True, False)
    """
    s = probabilities("scores", scores)
    y = binary("labels", labels, length=s.size)
    if not 2 <= folds <= s.size:
        raise ValueError(f"folds must lie in 2..{s.size}, not {folds}")
    which = np.arange(s.size) % folds
    held_out = np.empty_like(s)
    for fold in range(folds):
        inside = which == fold
        held_out[inside] = isotonic(s[~inside], y[~inside]).apply(s[inside])
    better = expected_calibration_error(y, held_out) < expected_calibration_error(y, s)
    return isotonic(s, y) if better else Calibration()


def design_effect(scores: ArrayLike, labels: ArrayLike, blocks: ArrayLike) -> float:
    """How many times more the outcomes of a block (day) vary together than independent ones would; at least 1.

    From labelled reference rows with calibrated ``scores``: variance of the blocks' summed residuals over the
    sum of p(1 - p). Hand it to `estimate_performance`, or its bands are too narrow by the root of it.

    >>> rng = np.random.default_rng(0)
    >>> p, day = np.full(6000, 0.3), np.repeat(np.arange(60), 100)
    >>> round(design_effect(p, rng.random(6000) < 0.3, day)) == 1
    True
    >>> design_effect(p, np.repeat(rng.random(60) < 0.3, 100), day) > 50
    True
    """
    p = probabilities("scores", scores)
    y = binary("labels", labels, length=p.size)
    _, codes = np.unique(labels_of("blocks", blocks, length=p.size), return_inverse=True)
    residuals = np.bincount(codes, weights=y - p)
    expected = float((p * (1 - p)).sum())
    return max(1.0, float((residuals**2).sum()) / expected) if expected > 0 else 1.0


def estimate_performance(
    scores: ArrayLike,
    *,
    calibration: Calibration | None = None,
    threshold: float = 0.5,
    design_effect: float = 1.0,
) -> PerformanceEstimate:
    """Expected metrics of rows without labels, from raw ``scores`` (n,); decisions are ``scores >= threshold``.

    With p the calibrated score: TP = sum p over decisions 1, FP = sum 1 - p over them, FN and TN likewise over
    decisions 0; AUC weighs each row as p positives and 1 - p negatives, ranked by raw score. Source: NannyML's
    CBPE; compare arXiv 2401.08348. Bands: 3 sampling errors of the realised metric by the delta method, outcomes
    independent given x, widened by the root of ``design_effect``.

    >>> found = estimate_performance([0.9, 0.8, 0.2, 0.1])
    >>> round(found.accuracy.value, 3), round(found.precision.value, 3), round(found.auc.value, 3)
    (0.85, 0.85, 0.875)
    """
    raw = probabilities("scores", scores)
    if not design_effect >= 1:
        raise ValueError(f"design_effect must be at least 1, not {design_effect}")
    p = (calibration or Calibration()).apply(raw)
    n = p.size
    d = (raw >= threshold).astype(np.float64)
    variance = p * (1 - p) * design_effect
    positives, selected = float(p.sum()), float(d.sum())
    tp = float((p * d).sum())

    def band(value: float, slopes: Floats) -> Estimate:
        half = 3 * math.sqrt(float((slopes**2 * variance).sum()))
        return Estimate(value, max(0.0, value - half), min(1.0, value + half))

    unknown = Estimate(None, None, None)
    right = float((p * d + (1 - p) * (1 - d)).sum()) / n
    precision = band(tp / selected, d / selected) if selected else unknown
    recall = band(tp / positives, (d - tp / positives) / positives) if positives else unknown
    f1 = 2 * tp / (selected + positives) if selected + positives else 0.0
    auc, auc_slopes = _expected_auc(raw, p)
    return PerformanceEstimate(
        rows=n,
        positive_rate=band(positives / n, np.full(n, 1 / n)),
        accuracy=band(right, (2 * d - 1) / n),
        precision=precision,
        recall=recall,
        f1=band(f1, (2 * d - f1) / (selected + positives)) if selected + positives else unknown,
        auc=band(auc, auc_slopes) if auc is not None else unknown,
        # The realised squared error of a row is (raw - y)^2, whose slope in y is 1 - 2 raw.
        brier=band(float((p * (1 - raw) ** 2 + (1 - p) * raw**2).sum()) / n, (1 - 2 * raw) / n),
    )


def importance_weights(domain_scores: ArrayLike, *, reference_rows: int, current_rows: int) -> Floats:
    """Weights (n/m) s/(1 - s) that make reference rows look like current ones (Shimodaira 2000).

    ``domain_scores`` are a calibrated domain classifier's probabilities, strictly below 1, that each *reference*
    row belongs to the current window.

    >>> importance_weights([0.5, 0.75], reference_rows=100, current_rows=100).tolist()
    [1.0, 3.0]
    """
    s = probabilities("domain_scores", domain_scores)
    if (s >= 1).any():
        raise ValueError("a domain score of 1 has no finite weight: the windows do not overlap there")
    return np.asarray(reference_rows / current_rows * s / (1 - s), dtype=np.float64)


def effective_rows(weights: ArrayLike) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2.

    >>> effective_rows([1, 1, 1, 1])
    4.0
    """
    given = numbers("weights", weights)
    w = weights_for(given, given.size)
    return float(w.sum() ** 2 / (w**2).sum())


def weighted_loss(losses: ArrayLike, weights: ArrayLike, *, minimum_share: float = 0.02) -> float | None:
    """Reference losses weighted to the current window; None where too few rows carry the weight.

    Refused below ``minimum_share`` of the rows or 100 effective rows: then the windows hardly overlap.

    >>> weighted_loss([0.2] * 300 + [0.8] * 300, [1.0] * 300 + [3.0] * 300)
    0.65
    >>> weighted_loss([0.2] * 300, [1000.0] + [0.01] * 299) is None
    True
    """
    values = numbers("losses", losses)
    w = weights_for(weights, values.size)
    if effective_rows(w) < max(MINIMUM_EFFECTIVE_ROWS, minimum_share * values.size):
        return None
    return float(np.average(values, weights=w))


def _expected_auc(raw: Floats, p: Floats) -> tuple[float | None, Floats]:
    """Expected AUC and its slope in each row's outcome."""
    _, group = np.unique(raw, return_inverse=True)
    positive, negative = np.bincount(group, weights=p), np.bincount(group, weights=1 - p)
    total_positive, total_negative = float(p.sum()), float((1 - p).sum())
    if total_positive <= 0 or total_negative <= 0:
        return None, np.zeros_like(raw)
    beaten = (np.cumsum(negative) - negative + 0.5 * negative)[group]
    beating = (total_positive - np.cumsum(positive) + 0.5 * positive)[group]
    value = float((p * beaten).sum()) / (total_positive * total_negative)
    slopes = (
        (beaten - beating) / (total_positive * total_negative)
        - value / total_positive
        + value / total_negative
    )
    return value, np.asarray(slopes, dtype=np.float64)
