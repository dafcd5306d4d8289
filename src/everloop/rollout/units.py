"""What a difference between two columns looks like: a change of unit, a shift, a constant. Said as a guess,
to save an hour of search."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONVERSIONS: tuple[tuple[float, float, str], ...] = (
    (5 / 9, -160 / 9, "Celsius where Fahrenheit was meant"),
    (9 / 5, 32.0, "Fahrenheit where Celsius was meant"),
    (1.0, 273.15, "Kelvin where Celsius was meant"),
    (1.0, -273.15, "Celsius where Kelvin was meant"),
    (1.609344, 0.0, "kilometres where miles were meant"),
    (1 / 1.609344, 0.0, "miles where kilometres were meant"),
    (0.3048, 0.0, "metres where feet were meant"),
    (1 / 0.3048, 0.0, "feet where metres were meant"),
    (0.44704, 0.0, "metres a second where miles an hour were meant"),
    (1 / 0.44704, 0.0, "miles an hour where metres a second were meant"),
    (0.868976, 0.0, "knots where miles an hour were meant"),
    (25.4, 0.0, "millimetres where inches were meant"),
    (1 / 25.4, 0.0, "inches where millimetres were meant"),
    (1 / 33.8639, 0.0, "inches of mercury where millibars were meant"),
    (33.8639, 0.0, "millibars where inches of mercury were meant"),
    (0.45359237, 0.0, "kilograms where pounds were meant"),
    (1 / 0.45359237, 0.0, "pounds where kilograms were meant"),
    (60.0, 0.0, "a factor of 60 (seconds for minutes, or minutes for hours)"),
    (1 / 60, 0.0, "a factor of 1/60 (minutes for seconds, or hours for minutes)"),
    (100.0, 0.0, "a factor of 100 (percent where a share was meant)"),
    (0.01, 0.0, "a factor of 1/100 (a share where percent was meant)"),
    (1000.0, 0.0, "a factor of 1000"),
    (0.001, 0.0, "a factor of 1/1000"),
    (-1.0, 0.0, "the opposite sign"),
)
"""fed = slope * expected + offset."""

TOLERANCE = 1e-3


def likely_cause(fed: Sequence[float | None], expected: Sequence[float | None]) -> str:
    """What turned the expected values into the ones fed, if it is plain; else the straight line through them,
    or nothing.

    >>> likely_cause([0.0, 10.0, 25.0], [32.0, 50.0, 77.0])
    'Celsius where Fahrenheit was meant (fed = 0.556 x expected - 17.8)'
    >>> likely_cause([6.0, 9.0, 14.0], [1.0, 4.0, 9.0])
    'a shift by 5'
    >>> likely_cause([None, None], [1.0, 2.0])
    'a missing value'
    """
    if fed and all(value is None or math.isnan(value) for value in fed):
        return "a missing value"
    pairs = [
        (float(one), float(two))
        for one, two in zip(fed, expected, strict=True)
        if one is not None and two is not None and math.isfinite(one) and math.isfinite(two)
    ]
    if len({two for _, two in pairs}) < 2:
        return ""
    if len({one for one, _ in pairs}) == 1:
        return f"one constant value ({pairs[0][0]:g})"
    slope, offset = _line(pairs)
    spread = max(abs(one) for one, _ in pairs) or 1.0
    if any(abs(one - (slope * two + offset)) > TOLERANCE * spread for one, two in pairs):
        return ""
    for factor, constant, name in CONVERSIONS:
        if math.isclose(slope, factor, rel_tol=TOLERANCE) and abs(offset - constant) <= TOLERANCE * max(
            abs(constant), spread
        ):
            return f"{name} ({_formula(slope, offset)})"
    if math.isclose(slope, 1.0, rel_tol=TOLERANCE):
        return f"a shift by {offset:.4g}"
    return f"a change of scale ({_formula(slope, offset)})" if len(pairs) >= 3 else ""


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    mean_fed = sum(one for one, _ in pairs) / len(pairs)
    mean_expected = sum(two for _, two in pairs) / len(pairs)
    below = sum((two - mean_expected) ** 2 for _, two in pairs)
    slope = sum((one - mean_fed) * (two - mean_expected) for one, two in pairs) / below
    return slope, mean_fed - slope * mean_expected


def _formula(slope: float, offset: float) -> str:
    if abs(offset) < 1e-9:
        return f"fed = {slope:.3g} x expected"
    return f"fed = {slope:.3g} x expected {'+' if offset > 0 else '-'} {abs(offset):.3g}"
