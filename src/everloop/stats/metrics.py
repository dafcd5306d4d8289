"""How good predictions are on labelled rows.

All functions take arrays of one dimension and equal length, labels 0/1 (or booleans) for classification,
and optional non-negative row weights. They raise ``ValueError`` on NaN, infinity, unequal lengths and
empty input. ``None`` means that the rows cannot tell (one class only, nothing predicted positive).
"""

import numpy as np
from numpy.typing import ArrayLike

from everloop.stats.arrays import Floats, binary, numbers, probabilities, weights_for

# Predictions of exactly 0 or 1 would give infinite loss for one wrong row.
_CLIP = 1e-15


def log_losses(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """Log loss of each row in nats, shape (n,): -ln of the probability given to what happened.

    >>> log_losses([1, 0], [0.5, 0.5]).round(4).tolist()
    [0.6931, 0.6931]
    """
    p = np.clip(probabilities("scores", scores), _CLIP, 1 - _CLIP)
    y = binary("labels", labels, length=p.size)
    return -np.where(y == 1, np.log(p), np.log1p(-p))


def log_loss(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean log loss in nats.

    >>> round(log_loss([1, 0, 1], [0.9, 0.2, 0.8]), 4)
    0.1839
    """
    losses = log_losses(labels, scores)
    return float(np.average(losses, weights=weights_for(weights, losses.size)))


def excess_log_losses(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """Log loss of each row minus the entropy of its own prediction, in nats, shape (n,).

    Its mean is 0 for a calibrated model whatever the base rate, so unlike the raw loss it can be compared
    between an easy month and a hard one.

    >>> excess_log_losses([1, 0], [0.5, 0.5]).round(12).tolist()
    [0.0, 0.0]
    >>> excess_log_losses([1, 0], [0.1, 0.1]).round(2).tolist()
    [1.98, -0.22]
    """
    p = np.clip(probabilities("scores", scores), _CLIP, 1 - _CLIP)
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return log_losses(labels, p) - entropy


def brier(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared error of probabilities (Brier 1950).

    >>> round(brier([1, 0], [0.8, 0.4]), 12)
    0.1
    """
    p = probabilities("scores", scores)
    y = binary("labels", labels, length=p.size)
    return float(np.average((p - y) ** 2, weights=weights_for(weights, p.size)))


def calibration_gap(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean prediction minus observed rate: positive when the model promises too much.

    >>> round(calibration_gap([1, 0], [0.9, 0.7]), 12)
    0.3
    """
    p = probabilities("scores", scores)
    y = binary("labels", labels, length=p.size)
    return float(np.average(p - y, weights=weights_for(weights, p.size)))


def expected_calibration_error(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, bins: int = 10
) -> float:
    """Mean absolute gap between prediction and rate over ``bins`` equal-width score bins, weighted by rows.

    Source: Naeini, Cooper & Hauskrecht 2015. Biased upward in small samples: compare at equal n.

    >>> round(expected_calibration_error([1, 1, 0, 0], [0.75, 0.75, 0.25, 0.25]), 12)
    0.25
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    p = probabilities("scores", scores)
    y = binary("labels", labels, length=p.size)
    w = weights_for(weights, p.size)
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=w * (p - y), minlength=bins)
    return float(np.abs(gaps).sum() / w.sum())


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Area under the ROC curve: P(score of a positive > score of a negative) + half P(tie).

    Scores may be any finite numbers. None if only one class has weight.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    >>> auc([0, 1], [0.5, 0.5])
    0.5
    >>> auc([1, 1], [0.2, 0.3]) is None
    True
    """
    s = numbers("scores", scores)
    y = binary("labels", labels, length=s.size)
    w = weights_for(weights, s.size)
    _, group = np.unique(s, return_inverse=True)
    positive = np.bincount(group, weights=w * y)
    negative = np.bincount(group, weights=w * (1 - y))
    pairs = float(positive.sum() * negative.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def confusion(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> tuple[float, float, float, float]:
    """Weights of (true positives, false positives, false negatives, true negatives).

    ``predictions`` are decisions 0/1: cut scores first, ``scores >= 0.5``.

    >>> confusion([1, 0, 1, 0], [1, 1, 0, 0])
    (1.0, 1.0, 1.0, 1.0)
    """
    d = binary("predictions", predictions)
    y = binary("labels", labels, length=d.size)
    w = weights_for(weights, d.size)
    return (
        float((w * y * d).sum()),
        float((w * (1 - y) * d).sum()),
        float((w * y * (1 - d)).sum()),
        float((w * (1 - y) * (1 - d)).sum()),
    )


def accuracy(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of rows decided rightly.

    >>> accuracy([1, 0, 1, 0], [1, 1, 1, 0])
    0.75
    """
    tp, fp, fn, tn = confusion(labels, predictions, weights)
    return (tp + tn) / (tp + fp + fn + tn)


def precision(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Share of predicted positives that are positive; None if nothing is predicted positive.

    >>> precision([1, 0, 1], [1, 1, 0])
    0.5
    """
    tp, fp, _, _ = confusion(labels, predictions, weights)
    return tp / (tp + fp) if tp + fp > 0 else None


def recall(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Share of positives that are found; None if there are no positives.

    >>> recall([1, 0, 1], [1, 1, 0])
    0.5
    """
    tp, _, fn, _ = confusion(labels, predictions, weights)
    return tp / (tp + fn) if tp + fn > 0 else None


def f1(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Harmonic mean of precision and recall; None if no row is positive or predicted so.

    >>> f1([1, 0, 1], [1, 1, 0])
    0.5
    """
    tp, fp, fn, _ = confusion(labels, predictions, weights)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn > 0 else None


def rmse(targets: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error, in the unit of the target.

    >>> rmse([0, 0], [3, 3])
    3.0
    """
    p = numbers("predictions", predictions)
    y = numbers("targets", targets, length=p.size)
    return float(np.sqrt(np.average((p - y) ** 2, weights=weights_for(weights, p.size))))


def mae(targets: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error, in the unit of the target.

    >>> mae([0, 0], [3, -1])
    2.0
    """
    p = numbers("predictions", predictions)
    y = numbers("targets", targets, length=p.size)
    return float(np.average(np.abs(p - y), weights=weights_for(weights, p.size)))


def r2(targets: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Share of the target's variance explained (negative: worse than its mean); None for a constant target.

    >>> r2([1, 2, 3], [1, 2, 3])
    1.0
    >>> r2([2, 2], [1, 3]) is None
    True
    """
    p = numbers("predictions", predictions)
    y = numbers("targets", targets, length=p.size)
    w = weights_for(weights, p.size)
    if (y[w > 0] == y[w > 0][0]).all():
        return None
    total = float((w * (y - np.average(y, weights=w)) ** 2).sum())
    return 1.0 - float((w * (y - p) ** 2).sum()) / total
