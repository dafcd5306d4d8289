"""Parts add up to the whole: exactly for what counts, within the stated bound for what approximates."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.sketches import (
    Calendar,
    Comoments,
    DistinctSketch,
    FrequentSketch,
    Moments,
    QuantileSketch,
    hash_numbers,
    hash_texts,
)
from everloop.stats.sketches.distinct import SampleSketch
from everloop.stats.sketches.hashing import Hashes, hash_rows

parts_of_numbers = st.lists(
    st.lists(st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float), max_size=60), min_size=1, max_size=8
)
parts_of_keys = st.lists(st.lists(st.integers(0, 40), max_size=60), min_size=1, max_size=8)


def texts(values: list[str]) -> Hashes:
    raw = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, raw)])
    return hash_texts(np.frombuffer(b"".join(raw), dtype=np.uint8), offsets)


def distinct_of(keys: np.ndarray, *, size: int = 2048) -> DistinctSketch:
    return DistinctSketch.of(hash_numbers(keys), np.ones(keys.size, np.int64), size=size)


class TestHashes:
    def test_they_never_change(self) -> None:
        """Kept states hold hashes: another function would make old and new parts strangers."""
        assert hash_numbers(np.array([0, 1, -1])).tolist() == [
            16294208416658607535,
            10451216379200822465,
            16490336266968443936,
        ]
        assert hash_numbers(np.array([0.5])).tolist() == [17606427253252083309]
        assert texts(["", "a", "AA", "exactly8", "a little longer than that", "x" * 1000]).tolist() == [
            16294208416658607535,
            6774081908283191102,
            3660027234365459941,
            8784198000727360463,
            16025288747353325892,
            1695065728218771610,
        ]

    @given(st.lists(st.text(max_size=40) | st.text(min_size=250, max_size=300)))
    def test_texts_have_equal_hashes_when_they_are_equal(self, values: list[str]) -> None:
        hashes = texts(values)
        assert len(set(hashes.tolist())) == len(set(values))
        for value, found in zip(values, hashes.tolist(), strict=True):
            assert texts([value]).tolist() == [found]  # whatever lies beside it

    def test_numbers_of_one_value_are_one(self) -> None:
        for same in ([0.0, -0.0], [math.nan, -math.nan]):
            assert len(set(hash_numbers(np.array(same)).tolist())) == 1
        assert len(set(hash_numbers(np.arange(100_000)).tolist())) == 100_000
        single = np.array([0.1], np.float32)
        assert hash_numbers(single).tolist() == hash_numbers(single.astype(np.float64)).tolist()

    def test_rows_differ_when_cells_change_places(self) -> None:
        a, b = hash_numbers(np.array([1, 2])), hash_numbers(np.array([2, 1]))
        rows = hash_rows([a, b], 2)
        assert rows[0] != rows[1]
        assert hash_rows([b, a], 2).tolist() == rows.tolist()[::-1]


class TestDistinct:
    @given(parts_of_keys)
    def test_parts_add_up_exactly(self, parts: list[list[int]]) -> None:
        state = DistinctSketch.empty(8)
        for part in parts:
            state = state.merge(distinct_of(np.array(part, int), size=8))
        everything = [key for part in parts for key in part]
        whole = distinct_of(np.array(everything, int), size=8)
        assert (state.hashes.tolist(), state.counts.tolist()) == (
            whole.hashes.tolist(),
            whole.counts.tolist(),
        )
        assert (state.total, state.exact) == (len(everything), len(set(everything)) < 8)
        if state.exact:
            assert state.distinct == len(set(everything))
            assert state.repeated == len(everything) - len(set(everything))

    @pytest.mark.parametrize("distinct", [3_000, 50_000, 400_000])
    def test_the_estimate_is_as_good_as_it_says(self, distinct: int) -> None:
        keys = np.repeat(np.arange(distinct), 2)
        state = distinct_of(keys)
        assert not state.exact
        assert abs(state.distinct / distinct - 1) < 4 * state.relative_error < 0.1
        assert state.repeated == distinct  # every value occurs twice, so the sampled ones do

    def test_few_and_many_cannot_be_merged_when_their_sizes_differ(self) -> None:
        with pytest.raises(ValueError, match="8 and 16"):
            DistinctSketch.empty(8).merge(DistinctSketch.empty(16))


class TestQuantiles:
    @given(parts_of_numbers, st.integers(2, 16))
    def test_no_rank_is_wrong_by_more_than_it_says(self, parts: list[list[float]], size: int) -> None:
        state = QuantileSketch.empty(size)
        for part in parts:
            state = state.merge(QuantileSketch.of(part, size=size))
        everything = np.sort(np.array([value for part in parts for value in part]))
        assert state.n == everything.size
        assert sum(weight for weight in state.weighted()[1]) == state.n
        for value in everything:
            true = int(np.searchsorted(everything, value, side="right"))
            assert abs(state.rank(value) - true) <= state.error
        if everything.size:
            assert (state.low, state.high) == (everything[0], everything[-1])
            assert state.quantiles([0, 1]) == [everything[0], everything[-1]]
            assert state.quantile(0.5) in everything
        if everything.size <= size:
            assert state.error == 0

    def test_the_order_of_parts_and_their_size_stay_within_the_bound(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.gamma(2, 10, 300_000)
        ordered = np.sort(values)
        for pieces in (1, 7, 300):
            state = QuantileSketch.empty()
            for part in np.array_split(values, pieces):
                state = state.merge(QuantileSketch.of(part))
            assert state.relative_error < 0.01
            for share in (0.01, 0.25, 0.5, 0.99):
                found = state.quantile(share)
                assert found is not None
                at = np.searchsorted(ordered, found) / values.size
                assert abs(at - share) <= state.relative_error + 1e-5

    def test_nan_has_no_place(self) -> None:
        with pytest.raises(ValueError, match="NaN has no rank"):
            QuantileSketch.of([1.0, math.nan])


class TestFrequent:
    @given(parts_of_keys, st.integers(1, 12))
    def test_no_counter_is_short_by_more_than_it_says(self, parts: list[list[int]], size: int) -> None:
        def of(part: list[int]) -> FrequentSketch:
            keys, counts = np.unique(np.array(part, int), return_counts=True)
            return FrequentSketch.of(hash_numbers(keys), counts, lambda at: keys[at].tolist(), size=size)

        state = FrequentSketch.empty(size)
        for part in parts:
            state = state.merge(of(part))
        truth = Counter(key for part in parts for key in part)
        found = dict(state.top())
        assert len(found) <= size
        assert state.missed * (size + 1) <= truth.total()
        for key, often in truth.items():
            assert often - state.missed <= found.get(key, 0) <= often
        if len(truth) <= size and state.exact:
            assert found == truth


class TestMoments:
    @given(parts_of_numbers)
    def test_parts_add_up_but_for_rounding(self, parts: list[list[float]]) -> None:
        state = Moments()
        for part in parts:
            state = state.merge(Moments.of(np.array(part)))
        everything = np.array([value for part in parts for value in part])
        assert state.n == everything.size
        if everything.size:
            assert state.mean == pytest.approx(everything.mean(), rel=1e-9, abs=1e-6)
            assert state.sd == pytest.approx(everything.std(), rel=1e-6, abs=1e-3)

    def test_no_values_have_no_spread(self) -> None:
        assert Moments().sd is None
        assert Moments.of(np.array([1e200, -1e200])).sd is None

    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    def test_correlations_are_those_of_the_rows_that_have_both(self, seed: int, pieces: int) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(1000, 1, (4, 60))
        x[1] = x[0] * 0.5 + rng.normal(0, 0.2, 60)
        x[2][rng.random(60) < 0.4] = np.nan
        x[3] = 7.0
        state = Comoments.empty(4)
        for part in np.array_split(x, pieces, axis=1):
            state = state.merge(Comoments.of(part))
        found = state.correlations()
        both = np.isfinite(x[2])
        assert found[0, 1] == pytest.approx(np.corrcoef(x[0], x[1])[0, 1], abs=1e-9)
        assert found[0, 2] == pytest.approx(np.corrcoef(x[0][both], x[2][both])[0, 1], abs=1e-9)
        assert found[2, 0] == pytest.approx(found[0, 2], abs=1e-12)
        assert np.isnan(found[3]).all()  # a constant goes with nothing


class TestCalendar:
    @given(st.lists(st.lists(st.integers(0, 900), max_size=40), min_size=1, max_size=6))
    def test_parts_add_up_exactly(self, parts: list[list[int]]) -> None:
        state = Calendar.of(np.array([], dtype="datetime64[D]"), size=20)
        for part in parts:
            state = state.merge(Calendar.of(np.array(part, "datetime64[D]"), size=20))
        whole = Calendar.of(np.array([day for part in parts for day in part], "datetime64[D]"), size=20)
        assert (state.unit, state.at.tolist(), state.counts.tolist()) == (
            whole.unit,
            whole.at.tolist(),
            whole.counts.tolist(),
        )
        assert state.counts.sum() == sum(map(len, parts))

    def test_gaps_are_what_is_between(self) -> None:
        days = Calendar.of(
            np.array(["2013-01-01", "2013-03-01", "2013-03-02", "2013-03-09"], "datetime64[D]")
        )
        assert [(days.label(gap.after), days.label(gap.before), gap.missing) for gap in days.gaps()] == [
            ("2013-01-01", "2013-03-01", 58),
            ("2013-03-02", "2013-03-09", 6),
        ]


class TestSample:
    @given(parts_of_keys)
    def test_parts_add_up_exactly(self, parts: list[list[int]]) -> None:
        def of(part: list[int]) -> SampleSketch:
            keys = np.unique(np.array(part, int))
            return SampleSketch.of(hash_numbers(keys), lambda at: keys[at].tolist(), size=5)

        state = of([])
        for part in parts:
            state = state.merge(of(part))
        assert state.values == of([key for part in parts for key in part]).values
