"""Grades of equality between predictions, and parity of feature tables."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.stats.exactness import compare_predictions, parity

SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(SCORES)
def test_equal_arrays_are_equal_whatever_they_hold(values: list[float]) -> None:
    array = np.array([*values, np.nan, np.inf])
    assert compare_predictions(array, array.copy()).grade == "predictions"
    assert compare_predictions(array, array.copy(), same_content=True).grade == "bits"


@given(SCORES, st.floats(1e-300, 1e300), st.floats(0, 3000))
def test_k_does_not_depend_on_the_scale_and_decides_the_grade(
    values: list[float], scale: float, k: float
) -> None:
    # Powers of two scale without rounding.
    scale = 2.0 ** np.round(np.log2(scale) / 2)
    a = np.array([*values, 2.0**20])
    b = a.copy()
    b[-1] += k * np.finfo(np.float64).eps * 2.0**20
    found, scaled = compare_predictions(a, b), compare_predictions(a * scale, b * scale)
    assert (found.grade, found.k) == (scaled.grade, scaled.k)
    if found.rows_different:
        assert found.k == pytest.approx(k, abs=0.51)
        assert found.grade == ("tolerance" if found.k <= 1000 else "failed")
        assert found.first_difference == len(values)


def test_an_output_near_zero_does_not_turn_rounding_into_thousands_of_units() -> None:
    a = np.array([1.0, 1e-17])
    assert compare_predictions(a, np.array([1.0, -1e-17])).grade == "tolerance"


def test_each_output_column_has_its_own_scale() -> None:
    a = np.array([[1e9, 1e-3], [2e9, 2e-3]])
    b = a + np.array([[0, 0], [0, 1e-9]])
    found = compare_predictions(a, b)
    assert found.grade == "failed"
    assert found.first_difference == 1


def test_the_coarser_float_type_sets_the_unit() -> None:
    a = np.linspace(0, 1, 50)
    found = compare_predictions(a, a.astype(np.float32))
    assert found.grade == "tolerance"
    assert found.k is not None
    assert found.k <= 0.5


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1.0, np.nan], [np.nan, 1.0], "NaN or infinity in other places in 2 rows"),
        ([1.0, np.inf], [1.0, -np.inf], "NaN or infinity in other places in 1 rows"),
        ([0.0, 0.0], [0.0, 1e-300], "all zero"),
        ([1.0, 2.0], [1.0], "shape"),
        ([1.0, 2.0], [1, 2], "type int64"),
        (["a", "b"], ["a", "c"], "1 labels differ"),
        ([1, 0, 1], [1, 1, 1], "1 labels differ"),
    ],
)
def test_what_fails_says_why_and_fits_into_json(a: list[object], b: list[object], reason: str) -> None:
    found = compare_predictions(a, b)
    assert found.grade == "failed"
    assert reason in found.reason
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_a_flipped_decision_is_no_tolerance() -> None:
    a = np.array([0.5, 0.2])
    b = np.array([np.nextafter(0.5, 0), 0.2])
    assert compare_predictions(a, b).grade == "tolerance"
    found = compare_predictions(a, b, threshold=0.5)
    assert (found.grade, found.flips) == ("failed", 1)
    classes = np.array([[0.5, 0.5 - 1e-16], [0.9, 0.1]])
    assert compare_predictions(classes, classes[:, ::-1]).flips == 2


def test_a_zero_with_the_other_sign_is_not_the_same_bytes() -> None:
    assert compare_predictions([0.0, 1.0], [-0.0, 1.0]).grade == "tolerance"


def test_celsius_for_fahrenheit_differs_in_every_row_and_is_named_first() -> None:
    rng = np.random.default_rng(1)
    fahrenheit = rng.uniform(30, 90, 500)
    offline = {"temp": fahrenheit, "carrier": np.array(["UA", "AA"] * 250), "hour": rng.integers(0, 24, 500)}
    served = {**offline, "temp": (fahrenheit - 32) / 1.8, "hour": offline["hour"].copy()}
    served["hour"][7] += 5
    found = parity(offline, served, 1e-6)
    assert (found.rows, found.rows_different, found.flips) == (500, 500, 0)
    assert [c.column for c in found.columns] == ["temp", "hour"]
    assert found.columns[1].first_difference == 7
    assert not found.equal


COLUMN = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=5, max_size=5)


@given(COLUMN, COLUMN)
def test_parity_is_symmetric_and_a_table_equals_itself(a: list[float | None], b: list[float | None]) -> None:
    assert parity({"x": a}, {"x": a}).equal
    there, back = parity({"x": a}, {"x": b}), parity({"x": b}, {"x": a})
    assert (there.rows_different, there.max_abs, there.flips) == (
        back.rows_different,
        back.max_abs,
        back.flips,
    )


def test_missing_values_text_and_tolerances() -> None:
    nothing = float("nan")
    assert parity({"x": [1.0, nothing]}, {"x": [1.0, None]}).equal
    assert parity({"x": [1.0, nothing]}, {"x": [1.0, 2.0]}).flips == 1
    assert parity({"c": ["a", None]}, {"c": ["a", None]}).equal
    assert parity({"c": ["a", None]}, {"c": ["b", "x"]}).flips == 2
    assert parity({"x": [1, 2]}, {"x": [1.0, 2.0]}).equal
    assert parity({"x": [100.0]}, {"x": [100.5]}, 0.5).equal
    assert parity({"x": [100.0], "y": [1.0]}, {"x": [100.5], "y": [1.0]}, {"x": 1.0}).equal
    assert parity({"x": [100.0]}, {"x": [100.5]}, relative=0.01).equal
    assert not parity({"x": [np.inf]}, {"x": [-np.inf]}, 1.0).equal


def test_columns_without_a_partner_are_named() -> None:
    found = parity({"x": [1.0], "gone": [1.0]}, {"x": [1.0], "extra": [1.0]})
    assert (found.absent, found.unexpected, found.equal) == (("gone",), ("extra",), False)
    with pytest.raises(ValueError, match="no column in common"):
        parity({"x": [1.0]}, {"y": [1.0]})
    with pytest.raises(ValueError, match=r"b\.x has 2 rows, expected 1"):
        parity({"x": [1.0]}, {"x": [1.0, 2.0]})
