"""What a difference between logged and recomputed features looks like: a unit, a time zone, a store that stands still, a cleaning
that only one side does.

The rules of this module are pure: arrays in, a sentence out, empty where nothing fits nearly all rows that differ. What needs
history as of other moments is in `everloop.features.parity.moments`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 5
"""Rows that differ, below which nothing is said."""
NEARLY_ALL = 0.95
_CLOSE = 1e-6
_CONVERSIONS: tuple[tuple[float, float, str], ...] = (
    (5 / 9, -160 / 9, "Celsius for Fahrenheit"),
    (1.8, 32.0, "Fahrenheit for Celsius"),
    (1.0, 273.15, "Kelvin for Celsius"),
    (1.0, -273.15, "Celsius for Kelvin"),
    (1.609344, 0.0, "kilometres for miles"),
    (1 / 1.609344, 0.0, "miles for kilometres"),
    (0.3048, 0.0, "metres for feet"),
    (1 / 0.3048, 0.0, "feet for metres"),
    (0.0254, 0.0, "metres for inches"),
    (25.4, 0.0, "millimetres for inches"),
    (2.54, 0.0, "centimetres for inches"),
    (0.45359237, 0.0, "kilograms for pounds"),
    (1 / 0.45359237, 0.0, "pounds for kilograms"),
    (0.44704, 0.0, "metres a second for miles an hour"),
    (0.514444, 0.0, "metres a second for knots"),
    (3.6, 0.0, "kilometres an hour for metres a second"),
    (60.0, 0.0, "minutes for hours, or seconds for minutes"),
    (1 / 60, 0.0, "hours for minutes, or minutes for seconds"),
    (3600.0, 0.0, "seconds for hours"),
    (1 / 3600, 0.0, "hours for seconds"),
    (24.0, 0.0, "hours for days"),
    (1 / 24, 0.0, "days for hours"),
    (100.0, 0.0, "per cent for a share, or hundredths"),
    (0.01, 0.0, "a share for per cent, or whole for hundredths"),
    (1000.0, 0.0, "thousandths"),
    (0.001, 0.0, "thousands"),
    (-1.0, 0.0, "the other sign"),
)


class Numbers(NamedTuple):
    """A feature of numbers, logged and recomputed, NaN where missing. differs: rows to be explained. name: what it is called."""

    logged: Floats
    history: Floats
    differs: Mask
    name: str = ""


def cause_of_numbers(numbers: Numbers) -> str:
    """What fits nearly all rows that differ.

    >>> history = np.arange(10.0, 60.0)
    >>> cause_of_numbers(Numbers((history - 32) / 1.8, history, np.ones(50, bool)))
    'unit: logged = history x 0.555556 - 17.7778 (Celsius for Fahrenheit)'
    >>> cause_of_numbers(Numbers(history, np.minimum(history, 40), history > 40))
    'cleaning: history is cut at 40, what was logged is not'
    """
    lost = np.isnan(numbers.logged), np.isnan(numbers.history)
    parts: list[tuple[Mask, Callable[[Numbers, Mask], str]]] = [
        (numbers.differs & ~lost[0] & ~lost[1], _both_there),
        (numbers.differs & lost[0], _nothing_logged),
        (numbers.differs & lost[1], _nothing_known),
    ]
    told, explained, total = [], 0, int(numbers.differs.sum())
    for rows, rule in parts:
        if rows.sum() >= ENOUGH and (cause := rule(numbers, rows)):
            told.append(cause)
            explained += int(rows.sum())
    return "; ".join(told) if told and explained >= NEARLY_ALL * total else ""


def _nothing_logged(numbers: Numbers, rows: Mask) -> str:
    filled = _constant(numbers.history[rows])
    if filled is None:
        return "missing: nothing was logged where history has values"
    return (
        f"cleaning: where nothing was logged, history has {filled:.6g}: missing values are filled there only"
    )


def _nothing_known(numbers: Numbers, rows: Mask) -> str:
    filled = _constant(numbers.logged[rows])
    return "" if filled is None else f"cleaning: where history has nothing, {filled:.6g} was logged"


def _both_there(numbers: Numbers, rows: Mask) -> str:
    logged, history = numbers.logged[rows], numbers.history[rows]
    return (
        _hours(logged, history, numbers.name)
        or _unit(logged, history)
        or _rounded(logged, history)
        or _cut(numbers, rows, "history", "what was logged")
        or _cut(Numbers(numbers.history, numbers.logged, numbers.differs), rows, "what was logged", "history")
    )


def _hours(logged: Floats, history: Floats, name: str) -> str:
    """Hours of the day that are apart by always as many, around midnight too. Small numbers are hours when they go around, or
    when they are called so."""
    both = np.concatenate([logged, history])
    if np.any(both != np.floor(both)) or both.min() < 0 or both.max() > 23 or len(np.unique(history)) < 3:
        return ""
    apart = (logged - history) % 24
    values, counts = np.unique(apart, return_counts=True)
    if counts.max() < NEARLY_ALL * len(apart):
        return ""
    if len(np.unique(logged - history)) < 2 and "hour" not in name.lower():
        return ""
    hours = int(values[np.argmax(counts)])
    return f"time zone: what was logged is {hours if hours <= 12 else hours - 24:+d} hours from history"


def _unit(logged: Floats, history: Floats) -> str:
    """A straight line through nearly all points: a factor, an offset, or both."""
    if len(np.unique(history)) < 3:
        return ""
    low, high = int(np.argmin(history)), int(np.argmax(history))
    slope = (logged[high] - logged[low]) / (history[high] - history[low])
    offset = logged[low] - slope * history[low]
    if abs(offset) <= _CLOSE * max(abs(logged).max(), 1e-300):
        slope, offset = float(np.median(logged[history != 0] / history[history != 0])), 0.0
    fits = np.isclose(logged, slope * history + offset, rtol=_CLOSE, atol=_CLOSE * np.abs(logged).max())
    if fits.mean() < NEARLY_ALL or slope == 0:
        return ""
    told = "logged = history"
    if not np.isclose(slope, 1, rtol=_CLOSE):
        told += f" x {slope:.6g}"
    if offset:
        told += f" {'+' if offset > 0 else '-'} {abs(offset):.6g}"
    for factor, shift, name in _CONVERSIONS:
        if np.isclose(slope, factor, rtol=1e-4) and np.isclose(offset, shift, rtol=1e-3, atol=1e-9):
            return f"unit: {told} ({name})"
    return f"unit: {told}"


def _rounded(logged: Floats, history: Floats) -> str:
    for digits in range(7):
        if np.mean(np.isclose(logged, np.round(history, digits), rtol=1e-9, atol=1e-12)) >= NEARLY_ALL:
            return f"precision: what was logged is rounded to {digits} digits behind the point"
    if np.mean(logged == np.trunc(history)) >= NEARLY_ALL:
        return "precision: what was logged is cut to whole numbers"
    return ""


def _cut(numbers: Numbers, there: Mask, cut: str, uncut: str) -> str:
    """Whether the recomputed value stands at its greatest or smallest wherever it differs, with the logged one beyond it."""
    logged, history = numbers.logged[there], numbers.history[there]
    limits = np.unique(history)
    if len(limits) > 2:
        return ""
    above = (history == limits[-1]) & (logged > history)
    below = (history == limits[0]) & (logged < history)
    known = numbers.history[~np.isnan(numbers.history)]
    if np.mean(above | below) < NEARLY_ALL or len(np.unique(known)) <= len(limits):
        return ""
    if (above.any() and known.max() > limits[-1]) or (below.any() and known.min() < limits[0]):
        return ""
    told = " and ".join(f"{limit:.6g}" for limit in limits)
    return f"cleaning: {cut} is cut at {told}, {uncut} is not"


def cause_of_instants(logged: Floats, history: Floats) -> str:
    """The same for instants, in seconds, of the rows that differ.

    >>> cause_of_instants(np.arange(9.0) + 5 * 3600, np.arange(9.0))
    'time zone: what was logged is +5 hours from history'
    """
    apart = logged - history
    if len(apart) < ENOUGH or not np.all(np.isfinite(apart)):
        return ""
    values, counts = np.unique(apart, return_counts=True)
    usual = float(values[np.argmax(counts)])
    if counts.max() < NEARLY_ALL * len(apart) or usual % 900 or abs(usual) > 14 * 3600:
        return ""
    return f"time zone: what was logged is {usual / 3600:+g} hours from history"


def cause_of_text(logged: list[object], history: list[object]) -> str:
    """The same for values that are no numbers, of the rows that differ.

    >>> cause_of_text(["jfk", "lga "] * 5, ["JFK", "LGA"] * 5)
    'cleaning: the values differ in case or white space only'
    """
    if len(logged) < ENOUGH:
        return ""
    pairs = list(zip(logged, history, strict=True))

    def share(rule: Callable[[tuple[object, object]], bool]) -> float:
        return sum(map(rule, pairs)) / len(pairs)

    if share(lambda pair: pair[0] is None) >= NEARLY_ALL:
        if len({each for _, each in pairs}) == 1:
            return f"cleaning: where nothing was logged, history has {history[0]!r}: missing values are filled there only"
        return "missing: nothing was logged where history has values"
    if share(lambda pair: pair[1] is None) >= NEARLY_ALL and len({each for each, _ in pairs}) == 1:
        return f"cleaning: where history has nothing, {logged[0]!r} was logged"
    if share(_same_letters) >= NEARLY_ALL:
        return "cleaning: the values differ in case or white space only"
    return ""


def _same_letters(pair: tuple[object, object]) -> bool:
    first, second = pair
    return (
        isinstance(first, str) and isinstance(second, str) and first.strip().lower() == second.strip().lower()
    )


def _constant(values: Floats) -> float | None:
    return float(values[0]) if len(values) and np.all(values == values[0]) else None
