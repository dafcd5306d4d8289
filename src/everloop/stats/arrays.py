"""Checked input: every statistic starts from arrays whose shape and content are known to be sound."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def numbers(name: str, values: ArrayLike, *, length: int | None = None, allow_empty: bool = False) -> Floats:
    """Return ``values`` as a one-dimensional float64 array without NaN or infinity.

    Raises:
        ValueError: not one-dimensional, empty, not numeric, NaN or infinite, or not ``length`` long.

    >>> numbers("loss", [1, 2.5])
    array([1. , 2.5])
    >>> numbers("loss", [1, float("nan")])
    Traceback (most recent call last):
    ...
    ValueError: loss has a NaN or infinite value at row 1
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not numeric") from None
    _check_shape(name, array, length, allow_empty)
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(f"{name} has a NaN or infinite value at row {int(np.argmin(finite))}")
    return array


def probabilities(name: str, values: ArrayLike, *, length: int | None = None) -> Floats:
    """Return ``values`` as `numbers` does, and require each to lie in [0, 1].

    >>> probabilities("score", [0.2, 1.3])
    Traceback (most recent call last):
    ...
    ValueError: score must lie in [0, 1]; row 1 is 1.3
    """
    array = numbers(name, values, length=length)
    outside = (array < 0) | (array > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(f"{name} must lie in [0, 1]; row {row} is {array[row]:g}")
    return array


def binary(name: str, values: ArrayLike, *, length: int | None = None) -> Floats:
    """Return ``values`` as floats that are each 0 or 1 (booleans welcome).

    >>> binary("late", [True, False])
    array([1., 0.])
    >>> binary("late", [0, 2])
    Traceback (most recent call last):
    ...
    ValueError: late must be 0 or 1; row 1 is 2
    """
    array = numbers(name, values, length=length)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must be 0 or 1; row {row} is {array[row]:g}")
    return array


def weights_for(weights: ArrayLike | None, length: int) -> Floats:
    """Return row weights: ones if none are given, else checked to be non-negative with a positive sum.

    >>> weights_for(None, 2)
    array([1., 1.])
    """
    if weights is None:
        return np.ones(length)
    array = numbers("weights", weights, length=length)
    if (array < 0).any():
        raise ValueError("weights must not be negative")
    if array.sum() <= 0:
        raise ValueError("weights must not all be zero")
    return array


def labels_of(name: str, values: ArrayLike, *, length: int | None = None) -> NDArray[Any]:
    """Return ``values`` as a one-dimensional array of keys: integers, text or objects without None or NaN.

    >>> labels_of("day", ["2013-06-01", "2013-06-02"]).tolist()
    ['2013-06-01', '2013-06-02']
    """
    array = np.asarray(values)
    _check_shape(name, array, length, allow_empty=False)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} has a missing value at row {int(np.argmax(np.isnan(array)))}")
    if array.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in array.tolist()])
        if missing.any():
            raise ValueError(f"{name} has a missing value at row {int(np.argmax(missing))}")
    return array


def _check_shape(name: str, array: NDArray[Any], length: int | None, allow_empty: bool) -> None:
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {array.ndim}")
    if array.size == 0 and not allow_empty:
        raise ValueError(f"{name} is empty")
    if length is not None and array.size != length:
        raise ValueError(f"{name} has {array.size} rows, expected {length}")
