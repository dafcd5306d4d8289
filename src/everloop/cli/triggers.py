"""`triggers`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from everloop.cli.frame import answer_no, command, counted, emit, facts, say, table, workspace
from everloop.cli.instants import Instant
from everloop.cli.pipelines import parameters
from everloop.domain.firings import FiringStatus
from everloop.domain.triggers import Cron

if TYPE_CHECKING:
    from everloop.loop.triggers.records import Backfill, Firing, TriggerRecord
    from everloop.workspace.workspace import Workspace

GOOD = (FiringStatus.FINISHED, FiringStatus.WAITING, FiringStatus.RUNNING)


class DayOrInstant(Instant):
    """An instant with its zone, or a day (which begins and ends in the trigger's zone)."""

    name = "day or instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return date.fromisoformat(value)
        except ValueError:
            return super().convert(value, param, ctx)


@click.group()
def triggers() -> None:
    """What starts pipelines by itself: times, events, files, people."""


@command("list")
def list_triggers() -> None:
    """All triggers, each with its next time and its last firing."""
    found = workspace().loop.triggers()
    emit({"triggers": found}, lambda _: _table(found) if found else "no triggers; declare one: ev.trigger(…)")


@command("show")
@click.argument("trigger")
def show(trigger: str) -> None:
    """One trigger: what sets it off, what it starts, its backfills, its last firings."""
    found = workspace()
    record = found.loop.trigger(trigger)
    made = found.loop.firings(trigger=record.name, limit=10)
    backfills = found.loop.backfills(trigger=record.name)
    emit(
        {"trigger": record, "firings": made, "backfills": backfills},
        lambda _: _shown(record, made, backfills),
    )


@command("apply")
@click.argument("module", default="")
def apply(module: str) -> None:
    """Record the triggers of a definitions module (FILE.py or a dotted name), and what else it declares to the loop; without one,
    of the project's modules."""
    found = workspace(write=True)
    applied = found.loop.apply(module)
    records = [each for each in found.loop.triggers() if each.name in applied.triggers]
    emit({"triggers": records}, lambda _: _table(records) if records else "no triggers are declared there")


@command("remove")
@click.argument("trigger")
def remove(trigger: str) -> None:
    """Take a trigger away. What it started stays in the history; what waits is skipped."""
    workspace(write=True).loop.withdraw_trigger(trigger)
    emit({"removed": trigger}, lambda _: f"{trigger} starts nothing any more")


@command("pause")
@click.argument("trigger")
@click.option("--because", default="", help="Why, for whoever finds it paused.")
def pause(trigger: str, because: str) -> None:
    """Start nothing more until it is resumed."""
    record = workspace(write=True).loop.pause_trigger(trigger, because=because)
    emit(
        {"trigger": record},
        lambda _: f"{record.name} is paused; go on with: everloop triggers resume {record.name}",
    )


@command("resume")
@click.argument("trigger")
def resume(trigger: str) -> None:
    """Go on after a pause. Times that passed in it are recorded as skipped."""
    record = workspace(write=True).loop.resume_trigger(trigger)
    emit({"trigger": record}, lambda _: f"{record.name} goes on; next: {_moment(record.next) or record.on}")


@command("fire")
@click.argument("trigger")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the pipeline; JSON or text.",
)
@click.option("--commit", default="", help="What was pushed; the same commit fires once.")
@click.option("--key", default="", help="Fire once for this name, however often it is asked.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for its end; without a server, carry it out here. Exit code 1: it failed.",
)
def fire(trigger: str, params: tuple[str, ...], commit: str, key: str, wait: bool) -> None:
    """Set TRIGGER off now: by hand, by a script, by CI after a push."""
    found = workspace(write=True)
    firing = found.loop.fire(trigger, params=parameters(params), commit=commit, key=key)
    _end(found, [firing], wait)


@command("backfill")
@click.argument("trigger")
@click.option("--since", type=DayOrInstant(), required=True, help="The first day or instant.")
@click.option("--until", type=DayOrInstant(), required=True, help="The last one, included.")
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="How many run at the same time.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the pipeline; JSON or text.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for its end; without a server, carry it out here. Exit code 1: one failed.",
)
def backfill(
    trigger: str,
    since: datetime | date,
    until: datetime | date,
    at_once: int,
    params: tuple[str, ...],
    wait: bool,
) -> None:
    """Start TRIGGER's pipeline for each of its past times. What is finished is left alone: the same command goes on where it was
    stopped."""
    found = workspace(write=True)
    zone = _zone(found.loop.trigger(trigger))
    made = found.loop.backfill(
        trigger,
        since=_instant(since, zone),
        until=_instant(until, zone, ends=True),
        at_once=at_once,
        params=parameters(params),
    )
    say(f"{counted(made.open, 'time')} to go through, {made.left_alone:,} done or under way")
    waiting = found.loop.firings(trigger=made.trigger, status="waiting", limit=10_000)
    own = sorted((each for each in waiting if each.backfill == made.id), key=lambda each: each.scheduled)
    if not wait:
        emit({"backfill": made, "firings": own}, lambda _: _how(own))
        return
    over = found.loop.wait_for_firings([each.id for each in own], told=lambda each: say(_line(each)))
    emit(
        {"backfill": found.loop.backfill_record(id=made.id) if own else made, "firings": over},
        lambda _: _list(over),
    )
    failed = sum(each.status not in GOOD for each in over)
    if failed:
        say(f"{counted(failed, 'time')} did not end well; the same command goes through what is left again")
        answer_no()


