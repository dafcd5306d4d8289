"""The onset is found where it was put, and its p-value does not cry wolf."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.changepoint import onset


def test_the_onset_is_found_within_one_window() -> None:
    rng = np.random.default_rng(1)
    near = covered = 0
    for _ in range(200):
        found = onset(np.concatenate([rng.normal(0, 1, 20), rng.normal(2.5, 1, 10)]))
        assert found is not None
        near += abs(found.index - 20) <= 1
        covered += found.earliest <= 20 <= found.latest
        assert found.after > found.before
    assert near >= 160
    assert covered >= 160


def test_no_shift_is_rarely_significant() -> None:
    rng = np.random.default_rng(2)
    found = [onset(rng.normal(size=20)) for _ in range(400)]
    assert sum(f is not None and f.p < 0.05 for f in found) <= 30


@given(
    st.lists(st.integers(-20, 20), min_size=4, max_size=25),
    st.integers(-5, 5),
    st.sampled_from([0.5, 2.0, 8.0]),
)
def test_unit_and_origin_do_not_matter(values: list[int], origin: int, unit: float) -> None:
    one = onset(values)
    two = onset([origin + unit * v for v in values])
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert two.score == pytest.approx(one.score, rel=1e-3)
        assert two.p == pytest.approx(one.p, rel=1e-2, abs=1e-12)


@given(st.integers(2, 10), st.integers(2, 10))
def test_a_perfect_step_is_found_exactly(before: int, after: int) -> None:
    found = onset([1.0] * before + [3.0] * after)
    assert found is not None
    assert (found.index, found.earliest, found.latest) == (before, before, before)
    assert (found.before, found.after) == (1.0, 3.0)


def test_too_short_or_constant_series_have_no_onset() -> None:
    assert onset([1.0, 2.0, 3.0]) is None
    assert onset([0.1] * 10) is None
    with pytest.raises(ValueError, match="NaN"):
        onset([1.0, float("nan"), 2.0, 3.0])
