"""Intervals: known values, coverage, and the ends of the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from everloop.stats.intervals import mean_of_blocks, newcombe_difference, upper_bound, wilson


@given(st.integers(1, 5000), st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    theirs = reference.binomtest(successes, n).proportion_ci(method="wilson")
    mine = wilson(successes, n)
    assert mine.low == pytest.approx(theirs.low, abs=1e-9)
    assert mine.high == pytest.approx(theirs.high, abs=1e-9)
    assert mine.contains(successes / n)


@given(st.integers(1, 400), st.data())
def test_exact_upper_bound_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    theirs = reference.binomtest(successes, n, alternative="less").proportion_ci(0.99, method="exact")
    assert upper_bound(successes, n, level=0.99) == pytest.approx(theirs.high, abs=1e-9)


def test_newcombe_gives_the_example_of_the_paper() -> None:
    # Newcombe 1998, table II, row (a): 56/70 - 48/80.
    interval = newcombe_difference(56, 70, 48, 80)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0524, 0.3339)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_a_difference_turned_round_is_the_same_interval_turned_round(
    n: int, m: int, data: st.DataObject
) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    there, back = newcombe_difference(a, n, b, m), newcombe_difference(b, m, a, n)
    assert there.low == pytest.approx(-back.high)
    assert there.low <= there.estimate <= there.high


def test_interval_of_block_means_covers_as_promised() -> None:
    rng = np.random.default_rng(7)
    hits = sum(mean_of_blocks(rng.normal(1, 2, size=6)).contains(1.0) for _ in range(2000))
    assert wilson(hits, 2000, level=0.999).contains(0.95)


@pytest.mark.parametrize(
    "call", [lambda: wilson(1, 0), lambda: wilson(3, 2), lambda: wilson(1, 2, level=1.0)]
)
def test_impossible_counts_are_refused(call) -> None:
    with pytest.raises(ValueError, match="must"):
        call()
