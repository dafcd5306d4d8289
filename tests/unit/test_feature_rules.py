"""Rules of features that stand on their own: the order of rows, different values in a window, causes that are not made up,
recorded functions."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.errors import Failed, InvalidDefinition
from everloop.features.history.distinct import DistinctCounts
from everloop.features.history.timeline import sorted_order
from everloop.features.on_demand.functions import call, loaded, recorded
from everloop.features.parity.causes import Numbers, cause_of_numbers

moments = st.integers(-(2**40), 2**40) | st.integers(0, 3) | st.just(-(2**63))


@given(st.lists(st.tuples(st.integers(0, 3), moments, st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_rows_are_in_the_order_of_their_fields_and_then_as_they_stand(
    rows: list[tuple[int, int, int, int]],
) -> None:
    fields = [np.array(each, np.int64) for each in (zip(*rows, strict=True) if rows else [[], [], [], []])]
    expected = sorted(range(len(rows)), key=lambda row: (*rows[row], row))
    assert sorted_order(*fields).tolist() == expected


@given(
    st.lists(st.integers(-2, 4).map(float), max_size=50),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))),
)
def test_different_values_between_places_are_counted(
    values: list[float], pairs: list[tuple[int, int]]
) -> None:
    places = [sorted((min(a, len(values)), min(b, len(values)))) for a, b in pairs]
    low, high = np.array(places, np.int64).reshape(-1, 2).T
    counts = DistinctCounts(np.array(values)).between(low, high)
    assert counts.tolist() == [len(set(values[a:b])) for a, b in places]


@given(st.integers(0, 2**32), st.integers(5, 300), st.floats(0.05, 1.0))
def test_noise_has_no_cause(seed: int, rows: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    history, logged = rng.normal(50, 10, rows), rng.normal(50, 10, rows)
    differs = rng.random(rows) < share
    logged[~differs] = history[~differs]
    assert cause_of_numbers(Numbers(logged, history, differs)) == ""


@given(
    st.integers(0, 2**32),
    st.floats(0.001, 1000).filter(lambda factor: abs(factor - 1) > 1e-3),
    st.sampled_from([0.0, 0.0, -40.0, 12.5]),
)
def test_a_line_is_found_whatever_its_numbers(seed: int, factor: float, offset: float) -> None:
    history = np.random.default_rng(seed).normal(50, 10, 100)
    told = cause_of_numbers(Numbers(history * factor + offset, history, np.ones(100, bool)))
    assert told.startswith(f"unit: logged = history x {factor:.6g}")


@pytest.mark.parametrize("rows", [1, 4])
def test_a_few_rows_are_not_enough_to_tell(rows: int) -> None:
    history = np.arange(1.0, rows + 1)
    assert cause_of_numbers(Numbers(history * 2, history, np.ones(rows, bool))) == ""


SCALE = {"factor": 2.5, "missing": math.nan, "names": ("a", None)}


def _scaled(value: float) -> float:
    """A helper."""
    return value * SCALE["factor"]  # type: ignore[operator,return-value]


def area(width: float, height: float = 2.0, *, deep: bool = False) -> Any:
    """What is recorded: with its constants, its helper and its defaults."""
    side: float = _scaled(width)
    return [math.floor(side * height) for _ in range(2 if deep else 1)]


def test_a_recorded_function_does_what_it_did() -> None:
    code = recorded(area, "view")
    assert call(code, "view", 3.0) == area(3.0) == [15]
    assert call(code, "view", 3.0, 4.0, deep=True) == area(3.0, 4.0, deep=True)
    assert '"""' not in code.source
    assert "import math" in code.source


def test_a_recorded_function_stays_as_it_was_when_the_module_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    code = recorded(area, "view")
    monkeypatch.setitem(SCALE, "factor", 100.0)
    assert call(code, "view", 3.0) == [15]
    assert recorded(area, "view") != code


def test_code_is_recorded_the_same_whatever_is_said_about_it() -> None:
    def plain(x: int) -> int:
        return x + 1

    first = recorded(plain, "view")

    def plain(x: Any) -> Any:  # type: ignore[no-redef]
        """Says more, does the same."""
        # and more
        return x + 1

    assert recorded(plain, "view") == first


def test_what_fails_is_named_with_its_line() -> None:
    def broken(x: int) -> float:
        less = x - x
        return 1 / less

    with pytest.raises(Failed, match=r"view, line 3 of its code \(return 1 / less\): ZeroDivisionError"):
        call(recorded(broken, "view"), "view", 1)


def test_a_function_of_a_function_is_refused() -> None:
    inner = 3

    def closure(x: int) -> int:
        return x + inner

    with pytest.raises(InvalidDefinition, match="'closure' uses 'inner' of the function around it"):
        recorded(closure, "view")

    def unknown(x: int) -> int:
        return x + nothing_of_this_name  # type: ignore[name-defined,no-any-return]  # noqa: F821

    with pytest.raises(InvalidDefinition, match="uses 'nothing_of_this_name', which nothing defines"):
        recorded(unknown, "view")


def test_loading_is_remembered() -> None:
    code = recorded(area, "view")
    assert loaded(code) is loaded(recorded(area, "view"))
