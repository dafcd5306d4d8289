"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from everloop.domain.names import shown
from everloop.errors import InvalidInput

Duration = timedelta | str
"""A `timedelta`, or text such as ``"52min"`` or ``"1d12h"``."""

_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART = re.compile(r"(\d+)\s*(us|ms|min|s|h|d|w)\s*")


def duration(value: Duration) -> timedelta:
    """The length of time, which is never negative.

    >>> duration("52min"), duration("1d12h")
    (datetime.timedelta(seconds=3120), datetime.timedelta(days=1, seconds=43200))
    >>> duration("3 hours")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: '3 hours' is not a length of time
    """
    if isinstance(value, timedelta):
        total = value
    else:
        parts = list(_PART.finditer(value.strip()))
        if not parts or "".join(match[0] for match in parts) != value.strip():
            raise InvalidInput(
                f"{shown(value)} is not a length of time",
                hint=f"write 90s, 52min, 3h or 7d; units are {', '.join(_UNITS)}",
            )
        total = sum((int(match[1]) * _UNITS[match[2]] for match in parts), timedelta())
    if total < timedelta():
        raise InvalidInput(f"{value} is negative; a length of time is not")
    return total
