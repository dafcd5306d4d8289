"""Identifiers: UUID version 7 as 32 lower-case hexadecimal digits, so that they sort by the time they were made."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime

from everloop.domain.times import from_micros, micros

Ids = Callable[[], str]

_ID = re.compile(r"[0-9a-f]{32}\Z")
_PREFIX = re.compile(r"[0-9a-f]{4,32}\Z")


def uuid7(now: datetime, entropy: bytes) -> str:
    """The identifier for a moment and 10 random bytes (RFC 9562, section 5.7; the 12 bits after the version carry the fraction
    of the millisecond, so that identifiers of one process sort within it).

    >>> from datetime import UTC, datetime
    >>> uuid7(datetime(2026, 1, 1, tzinfo=UTC), bytes(10))
    '019b76daa80070008000000000000000'
    """
    moment = micros(now)
    milliseconds, fraction = divmod(moment, 1000)
    high = (milliseconds << 16) | (0x7 << 12) | (fraction * 4096 // 1000)
    low = (int.from_bytes(entropy[:8], "big") & ((1 << 62) - 1)) | (0b10 << 62)
    return f"{high:016x}{low:016x}"


def system_ids(clock: Callable[[], datetime]) -> Ids:
    """A source of identifiers from a clock and the operating system's randomness."""
    return lambda: uuid7(clock(), os.urandom(10))


def made_at(text: str) -> datetime | None:
    """When an identifier was made, to the millisecond; None for what is none of ours, such as a random UUID.

    >>> made_at("019b76daa80070008000000000000000"), made_at("9f86d081884c4d63a3bf4f1b2b0b822c")
    (datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    if not is_id(text) or text[12] != "7":
        return None
    try:
        return from_micros((int(text, 16) >> 80) * 1000)
    except OverflowError:  # a year after 9999: nobody made that
        return None


def is_id(text: str) -> bool:
    """Whether `text` is a whole identifier.

    >>> is_id("019b76daa80070008000000000000000"), is_id("019B"), is_id("flights")
    (True, False, False)
    """
    return bool(_ID.match(text))


def may_be_prefix(text: str) -> bool:
    """Whether `text` could be the beginning of an identifier (four digits at least)."""
    return bool(_PREFIX.match(text))
