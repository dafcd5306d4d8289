"""Column states: merging is addition, what goes in comes out, and hard columns stay visible."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.drift import (
    CategoricalBins,
    NumericBins,
    NumericState,
    js_distance,
    ks,
    merge,
    missing_difference,
    state_from_dict,
    wasserstein,
)

VALUES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf])), max_size=40
)
CATEGORIES = st.lists(st.sampled_from(["a", "b", "c", "new one", "ünï", None]), max_size=40)
BINS = NumericBins.fit(np.random.default_rng(0).normal(10, 1000, 3000), bins=32)
KINDS = CategoricalBins.fit(["a", "a", "b", "c"])


def same(one: NumericState, two: NumericState) -> bool:
    """Counts exactly, sums up to rounding."""
    counted = ("rows", "missing", "infinite", "low", "high")
    return (
        all(getattr(one, name) == getattr(two, name) for name in counted)
        and np.array_equal(one.counts, two.counts)
        and np.allclose(one.sums, two.sums, rtol=1e-12, atol=1e-9)
        and math.isclose(one.squares, two.squares, rel_tol=1e-12)
    )


@given(VALUES, VALUES, VALUES)
def test_numeric_merging_is_addition_in_any_order(a: list[float], b: list[float], c: list[float]) -> None:
    x, y, z = (BINS.count(part) for part in (a, b, c))
    whole = BINS.count(a + b + c)
    assert same(x.merge(y).merge(z), whole)
    assert same(z.merge(x.merge(y)), whole)
    assert same(y.merge(z).merge(x), whole)


@given(CATEGORIES, CATEGORIES, CATEGORIES)
def test_categorical_merging_is_addition_in_any_order(a: list[str], b: list[str], c: list[str]) -> None:
    x, y, z = (KINDS.count(np.array(part, dtype=object)) for part in (a, b, c))
    whole = KINDS.count(np.array(a + b + c, dtype=object))
    assert x.merge(y).merge(z) == whole == z.merge(y).merge(x)
    assert whole.n == sum(whole.to_counts().values())


@given(VALUES, CATEGORIES)
def test_states_come_back_from_json(values: list[float], categories: list[str]) -> None:
    for bins, state in ((BINS, BINS.count(values)), (KINDS, KINDS.count(np.array(categories, dtype=object)))):
        assert state_from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False))) == state
        bare = json.loads(json.dumps(state.to_dict(bins=False)))
        assert state_from_dict(bare, bins=bins) == state
        assert state_from_dict(bare, bins=bins).merge(state).rows == 2 * state.rows


@given(VALUES)
def test_moments_are_those_of_the_values(values: list[float]) -> None:
    finite = [v for v in values if math.isfinite(v)]
    state = BINS.count(values)
    assert state.n == len(finite)
    if finite:
        assert state.mean == pytest.approx(np.mean(finite), abs=1e-6)
        assert state.sd == pytest.approx(np.std(finite), abs=1e-2)
    else:
        assert (state.mean, state.sd) == (None, None)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_any_floats_can_be_a_reference(values: list[float]) -> None:
    if not any(math.isfinite(v) for v in values):
        with pytest.raises(ValueError, match="no finite value"):
            NumericBins.fit(values)
        return
    bins = NumericBins.fit(values, bins=8)
    state = bins.count(values)
    assert state.counts.sum() == state.n
    assert np.all(np.diff(bins.edges) > 0)
    assert json.dumps(state.to_dict(), allow_nan=False)
    if state.n:
        assert wasserstein(state, state) == 0
        assert ks(state, state).effect == 0


def test_a_column_half_zeros_keeps_its_zeros_apart() -> None:
    rng = np.random.default_rng(1)
    rain = np.where(rng.random(20_000) < 0.9, 0.0, rng.exponential(2, 20_000))
    bins = NumericBins.fit(rain)
    state = bins.count(rain)
    assert state.counts[np.searchsorted(bins.edges, 0.0, side="right")] == (rain == 0).sum()
    wetter = np.where(rng.random(20_000) < 0.8, 0.0, rng.exponential(2, 20_000))
    # D right at the atom: a tenth of the rows left it.
    assert ks(state, bins.count(wetter)).effect == pytest.approx(
        abs((rain == 0).mean() - (wetter == 0).mean()), abs=0.002
    )


def test_whole_numbers_get_a_bin_each() -> None:
    hours = np.random.default_rng(2).integers(0, 24, 5000)
    state = NumericBins.fit(hours).count(hours)
    assert sorted(c for c in state.counts.tolist() if c) == sorted(np.bincount(hours).tolist())


def test_a_column_that_turns_missing_shows() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    bins = NumericBins.fit(values)
    gone = np.where(np.arange(1000) % 5 < 3, np.nan, values)
    test = missing_difference(bins.count(values), bins.count(gone))
    assert test.effect == pytest.approx(0.6)
    assert test.p < 1e-12


def test_a_column_of_tiny_scale_can_drift() -> None:
    values = np.random.default_rng(4).normal(0, 1e-9, 2000)
    bins = NumericBins.fit(values)
    assert wasserstein(bins.count(values), bins.count(values + 1e-9)) == pytest.approx(1.0, rel=0.05)


def test_a_constant_column_can_drift() -> None:
    bins = NumericBins.fit([7.0] * 50)
    assert wasserstein(bins.count([7.0] * 50), bins.count([7.0] * 50)) == 0
    assert wasserstein(bins.count([7.0] * 50), bins.count([14.0] * 50)) == pytest.approx(1.0)


def test_rare_categories_beyond_the_limit_are_other_not_new() -> None:
    bins = CategoricalBins.fit({"a": 10, "b": 5, "c": 1}, limit=2)
    state = bins.count({"a": 1, "c": 2, "never seen": 3})
    assert state.to_counts() == {"a": 1, "b": 0, "(other)": 5, "(new)": 0}


def test_whole_floats_and_integers_are_one_category() -> None:
    # A join that met a null turns a column of integers into floats; that is no drift.
    bins = CategoricalBins.fit(np.array([1, 2, 2]))
    assert bins.count(np.array([1.0, 2.0, 2.0, np.nan])).to_counts() == {
        "2": 2,
        "1": 1,
        "(other)": 0,
        "(new)": 0,
    }
    assert js_distance(bins.count([1, 2, 2]), bins.count([1.0, 2.0, 2.0])) == 0


def test_states_of_different_bins_do_not_mix() -> None:
    other = NumericBins.fit([1.0, 2.0, 3.0])
    for call in (
        lambda: BINS.count([1.0]).merge(other.count([1.0])),
        lambda: ks(BINS.count([1.0]), other.count([1.0])),
    ):
        with pytest.raises(ValueError, match="different bins"):
            call()
    with pytest.raises(ValueError, match="both"):
        merge(BINS.count([1.0]), KINDS.count(["a"]))
    with pytest.raises(ValueError, match="does not fit"):
        state_from_dict(BINS.count([1.0]).to_dict(bins=False), bins=other)
    with pytest.raises(ValueError, match="without its bins"):
        state_from_dict(BINS.count([1.0]).to_dict(bins=False))


def test_a_text_column_is_not_numeric() -> None:
    with pytest.raises(ValueError, match="count it as categories"):
        NumericBins.fit(["a", "b"])


def test_a_state_does_not_grow_with_the_rows() -> None:
    values = np.random.default_rng(5).normal(size=200_000)
    bins = NumericBins.fit(values)
    tracemalloc.start()
    state = bins.count(values[:65_536])
    for start in range(65_536, values.size, 65_536):
        state = state.merge(bins.count(values[start : start + 65_536]))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert state.n == 200_000
    assert held < 50_000
