"""Labels that are probably wrong: confident learning (Northcutt, Jiang & Chuang 2021, J. Artificial Intelligence Research 70).

The idea: a model that never saw an item (out-of-fold) gives it probabilities. A class's *threshold* is the mean probability that
the model gives this class where people said so. An item is confidently of class j when its probability of j reaches j's threshold
(the most probable class, where several do). Items confidently of another class than the one given are candidates.

Thresholds by class, rather than 1/2 or the most probable class, let a model be more sure of one class than of another.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everloop.stats.findings import Candidate, LabelErrors


def find_label_errors(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    rank: Literal["self_confidence", "margin"] = "margin",
    choose: Literal["noise_rate", "confident"] = "noise_rate",
) -> LabelErrors:
    """Candidates among `labels` (class numbers, one an item), from out-of-fold `probabilities` (items x classes).

    choose: ``confident`` takes the items that are confidently of another class; ``noise_rate`` takes, for each pair of classes,
    as many as the estimated joint says, those with the largest margin of the other class over the given one (in the paper: the
    confident joint's own, and PBNR). The second finds more: items the model is unsure of are counted in, too.
    rank: by the probability of the given class, or by that minus the largest other one (normalised margin, scaled to 0 to 1).

    Raises:
        ValueError: shapes that do not fit, labels outside the classes, probabilities outside 0 to 1 or rows that do not sum to 1.

    >>> sure = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.1, 0.9]]
    >>> found = find_label_errors([0, 0, 1, 1, 0], sure)
    >>> [(each.row, each.given, each.suggested) for each in found.candidates], found.joint
    ([(4, 0, 1)], [[2, 1], [0, 1]])
    """
    given, chance = _checked(labels, probabilities)
    items, classes = chance.shape
    counts = np.bincount(given, minlength=classes)
    own = chance[np.arange(items), given]
    sums = np.bincount(given, weights=own, minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    # Rounding must not keep an item below the mean of values that are all the same.
    reaching = np.where(chance >= thresholds - 1e-12, chance, -1.0)
    confident = reaching.argmax(axis=1)
    is_confident = reaching.max(axis=1) >= 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (given[is_confident], confident[is_confident]), 1)
    scores = own
    if rank == "margin":
        others = chance.copy()
        others[np.arange(items), given] = -1.0
        scores = (own - others.max(axis=1) + 1) / 2
    estimated = _calibrated(joint, counts)
    suggested = np.where(is_confident, confident, given)
    if choose == "noise_rate":
        suggested = _by_noise_rate(given, chance, estimated)
    wrong = np.flatnonzero(suggested != given)
    ranked = wrong[np.lexsort((wrong, scores[wrong]))]
    return LabelErrors(
        [None if np.isinf(each) else float(each) for each in thresholds],
        joint.tolist(),
        estimated.tolist(),
        [Candidate(int(at), int(given[at]), int(suggested[at]), float(scores[at])) for at in ranked],
    )


def _by_noise_rate(
    given: NDArray[np.int64], chance: NDArray[np.float64], estimated: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The class that each item is taken for: of those given class i, as many as the joint says are j, those with the largest
    margin ``p_j - p_i``. An item whose given class is the more probable one stays what it is; one that several classes claim goes
    to the most probable."""
    suggested = given.copy()
    best = np.zeros(given.size)
    for i in range(chance.shape[1]):
        own = np.flatnonzero(given == i)
        for j in range(chance.shape[1]):
            wanted = round(float(estimated[i, j]) * given.size)
            if i == j or not wanted:
                continue
            margin = chance[own, j] - chance[own, i]
            for at in own[np.lexsort((own, -margin))][:wanted]:
                if chance[at, j] > max(chance[at, i], best[at]):
                    suggested[at], best[at] = j, chance[at, j]
    return suggested


def _calibrated(joint: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The joint with rows that sum to how often each class was given, as shares (equation 3 of the paper). A class nobody is
    confidently given keeps its own."""
    rows = joint.sum(axis=1)
    filled = joint.astype(np.float64)
    empty = rows == 0
    filled[empty, empty] = 1.0
    scaled = filled / np.maximum(rows, 1)[:, None] * counts[:, None]
    result: NDArray[np.float64] = scaled / max(1, int(counts.sum()))
    return result


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    given, chance = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if chance.ndim != 2 or chance.shape[1] < 2:
        raise ValueError(f"probabilities are items x classes (two at least), not {chance.shape}")
    if given.shape != chance.shape[:1]:
        raise ValueError(f"there are {given.size} labels and {chance.shape[0]} rows of probabilities")
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise ValueError("labels are numbers of classes, 0 for the first column of probabilities")
    if given.size and not (given.min() >= 0 and given.max() < chance.shape[1]):
        raise ValueError(f"labels lie in 0 to {chance.shape[1] - 1}")
    if not (np.isfinite(chance).all() and (chance >= -1e-9).all() and (chance <= 1 + 1e-9).all()):
        raise ValueError("probabilities lie in 0 to 1")
    off = np.flatnonzero(np.abs(chance.sum(axis=1) - 1) > 1e-3)
    if off.size:
        raise ValueError(f"the probabilities of row {off[0]} sum to {chance[off[0]].sum():.4g}, not 1")
    return given.astype(np.int64), chance
