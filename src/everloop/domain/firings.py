"""A firing, one time or event that sets a trigger off: when it may begin, what it hands to its pipeline, whose turn it is.

Pure; what may be declared, and which times are due, is in `everloop.domain.triggers`.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from everloop.domain.triggers import Cron, Overlap, PipelineTrigger
from everloop.errors import InvalidInput, nearest


class FiringStatus(StrEnum):
    WAITING = "waiting"
    """Its turn has not come: of its time, of the quiet after an event, or of another firing that runs."""
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    REPLACED = "replaced"
    """It was stopped because a newer one came."""
    SKIPPED = "skipped"
    MISSED = "missed"
    """Nobody looked at its time in time, and it is not made up for."""


OPEN = frozenset({FiringStatus.WAITING, FiringStatus.RUNNING})
REDONE = frozenset(
    {
        FiringStatus.FAILED,
        FiringStatus.INTERRUPTED,
        FiringStatus.REPLACED,
        FiringStatus.SKIPPED,
        FiringStatus.MISSED,
    }
)
"""What a backfill does again; what is finished or under way, it leaves."""


def begins_at(made: PipelineTrigger, scheduled: datetime) -> datetime:
    """When a firing may begin: its time, and its share of the jitter, which is the same however often it is asked.

    >>> from everloop.domain.triggers import trigger
    >>> spread = trigger("n", pipeline="a:b", cron="@daily", jitter="10min")
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> begins_at(spread, day) == begins_at(spread, day), timedelta() <= begins_at(spread, day) - day <= timedelta(minutes=10)
    (True, True)
    """
    if not made.jitter_seconds:
        return scheduled
    drawn = hashlib.sha256(f"{made.name} {scheduled.isoformat()}".encode()).digest()
    return scheduled + timedelta(seconds=int.from_bytes(drawn[:4], "big") / 2**32 * made.jitter_seconds)


def time_key(scheduled: datetime) -> str:
    """What names the firing of a time for good: the same time never starts twice.

    >>> time_key(datetime(2026, 3, 29, 1, tzinfo=UTC))
    'at:2026-03-29T01:00:00Z'
    """
    return f"at:{scheduled.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def parameters(
    made: PipelineTrigger, facts: Mapping[str, Any], given: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """The pipeline's parameters for one firing: the declared ones with what the firing knows put in, and those `given`.

    A text that is nothing but one field becomes the fact itself; ``scheduled`` is in the zone of a cron trigger, else in UTC,
    and without a format ISO 8601. Raises InvalidInput when a fact is missing that a template asks for, when one is given that the
    pipeline does not take, or when nobody has said one that it needs.

    >>> from everloop.domain.triggers import trigger
    >>> nightly = trigger("n", pipeline="a:b", cron="0 3 * * *", params={"day": "{scheduled:%Y-%m-%d}", "k": 1})
    >>> parameters(nightly, {"scheduled": datetime(2026, 5, 1, 3, tzinfo=UTC)})
    {'day': '2026-05-01', 'k': 1}
    """
    known = dict(facts)
    moment = known.get("scheduled")
    if isinstance(moment, datetime):
        zone = made.on.zone if isinstance(made.on, Cron) else "UTC"
        known["scheduled"] = moment.astimezone(ZoneInfo(zone))

    def filled(value: Any, parameter: str) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(each, parameter) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [filled(each, parameter) for each in value]
        return _filled(value, known, made.name, parameter) if isinstance(value, str) else value

    _check_given(made, given)
    declared = {name: filled(value, name) for name, value in made.params.items() if name not in given}
    return declared | dict(given)


def _check_given(made: PipelineTrigger, given: Mapping[str, Any]) -> None:
    if given and made.retrain:
        raise InvalidInput(
            f"trigger '{made.name}' starts a retraining, whose parameters are its policy's",
            hint="leave --param out, or change ev.policy(params=…)",
        )
    if made.takes is None:
        return
    for name in given:
        if name not in made.takes:
            known = f"it takes: {', '.join(made.takes)}" if made.takes else "it takes none"
            raise InvalidInput(
                f"trigger '{made.name}': {made.starts} has no parameter '{name}'",
                hint=nearest(name, made.takes)
                or f"{known}; one that is new is known after: everloop triggers apply",
            )
    missing = [name for name in made.needs if name not in made.params and name not in given]
    if missing:
        raise InvalidInput(
            f"trigger '{made.name}': {made.starts} needs '{missing[0]}'",
            hint=f"say it: --param {missing[0]}=…",
        )


def _filled(text: str, facts: Mapping[str, Any], trigger: str, parameter: str) -> Any:
    parts = list(string.Formatter().parse(text))
    for _, field, _, _ in parts:
        if field is not None and facts.get(field) is None:
            raise InvalidInput(
                f"trigger '{trigger}': parameter {parameter} needs {{{field}}}, which nobody has said",
                hint=f"say it: --param {parameter}=…",
            )
    if len(parts) == 1 and parts[0][1] is not None and not parts[0][0] and not parts[0][2]:
        value = facts[parts[0][1]]
        return value.isoformat() if isinstance(value, datetime) else value
    return "".join(
        literal + ("" if field is None else _shown(facts[field], layout or ""))
        for literal, field, layout, _ in parts
    )


def _shown(value: Any, layout: str) -> str:
    if isinstance(value, datetime):
        return value.strftime(layout) if layout else value.isoformat()
    return str(value)


class Standing(msgspec.Struct, frozen=True):
    """A firing whose turn might be now. `waits`: it is not skipped because another one runs (made up for, asked for by hand)."""

    id: str
    waits: bool = False


class Turn(msgspec.Struct, frozen=True):
    """What becomes of the firings of one trigger now."""

    begin: tuple[str, ...] = ()
    skip: tuple[tuple[str, str], ...] = ()
    stop: tuple[str, ...] = ()


def take_turns(overlap: Overlap, running: list[str], standing: list[Standing]) -> Turn:
    """Which of the firings in line begin, which are skipped and which that run are to stop, by what a trigger does on overlap.

    >>> take_turns("skip", ["a"], [Standing("b"), Standing("c", waits=True)])
    Turn(begin=(), skip=(('b', 'a still runs'),), stop=())
    >>> take_turns("queue", [], [Standing("b"), Standing("c")]).begin
    ('b',)
    >>> take_turns("replace", ["a"], [Standing("b"), Standing("c")])
    Turn(begin=(), skip=(('b', 'c is newer'),), stop=('a',))
    """
    if overlap == "allow":
        return Turn(begin=tuple(each.id for each in standing))
    if overlap == "replace":
        if not standing:
            return Turn()
        newest = standing[-1].id
        skipped = tuple((each.id, f"{newest} is newer") for each in standing[:-1])
        return Turn(skip=skipped, stop=tuple(running)) if running else Turn(begin=(newest,), skip=skipped)
    busy = list(running)
    begin: list[str] = []
    skip: list[tuple[str, str]] = []
    for each in standing:
        if not busy:
            begin.append(each.id)
            busy.append(each.id)
        elif overlap == "skip" and not each.waits:
            skip.append((each.id, f"{busy[0]} still runs"))
    return Turn(tuple(begin), tuple(skip))
