"""Triggers as declared: set, paused, resumed, withdrawn, and listed with their next time and last firing."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain import triggers as rules
from everloop.domain.canonical import digest_of
from everloop.domain.firings import OPEN, FiringStatus, begins_at, parameters, time_key
from everloop.domain.triggers import PipelineTrigger, in_words, next_time
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.loop.triggers.records import Firing, TriggerRecord
from everloop.store.schema.base import chain
from everloop.store.schema.triggers import firings, trigger_files, triggers

if TYPE_CHECKING:
    from everloop.store.ledger import Reader, Transaction

CONSUMER = "triggers"
EVENTFUL = ("data", "alert", "pipeline", "alias")
"""The kinds that events of the ledger set off."""


class DeclaredTriggers(Room):
    """What the ledger knows of triggers."""

    name = "loop"

    @operation(Permission.WRITE)
    def declare_triggers(self, triggers: list[PipelineTrigger]) -> list[TriggerRecord]:
        """Set triggers by name; declaring the same again changes nothing. A new one, or one with other times, begins now: what
        was before does not set it off."""
        for each in triggers:
            rules.check(each)
        for name, times in Counter(each.name for each in triggers).items():
            if times > 1:
                raise InvalidInput(
                    f"trigger '{name}' is declared {times} times", hint="give each a name of its own"
                )
        with self.change() as tx:
            for each in triggers:
                _declare(tx, each)
        return self.triggers()

    @operation(Permission.WRITE)
    def withdraw_trigger(self, trigger: str) -> None:
        """Take a trigger away. What it started goes on and stays in the history; what waits is skipped."""
        with self.change() as tx:
            found = locked(tx, trigger)
            waiting = (firings.c.trigger == found.name) & (firings.c.status == FiringStatus.WAITING)
            tx.execute(sa.update(firings).where(waiting).values(**over(tx.now, "the trigger was withdrawn")))
            tx.execute(sa.delete(trigger_files).where(trigger_files.c.trigger == found.name))
            tx.execute(sa.delete(triggers).where(triggers.c.name == found.name))
            tx.event("trigger.withdrawn", f"trigger:{found.name}", {})

    @operation(Permission.WRITE)
    def pause_trigger(self, trigger: str, because: str = "") -> TriggerRecord:
        """Start nothing more until it is resumed. What runs goes on; a backfill does, too."""
        with self.change() as tx:
            found = locked(tx, trigger)
            if found.paused is None:
                said = {"paused": tx.now, "paused_by": tx.actor, "paused_because": because}
                tx.execute(sa.update(triggers).where(triggers.c.name == found.name).values(**said))
                tx.event("trigger.paused", f"trigger:{found.name}", {"because": because})
        return self.trigger(found.name)

    @operation(Permission.WRITE)
    def resume_trigger(self, trigger: str) -> TriggerRecord:
        """Go on after a pause. Times that passed in it are recorded as skipped and not made up for; a backfill can."""
        with self.change() as tx:
            found = locked(tx, trigger)
            if found.paused is not None:
                declared = declaration_of(found)
                due = rules.due_times(declared, found.decided, tx.now)
                skipped = [each.scheduled for each in due]
                for each in skipped:
                    row = new_firing(self.context.ids(), declared, each, tx.now)
                    tx.insert_new(firings, row | over(tx.now, f"paused by {found.paused_by}"))
                said = {
                    "paused": None,
                    "paused_by": "",
                    "paused_because": "",
                    "decided": max([found.decided, *skipped]),
                }
                tx.execute(sa.update(triggers).where(triggers.c.name == found.name).values(**said))
                tx.event("trigger.resumed", f"trigger:{found.name}", {"skipped": len(skipped)})
        return self.trigger(found.name)

    @operation(Permission.READ)
    def triggers(self) -> list[TriggerRecord]:
        """All triggers by name, each with its next time and its last firing."""
        now = self.context.clock()
        with self.look() as look:
            rows = look.all(sa.select(triggers).order_by(triggers.c.name))
            return _records(look, rows, now)

    @operation(Permission.READ)
    def trigger(self, name: str) -> TriggerRecord:
        """One trigger."""
        with self.look() as look:
            return _records(look, [found_trigger(look, name)], self.context.clock())[0]

    @operation(Permission.READ)
    def firings(
        self, trigger: str = "", status: str = "", run: str = "", limit: int = 100, before: str = ""
    ) -> list[Firing]:
        """Firings, the newest first: of one trigger or all, of one status or any, the one that started a run. `before`: those
        made before this one, to page on."""
        query = sa.select(firings)
        if trigger:
            query = query.where(firings.c.trigger == trigger.removeprefix("trigger:"))
        if status:
            query = query.where(firings.c.status == status)
        if run:
            query = query.where(firings.c.run == run.removeprefix("run:"))
        if before:
            query = query.where(firings.c.id < before)
        with self.look() as look:
            return [firing_of(row) for row in look.all(query.order_by(firings.c.id.desc()).limit(limit))]

    @operation(Permission.READ)
    def firing(self, id: str) -> Firing:
        """One firing by its identifier, or a unique beginning of it."""
        query = sa.select(firings).where(firings.c.id.startswith(id, autoescape=True)).limit(2)
        with self.look() as look:
            rows = look.all(query)
        if len(rows) != 1:
            what = "begins several firings" if rows else "names no firing"
            raise NotFound(f"'{id}' {what}", hint="see: everloop triggers history")
        return firing_of(rows[0])


def found_trigger(look: "Reader", name: str, *, lock: bool = False) -> sa.Row[Any]:
    """The row of a trigger, or NotFound with the nearest names."""
    query = sa.select(triggers).where(triggers.c.name == name.removeprefix("trigger:"))
    row = look.first(query.with_for_update() if lock else query)
    if row is None:
        known = [each.name for each in look.all(sa.select(triggers.c.name))]
        hint = nearest(name, known, see="everloop triggers list") if known else "declare one: ev.trigger(…)"
        raise NotFound(f"there is no trigger '{name}'", hint=hint)
    return row


def locked(tx: "Transaction", name: str) -> sa.Row[Any]:
    """The row of a trigger, which nobody else decides about until this transaction ends."""
    return found_trigger(tx, name, lock=True)


def declaration_of(row: sa.Row[Any]) -> PipelineTrigger:
    return msgspec.convert(row.declaration, PipelineTrigger)


def firing_of(row: sa.Row[Any]) -> Firing:
    values = {name: getattr(row, name) for name in Firing.__struct_fields__}
    values["run"] = f"run:{row.run}" if row.run else None
    return msgspec.convert(values, Firing)


def new_firing(
    identifier: str, declared: PipelineTrigger, scheduled: datetime, now: datetime, **given: Any
) -> dict[str, Any]:
    """A row of `firings` that stands in line. Without a key or a cause it is one for a time. Its parameters are filled in."""
    facts = {"scheduled": scheduled} | given.get("facts", {})
    row: dict[str, Any] = {
        "id": identifier,
        "trigger": declared.name,
        "key": time_key(scheduled),
        "scheduled": scheduled,
        "cause": in_words(declared.on),
        "status": str(FiringStatus.WAITING),
        "reason": "",
        "waits": False,
        "not_before": begins_at(declared, scheduled),
        "created": now,
        "started": None,
        "ended": None,
        "run": None,
        "backfill": None,
        "attempts": 0,
        "deaths": 0,
        "stopping": "",
        "place": "",
        "pid": 0,
        "began": 0.0,
        "until": None,
    }
    overrides = given.pop("overrides", {})
    return row | given | {"facts": facts, "params": parameters(declared, facts, overrides)}


def over(now: datetime, reason: str, status: FiringStatus = FiringStatus.SKIPPED) -> dict[str, Any]:
    """The columns of a firing that comes to nothing."""
    return {"status": str(status), "reason": reason, "ended": now}


def _declare(tx: "Transaction", declared: PipelineTrigger) -> None:
    row = tx.first(sa.select(triggers).where(triggers.c.name == declared.name).with_for_update())
    declaration = msgspec.to_builtins(declared)
    if row is not None and digest_of(row.declaration) == digest_of(declaration):
        return
    head = int(tx.scalar(sa.select(chain.c.seq).where(chain.c.id == 1)) or 0)
    if row is None:
        if declared.kind in EVENTFUL and not _any_eventful(tx):
            tx.advance(CONSUMER, head)  # nobody has listened until now, so nothing before is to be read
        fresh = {"paused": None, "paused_by": "", "paused_because": ""}
        moments = {"declared": tx.now, "since_event": head, "decided": tx.now, "looked": None}
        tx.put(triggers, {"name": declared.name, "declaration": declaration, **moments, **fresh})
    else:
        before = declaration_of(row)
        values: dict[str, Any] = {"declaration": declaration, "declared": tx.now}
        if before.on != declared.on:
            values |= {"since_event": head, "decided": tx.now, "looked": None}
            tx.execute(sa.delete(trigger_files).where(trigger_files.c.trigger == declared.name))
        tx.execute(sa.update(triggers).where(triggers.c.name == declared.name).values(**values))
    tx.event("trigger.declared", f"trigger:{declared.name}", declaration)


def _any_eventful(look: "Reader") -> bool:
    rows = look.all(sa.select(triggers.c.declaration))
    return any(row.declaration["on"]["kind"] in EVENTFUL for row in rows)


_began = firings.alias()
_NEWEST = (
    sa.select(firings)
    .select_from(triggers)
    .join(
        firings,
        firings.c.id
        == sa.select(_began.c.id)
        .where(_began.c.trigger == triggers.c.name, _began.c.started.is_not(None))
        .order_by(_began.c.scheduled.desc())
        .limit(1)
        .correlate(triggers)
        .scalar_subquery(),
    )
)
"""The newest firing of each trigger that was begun: one look into an index for each, however long the history."""


def _records(look: "Reader", rows: Sequence[sa.Row[Any]], now: datetime) -> list[TriggerRecord]:
    counts = _counts(look)
    newest = _NEWEST.where(triggers.c.name == rows[0].name) if len(rows) == 1 else _NEWEST
    last = {row.trigger: firing_of(row) for row in look.all(newest)}
    return [_record(row, now, counts.get(row.name, {}), last.get(row.name)) for row in rows]


def _counts(look: "Reader") -> dict[str, dict[str, int]]:
    """How many firings of each trigger wait, and how many run."""
    query = (
        sa.select(firings.c.trigger, firings.c.status, sa.func.count().label("number"))
        .where(firings.c.status.in_([str(each) for each in OPEN]))
        .group_by(firings.c.trigger, firings.c.status)
    )
    found: dict[str, dict[str, int]] = {}
    for row in look.all(query):
        found.setdefault(row.trigger, {})[row.status] = row.number
    return found


def _record(row: sa.Row[Any], now: datetime, counts: dict[str, int], last: Firing | None) -> TriggerRecord:
    declared = declaration_of(row)
    return TriggerRecord(
        name=row.name,
        kind=declared.kind,
        on=in_words(declared.on),
        starts=declared.starts,
        declaration=declared,
        declared=row.declared,
        next=None if row.paused else next_time(declared, max(now, row.decided)),
        paused=row.paused,
        paused_by=row.paused_by,
        paused_because=row.paused_because,
        waiting=counts.get(FiringStatus.WAITING, 0),
        running=counts.get(FiringStatus.RUNNING, 0),
        last=last,
    )


def refuse_paused(row: sa.Row[Any]) -> None:
    """Raise Conflict when the trigger is paused."""
    if row.paused is not None:
        why = f": {row.paused_because}" if row.paused_because else ""
        raise Conflict(
            f"trigger '{row.name}' is paused by {row.paused_by}{why}",
            hint=f"everloop triggers resume {row.name}",
        )
