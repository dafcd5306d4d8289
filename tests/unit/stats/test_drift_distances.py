"""Distances agree with scipy on raw values, and their noise floors with simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from everloop.stats.drift import (
    CategoricalBins,
    NumericBins,
    chi2,
    js_distance,
    js_floor,
    ks,
    psi,
    psi_floor,
    total_variation,
    wasserstein,
)
from everloop.stats.intervals import wilson

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(0, 1, 40_000)
LOGNORMAL = RNG.lognormal(0, 1, 40_000)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (NORMAL, RNG.normal(0.1, 1, 40_000)),
        (NORMAL, RNG.normal(5, 1, 40_000)),
        (NORMAL, RNG.normal(0, 1.5, 40_000)),
        (LOGNORMAL, RNG.lognormal(0, 1.3, 40_000)),
        (LOGNORMAL, np.where(RNG.random(40_000) < 0.005, 1000, 1) * LOGNORMAL),
        (np.floor(LOGNORMAL * 3), np.floor(RNG.lognormal(0.1, 1, 40_000) * 3)),
    ],
    ids=["shift", "far", "wider", "heavier", "outliers", "whole"],
)
def test_numeric_distances_agree_with_raw_values(before: np.ndarray, now: np.ndarray) -> None:
    bins = NumericBins.fit(before)
    one, two = bins.count(before), bins.count(now)
    exact = reference.wasserstein_distance(before, now) / before.std()
    assert wasserstein(one, two) == pytest.approx(exact, rel=0.01, abs=1e-4)
    theirs = reference.ks_2samp(before, now, method="asymp")
    assert ks(one, two).effect == pytest.approx(theirs.statistic, abs=0.004)


def test_ks_p_agrees_with_scipy_at_equal_distance() -> None:
    before, now = RNG.normal(0, 1, 3000), RNG.normal(0.03, 1, 3000)
    bins = NumericBins.fit(before)
    mine = ks(bins.count(before), bins.count(now))
    theirs = reference.kstwobign.sf(mine.effect * np.sqrt(1500))
    assert mine.p == pytest.approx(theirs, rel=1e-6)


COUNTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=2, max_size=8).filter(
    lambda rows: sum(a for a, _ in rows) > 0 and sum(b for _, b in rows) > 0
)


@given(COUNTS)
def test_categorical_distances_agree_with_scipy_and_are_distances(rows: list[tuple[int, int]]) -> None:
    bins = CategoricalBins(tuple(f"c{i}" for i in range(len(rows))), True)
    one = bins.count({f"c{i}": a for i, (a, _) in enumerate(rows)})
    two = bins.count({f"c{i}": b for i, (_, b) in enumerate(rows)})
    p, q = one.counts / one.n, two.counts / two.n
    from scipy.spatial.distance import jensenshannon

    assert js_distance(one, two) == pytest.approx(jensenshannon(p, q), abs=1e-7)
    assert total_variation(one, two) == pytest.approx(np.abs(p - q).sum() / 2)
    for distance in (js_distance, total_variation, psi):
        assert distance(one, two) == pytest.approx(distance(two, one))
        assert distance(one, one) == pytest.approx(0, abs=1e-7)
        assert distance(one, two) >= 0
    assert 0 <= chi2(one, two).effect <= 1 + 1e-9


def test_chi2_agrees_with_scipy_where_nothing_is_rare() -> None:
    table = np.array([[100, 200, 50], [120, 150, 90]])
    bins = CategoricalBins(("a", "b", "c"), True)
    one, two = (bins.count(dict(zip("abc", row, strict=True))) for row in table.tolist())
    theirs = reference.chi2_contingency(table, correction=False)
    assert chi2(one, two).p == pytest.approx(theirs.pvalue)


def test_chi2_keeps_its_level_with_many_rare_categories() -> None:
    rng = np.random.default_rng(3)
    weights = 1 / np.arange(1, 201)
    weights /= weights.sum()
    bins = CategoricalBins(tuple(str(i) for i in range(200)), True)
    flagged = 0
    for _ in range(300):
        one, two = (
            bins.count({str(i): int(c) for i, c in enumerate(rng.multinomial(1000, weights))})
            for _ in range(2)
        )
        flagged += chi2(one, two).p < 0.05
    assert wilson(flagged, 300, level=0.999).contains(0.05)


def test_noise_floors_are_what_simulation_gives() -> None:
    rng = np.random.default_rng(4)
    k, n = 50, 5000
    bins = CategoricalBins(tuple(str(i) for i in range(k)), True)
    js, stability = [], []
    for _ in range(60):
        one, two = (
            bins.count({str(i): int(c) for i, c in enumerate(rng.multinomial(n, [1 / k] * k))})
            for _ in range(2)
        )
        js.append(js_distance(one, two))
        stability.append(psi(one, two))
    assert np.mean(js) == pytest.approx(js_floor(k, n, n), rel=0.05)
    assert np.mean(stability) == pytest.approx(psi_floor(k, n, n), rel=0.06)


def test_psi_of_ten_bins_sees_a_column_of_zeros() -> None:
    rng = np.random.default_rng(5)
    dry = np.where(rng.random(20_000) < 0.95, 0.0, rng.exponential(2, 20_000))
    wet = np.where(rng.random(20_000) < 0.80, 0.0, rng.exponential(2, 20_000))
    bins = NumericBins.fit(dry)
    assert psi(bins.count(dry), bins.count(wet)) > 0.1
    assert psi(bins.count(dry), bins.count(dry)) == 0


def test_psi_of_a_numeric_column_has_the_floor_of_ten_bins() -> None:
    rng = np.random.default_rng(6)
    bins = NumericBins.fit(rng.normal(size=50_000))
    found = [psi(bins.count(rng.normal(size=1000)), bins.count(rng.normal(size=1000))) for _ in range(80)]
    assert np.mean(found) == pytest.approx(psi_floor(10, 1000, 1000), rel=0.2)


def test_an_empty_window_is_refused() -> None:
    bins = NumericBins.fit([1.0, 2.0])
    with pytest.raises(ValueError, match="current window has no value"):
        ks(bins.count([1.0]), bins.count([]))
