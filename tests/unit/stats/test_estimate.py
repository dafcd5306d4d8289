"""Estimates without labels: right where the assumption holds, and honest about where it does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from everloop.stats import metrics
from everloop.stats.estimate import (
    Calibration,
    design_effect,
    effective_rows,
    estimate_performance,
    fit_calibration,
    importance_weights,
    isotonic,
    weighted_loss,
)


@given(
    st.lists(
        st.tuples(st.integers(0, 20).map(lambda k: k / 20), st.integers(0, 1), st.integers(1, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_isotonic_agrees_with_scikit_learn(rows: list[tuple[float, int, int]]) -> None:
    s, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(s, y, sample_weight=w)
    at = np.linspace(0, 1, 41)
    assert isotonic(s, y, w).apply(at) == pytest.approx(theirs.predict(at), abs=1e-9)


def world(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores that are overconfident in a known way, and outcomes."""
    logit = rng.normal(shift, 1.5, n)
    return 1 / (1 + np.exp(-2 * logit)), rng.random(n) < 1 / (1 + np.exp(-logit))


def test_estimates_hold_the_realised_values_although_the_inputs_shift() -> None:
    rng = np.random.default_rng(1)
    calibration = fit_calibration(*world(rng, 20_000))
    assert calibration != Calibration()
    for shift in (0.0, 0.5, 1.0):
        scores, labels = world(rng, 5000, shift)
        found = estimate_performance(scores, calibration=calibration)
        decided = scores >= 0.5
        realised = {
            "accuracy": metrics.accuracy(labels, decided),
            "precision": metrics.precision(labels, decided),
            "recall": metrics.recall(labels, decided),
            "f1": metrics.f1(labels, decided),
            "auc": metrics.auc(labels, scores),
            "brier": metrics.brier(labels, scores),
            "positive_rate": labels.mean(),
        }
        for name, value in realised.items():
            band = getattr(found, name)
            assert band.low <= value <= band.high, name
            assert band.high - band.low < 0.1, name


def test_bands_are_three_standard_deviations_of_the_realised_metric() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random(400)
    found = estimate_performance(scores)
    decided = scores >= 0.5
    draws = [rng.random(400) < scores for _ in range(400)]
    realised = {
        "accuracy": [metrics.accuracy(y, decided) for y in draws],
        "precision": [metrics.precision(y, decided) for y in draws],
        "recall": [metrics.recall(y, decided) for y in draws],
        "f1": [metrics.f1(y, decided) for y in draws],
        "auc": [metrics.auc(y, scores) for y in draws],
        "brier": [metrics.brier(y, scores) for y in draws],
    }
    for name, values in realised.items():
        band = getattr(found, name)
        assert band.value == pytest.approx(np.mean(values), abs=0.01), name
        assert (band.high - band.low) / 6 == pytest.approx(np.std(values), rel=0.15), name


def test_a_changed_concept_does_not_show_and_the_estimate_says_so() -> None:
    rng = np.random.default_rng(3)
    scores, labels = world(rng, 5000)
    found = estimate_performance(scores, calibration=fit_calibration(*world(rng, 20_000)))
    assert metrics.accuracy(1 - labels, scores >= 0.5) < found.accuracy.low  # concept turned round
    assert found.assumption == "assumes that P(y given x) is unchanged"


def test_days_that_move_together_widen_the_band() -> None:
    rng = np.random.default_rng(4)
    days = np.repeat(np.arange(80), 50)
    base = 1 / (1 + np.exp(-(rng.normal(-1, 1, 80)[days])))
    effect = design_effect(np.full(4000, base.mean()), rng.random(4000) < base, days)
    assert effect > 3
    narrow, wide = (estimate_performance(base, design_effect=e).accuracy for e in (1.0, effect))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(effect), rel=0.01)


def test_nothing_predicted_positive_has_no_precision() -> None:
    found = estimate_performance([0.1, 0.2])
    assert (found.precision.value, found.recall.value) == (None, 0.0)
    assert estimate_performance([0.0, 0.0]).auc.value is None


def test_weighting_recovers_the_loss_of_a_shifted_window_and_refuses_without_overlap() -> None:
    rng = np.random.default_rng(5)
    x, now = rng.normal(0, 1, 20_000), rng.normal(0.5, 1, 20_000)
    domain = 1 / (1 + np.exp(-(0.5 * x - 0.125)))  # exact posterior of "current" for equal windows
    weights = importance_weights(domain, reference_rows=20_000, current_rows=20_000)
    assert weighted_loss(x**2, weights) == pytest.approx((now**2).mean(), rel=0.05)
    assert effective_rows(weights) == pytest.approx(20_000 * np.exp(-0.25), rel=0.05)
    far = 1 / (1 + np.exp(-(6 * x - 18)))
    assert weighted_loss(x**2, importance_weights(far, reference_rows=20_000, current_rows=20_000)) is None


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="scores must lie"):
        estimate_performance([1.2])
    with pytest.raises(ValueError, match="design_effect"):
        estimate_performance([0.2], design_effect=0.5)
    with pytest.raises(ValueError, match="folds"):
        fit_calibration([0.2], [1])
    with pytest.raises(ValueError, match="do not overlap"):
        importance_weights([1.0], reference_rows=1, current_rows=1)
