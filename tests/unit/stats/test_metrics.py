"""Metrics agree with scikit-learn, and say what they cannot tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from everloop.stats import metrics

ROWS = st.lists(
    # Few distinct scores, so that ties are common; the weights are whole and sometimes zero.
    st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda k: k / 8), st.integers(0, 3)),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({y for y, _, w in rows if w}) == 2)


@given(ROWS)
def test_classification_metrics_agree_with_scikit_learn(rows: list[tuple[int, float, int]]) -> None:
    y, p, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    d = (p >= 0.5).astype(float)
    assert metrics.auc(y, p, w) == pytest.approx(reference.roc_auc_score(y, p, sample_weight=w))
    assert metrics.log_loss(y, p, w) == pytest.approx(
        reference.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15), sample_weight=w)
    )
    assert metrics.brier(y, p, w) == pytest.approx(reference.brier_score_loss(y, p, sample_weight=w))
    assert metrics.accuracy(y, d, w) == pytest.approx(reference.accuracy_score(y, d, sample_weight=w))
    assert metrics.recall(y, d, w) == pytest.approx(reference.recall_score(y, d, sample_weight=w))
    if (w * d).sum() > 0:
        assert metrics.precision(y, d, w) == pytest.approx(reference.precision_score(y, d, sample_weight=w))
    assert metrics.f1(y, d, w) == pytest.approx(reference.f1_score(y, d, sample_weight=w))


@given(
    st.lists(
        st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 3)), min_size=2, max_size=40
    )
)
def test_regression_metrics_agree_with_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    y, p, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assert metrics.rmse(y, p, w) == pytest.approx(reference.root_mean_squared_error(y, p, sample_weight=w))
    assert metrics.mae(y, p, w) == pytest.approx(reference.mean_absolute_error(y, p, sample_weight=w))
    if len(set(y)) > 1:
        assert metrics.r2(y, p, w) == pytest.approx(reference.r2_score(y, p, sample_weight=w))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30, unique=True), st.floats(0.1, 10))
def test_auc_does_not_change_with_the_scale_of_the_scores(scores: list[float], factor: float) -> None:
    y = np.arange(len(scores)) % 2
    ranks = np.argsort(np.argsort(scores)) * factor + 3
    assert metrics.auc(y, scores) == pytest.approx(metrics.auc(y, ranks))


def test_excess_loss_ignores_the_base_rate_and_shows_miscalibration() -> None:
    rng = np.random.default_rng(3)
    for centre in (0.1, 0.4):
        p = np.clip(rng.normal(centre, 0.05, 200_000), 0.01, 0.99)
        y = rng.random(p.size) < p
        assert abs(metrics.excess_log_losses(y, p).mean()) < 0.005
        assert metrics.excess_log_losses(y, np.clip(p - 0.09, 0.005, 1)).mean() > 0.01
    assert metrics.log_loss(rng.random(200_000) < 0.1, np.full(200_000, 0.1)) < 0.4


def test_calibration_error_and_gap() -> None:
    assert metrics.calibration_gap([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]) == 0
    assert metrics.expected_calibration_error([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]) == 0
    # Too high in one bin and too low in another: the gap cancels, the calibration error does not.
    labels, scores = [0, 1], [0.25, 0.75]
    assert metrics.calibration_gap(labels, scores) == 0
    assert metrics.expected_calibration_error(labels, scores) == 0.25


def test_what_the_rows_cannot_tell_is_none() -> None:
    assert metrics.auc([0, 0], [0.1, 0.2]) is None
    assert metrics.auc([0, 1], [0.1, 0.2], weights=[1, 0]) is None
    assert metrics.precision([0, 1], [0, 0]) is None
    assert metrics.recall([0, 0], [0, 1]) is None
    assert metrics.f1([0, 0], [0, 0]) is None
    assert metrics.r2([1, 1], [1, 2]) is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5], "labels has 2 rows, expected 1"),
        ([], [], "scores is empty"),
        ([0, 1], [0.5, float("nan")], "scores has a NaN or infinite value at row 1"),
        ([0, float("nan")], [0.5, 0.5], "labels has a NaN"),
        ([0, 2], [0.5, 0.5], "labels must be 0 or 1; row 1 is 2"),
        ([0, 1], [0.5, 1.5], "scores must lie in"),
        ([0, 1], [[0.5], [0.5]], "scores must have one dimension"),
        (["a", "b"], [0.5, 0.5], "labels is not numeric"),
    ],
)
def test_wrong_input_is_named(labels: list[object], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.log_loss(labels, scores)


def test_weights_must_make_sense() -> None:
    with pytest.raises(ValueError, match="negative"):
        metrics.rmse([1, 2], [1, 2], weights=[1, -1])
    with pytest.raises(ValueError, match="zero"):
        metrics.rmse([1, 2], [1, 2], weights=[0, 0])