@command("tick")
@click.option("--now", type=Instant(), help="The moment to act at, if not now.")
def tick(now: datetime | None) -> None:
    """Do what is due, once, and wait for it: for a machine without a server, from its own cron. Exit code 1: one failed."""
    found = workspace(write=True)
    done = found.loop.tick_triggers(now or found.clock())
    emit({"firings": done}, lambda _: _list(done) if done else "nothing was due")
    if any(each.status not in GOOD for each in done):
        answer_no()


@command("history")
@click.argument("trigger", default="")
@click.option(
    "--status",
    type=click.Choice([each.value for each in FiringStatus]),
    default=None,
    help="Of one status only.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
def history(trigger: str, status: str | None, limit: int) -> None:
    """Firings, the newest first, with those that were missed or skipped, and why."""
    found = workspace()
    made = found.loop.firings(trigger=trigger, status=status or "", limit=limit)
    if trigger and not made:  # one that was removed keeps its history
        found.loop.trigger(trigger)
    emit({"firings": made}, lambda _: _list(made) if made else "nothing has been set off yet")


for _each in (list_triggers, show, apply, remove, pause, resume, fire, backfill, tick, history):
    triggers.add_command(_each)


def _end(found: Workspace, firings: list[Firing], wait: bool) -> None:
    over = found.loop.wait_for_firings([each.id for each in firings]) if wait else firings
    emit({"firings": over}, lambda _: _list(over) if wait else _how(over))
    if any(each.status not in GOOD for each in over):
        answer_no()


def _how(firings: list[Firing]) -> str:
    if not firings:
        return "nothing is left to do"
    waiting = [each for each in firings if each.status == FiringStatus.WAITING]
    if not waiting:
        return "\n".join(_line(each) for each in firings)
    wait = "waits" if len(waiting) == 1 else "wait"
    return f"{counted(len(waiting), 'firing')} {wait} for everloop up, or: everloop triggers tick"


def _line(firing: Firing) -> str:
    told = f": {firing.reason}" if firing.reason else ""
    return f"{firing.trigger} {_moment(firing.scheduled)} {firing.status}{told}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _table(found: list[TriggerRecord]) -> Any:
    rows = [
        (
            each.name,
            each.on,
            each.starts,
            "paused" if each.paused else _moment(each.next),
            f"{each.last.status} {_moment(each.last.scheduled)}" if each.last else "",
            each.running,
            each.waiting,
        )
        for each in found
    ]
    columns = ["trigger", "set off by", "starts", "next", "last", "running", "waiting"]
    return table(columns, rows, right=["running", "waiting"])


def _list(found: list[Firing]) -> Any:
    rows = [
        (each.scheduled, each.trigger, each.status, each.cause, each.run or "", each.reason) for each in found
    ]
    return table(["time (UTC)", "trigger", "status", "cause", "run", ""], rows)


def _shown(record: TriggerRecord, made: list[Firing], backfills: list[Backfill]) -> Any:
    from rich.console import Group

    declared = record.declaration
    pairs: list[tuple[str, object]] = [
        ("set off by", record.on),
        ("starts", record.starts),
        ("parameters", ", ".join(f"{name}={value}" for name, value in declared.params.items())),
        ("next", _moment(record.next)),
        ("when one runs", declared.overlap),
    ]
    if declared.is_timed:
        most = f", at most {declared.catch_up_most}" if declared.catch_up == "all" else ""
        pairs.append(("makes up for", declared.catch_up + most))
    if record.paused:
        why = f": {record.paused_because}" if record.paused_because else ""
        pairs.append(("paused", f"{_moment(record.paused)} by {record.paused_by}{why}"))
    parts: list[Any] = [facts([pair for pair in pairs if pair[1]])]
    if made:
        parts.append(_list(made))
    if backfills:
        rows = [
            (
                each.since,
                each.until,
                each.user,
                ", ".join(f"{number} {status}" for status, number in each.counts.items()),
            )
            for each in backfills
        ]
        parts.append(table(["backfill since", "until", "by", "firings"], rows))
    return Group(*parts)


def _zone(record: TriggerRecord) -> str:
    on = record.declaration.on
    return on.zone if isinstance(on, Cron) else "UTC"


def _instant(given: datetime | date, zone: str, *, ends: bool = False) -> datetime:
    """A day as its first instant in a zone, or (`ends`) its last."""
    if isinstance(given, datetime):
        return given
    day = given + timedelta(days=1) if ends else given
    first = datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
    return first - timedelta(microseconds=1) if ends else first
