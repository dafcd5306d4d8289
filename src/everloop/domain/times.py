"""Instants: aware, UTC, whole microseconds. A time without a zone is refused where it would decide something."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from everloop.errors import InvalidInput

Clock = Callable[[], datetime]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def system_clock() -> datetime:
    """The computer's clock, in UTC."""
    return datetime.now(UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exact (no float on the way).

    >>> micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    return (moment - EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """The instant of `micros`.

    >>> from_micros(1000005)
    datetime.datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=datetime.timezone.utc)
    """
    return EPOCH + timedelta(0, 0, value)


def require_zone(moment: datetime, what: str) -> datetime:
    """`moment` in UTC, or InvalidInput when it names no zone.

    >>> require_zone(datetime(2026, 1, 1), "the event time")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the event time 2026-01-01 00:00:00 has no time zone
    """
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{what} {moment} has no time zone", hint="give an instant, such as 2026-01-01T00:00:00Z"
        )
    return moment.astimezone(UTC)
