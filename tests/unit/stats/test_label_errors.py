"""Confident learning: against errors that were planted, and laws that need no model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.label_errors import find_label_errors


def planted(share: float, seed: int, choose: str = "noise_rate") -> tuple[set[int], set[int], int]:
    """Digits with a share of labels moved to another class: which were, which are found, and how many there are."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    wrong = rng.choice(truth.size, round(share * truth.size), replace=False)
    given_ = truth.copy()
    given_[wrong] = (truth[wrong] + rng.integers(1, 10, wrong.size)) % 10
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    chance = cross_val_predict(model, images, given_, cv=folds, method="predict_proba")
    found = find_label_errors(given_, chance, choose=choose)  # type: ignore[arg-type]
    return set(map(int, wrong)), {each.row for each in found.candidates}, truth.size


def test_planted_errors_are_found_and_few_others() -> None:
    wrong, found, size = planted(0.05, 0)
    recall = len(wrong & found) / len(wrong)
    false_positives = len(found - wrong) / (size - len(wrong))
    assert recall >= 0.75
    assert false_positives <= 0.015


def test_where_nothing_is_wrong_little_is_found() -> None:
    _, found, size = planted(0.0, 0)
    assert len(found) / size <= 0.01


probabilities = st.integers(2, 4).flatmap(
    lambda classes: st.lists(
        st.tuples(
            st.integers(0, classes - 1), st.lists(st.floats(0.01, 1), min_size=classes, max_size=classes)
        ),
        min_size=1,
        max_size=30,
    )
)


@given(probabilities)
def test_laws(rows: list[tuple[int, list[float]]]) -> None:
    labels = np.array([label for label, _ in rows])
    chance = np.array([each for _, each in rows])
    chance /= chance.sum(axis=1, keepdims=True)
    found = find_label_errors(labels, chance)
    rows_found = [each.row for each in found.candidates]
    assert len(set(rows_found)) == len(rows_found)
    assert all(each.given != each.suggested and each.given == labels[each.row] for each in found.candidates)
    scores = [each.score for each in found.candidates]
    assert scores == sorted(scores)
    assert all(0 <= each <= 1 for each in scores)
    joint = np.array(found.joint)
    confident = find_label_errors(labels, chance, choose="confident")
    assert joint.sum() - np.trace(joint) == len(confident.candidates)
    assert np.array(found.estimated).sum() == pytest.approx(1)
    assert np.array(found.estimated).sum(axis=1) == pytest.approx(
        np.bincount(labels, minlength=chance.shape[1]) / len(rows)
    )
    # The order of items decides nothing but the numbering, and which of several equal items are named.
    turned = find_label_errors(labels[::-1], chance[::-1])

    def named(numbers: list[int]) -> list[tuple[int, list[float]]]:
        return sorted((int(labels[row]), chance[row].tolist()) for row in numbers)

    assert named([len(rows) - 1 - each.row for each in turned.candidates]) == named(rows_found)
    plain = find_label_errors(labels, chance, rank="self_confidence")
    assert {each.row for each in plain.candidates} == set(rows_found)


@pytest.mark.parametrize(
    ("labels", "chance", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "2 labels and 1 rows"),
        ([0], [[1.0]], "two at least"),
        ([2], [[0.5, 0.5]], "lie in 0 to 1"),
        ([0.5], [[0.5, 0.5]], "numbers of classes"),
        ([0], [[0.9, 0.9]], "sum to 1.8"),
        ([0], [[1.5, -0.5]], "lie in 0 to 1"),
        ([0], [[float("nan"), 0.5]], "lie in 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[float], chance: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_label_errors(labels, chance)
