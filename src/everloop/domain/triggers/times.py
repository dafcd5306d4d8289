"""The times of a trigger: the next one, those that are due, those of a backfill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from everloop.domain.times import EPOCH
from everloop.domain.triggers.kinds import ByHand, Cron, Every, On, PipelineTrigger, in_words
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from cronsim import CronSim

ON_TIME = timedelta(minutes=5)
"""A time that is looked at no later than this is on time: a busy machine misses nothing by a few seconds."""
RECORDED = 100
"""How many missed times are written down one by one; of older ones only their number."""
COUNTED = 10_000
"""How many of those older ones are counted before "at least" has to do."""
MOST_IN_A_BACKFILL = 10_000

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def cron_times(on: Cron, moment: datetime, *, reverse: bool = False) -> CronSim:
    """The times after a moment by the clock of its zone; before it with `reverse`. Raises cronsim's CronSimError."""
    from cronsim import CronSim

    expression = SHORTHANDS.get(on.expression, on.expression)
    return CronSim(expression, moment.astimezone(ZoneInfo(on.zone)), reverse=reverse)


def next_time(made: PipelineTrigger, after: datetime) -> datetime | None:
    """The next time after an instant, in UTC; None for a trigger that is not about times, or that has ended.

    >>> nightly = PipelineTrigger("nightly", Cron("30 2 * * *", "Europe/Paris"))
    >>> next_time(nightly, datetime(2026, 3, 28, 12, tzinfo=UTC)).isoformat()  # 02:30 does not exist on the 29th
    '2026-03-29T01:00:00+00:00'
    """
    if not made.is_timed:
        return None
    if made.start is not None and after < made.start:
        after = made.start - timedelta(microseconds=1)
    found = next(_forward(made.on, after))
    return None if made.end is not None and found > made.end else found


def times_between(made: PipelineTrigger, since: datetime, until: datetime) -> Iterator[datetime]:
    """Its times from `since` to `until`, both included, in order. Whether the trigger rested then does not count."""
    for each in _forward(made.on, since - timedelta(microseconds=1)):
        if each > until:
            return
        yield each


def _forward(on: On, after: datetime) -> Iterator[datetime]:
    if isinstance(on, Every):
        step = timedelta(seconds=on.seconds)
        number = (after - EPOCH) // step + 1
        while True:
            yield EPOCH + number * step
            number += 1
    assert isinstance(on, Cron)
    for each in cron_times(on, after):
        yield each.astimezone(UTC)


def _backward(on: On, until: datetime) -> Iterator[datetime]:
    """Times at or before an instant, the newest first."""
    if isinstance(on, Every):
        step = timedelta(seconds=on.seconds)
        number = (until - EPOCH) // step
        while True:
            yield EPOCH + number * step
            number -= 1
    assert isinstance(on, Cron)
    minute = until.replace(second=0, microsecond=0) + timedelta(
        minutes=1
    )  # cron's own reverse leaves `until` out
    for each in cron_times(on, minute, reverse=True):
        yield each.astimezone(UTC)


class DueTime(msgspec.Struct, frozen=True):
    """A time that has come. `missed`: why nothing starts for it; empty: something does. `late`: it is made up for."""

    scheduled: datetime
    missed: str = ""
    late: bool = False


def due_times(made: PipelineTrigger, since: datetime, now: datetime) -> list[DueTime]:
    """The times after `since` and up to `now`, in order: which start something, and which are missed.

    Whatever passed, at most one starts (`catch_up_most` with ``all``): a machine that was off for days does not start them all.

    >>> hourly = PipelineTrigger("hourly", Cron("@hourly"))
    >>> off = due_times(hourly, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))
    >>> len(off), [each.scheduled.hour for each in off if not each.missed]
    (72, [0])
    """
    if not made.is_timed:
        return []
    first = since if made.start is None else max(since, made.start - timedelta(microseconds=1))
    last = now if made.end is None else min(now, made.end)
    if last <= first:
        return []
    most = max(RECORDED, made.catch_up_most)
    backward = iter(_backward(made.on, last))
    found: list[datetime] = []
    earlier = 0
    for each in backward:
        if each <= first:
            break
        if len(found) < most:
            found.append(each)
        else:
            earlier += 1
            if earlier >= COUNTED:
                break
    found.reverse()
    allowed = made.catch_up_most if made.catch_up == "all" else 1
    if made.catch_up == "none" and found and now - found[-1] > ON_TIME:
        allowed = 0
    kept = set(found[len(found) - min(allowed, len(found)) :])
    reasons = {
        "none": "nobody looked in time, and it does not catch up",
        "latest": "nobody looked in time; only the latest is made up for",
        "all": f"nobody looked in time; no more than {made.catch_up_most} are made up for",
    }
    told = [
        DueTime(each, "" if each in kept else reasons[made.catch_up], late=now - each > ON_TIME)
        for each in found
    ]
    if earlier and told:
        number = f"at least {earlier:,}" if earlier >= COUNTED else f"{earlier:,}"
        told[0] = msgspec.structs.replace(told[0], missed=f"{told[0].missed}; and {number} before it")
    return told


def is_active(made: PipelineTrigger, moment: datetime) -> bool:
    """Whether a moment is within a trigger's start and end.

    >>> is_active(PipelineTrigger("t", Every(60), end=datetime(2026, 1, 1, tzinfo=UTC)), datetime(2026, 1, 2, tzinfo=UTC))
    False
    """
    return (made.start is None or moment >= made.start) and (made.end is None or moment <= made.end)


def backfill_times(made: PipelineTrigger, since: datetime, until: datetime) -> list[datetime]:
    """The times of a backfill. Raises InvalidInput where there are none, or more than 10,000."""
    if not made.is_timed:
        how = "by hand" if isinstance(made.on, ByHand) else f"by {in_words(made.on)}"
        raise InvalidInput(
            f"trigger '{made.name}' has no times to go through: it is set off {how}",
            hint="a backfill needs a trigger with cron or every",
        )
    found = list(islice(times_between(made, since, until), MOST_IN_A_BACKFILL + 1))
    if len(found) > MOST_IN_A_BACKFILL:
        raise InvalidInput(
            f"trigger '{made.name}' has more than {MOST_IN_A_BACKFILL:,} times from {since} to {until}",
            hint="take a shorter range",
        )
    if not found:
        raise InvalidInput(
            f"trigger '{made.name}' has no time from {since} to {until}",
            hint=f"it comes at {in_words(made.on)}",
        )
    return found
