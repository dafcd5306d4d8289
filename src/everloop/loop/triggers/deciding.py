"""Which causes have come, each written down as a firing; and firing by hand."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from everloop.domain import triggers as rules
from everloop.domain.events import Event
from everloop.domain.firings import FiringStatus
from everloop.domain.times import require_zone
from everloop.domain.triggers import PipelineTrigger
from everloop.governance.identity import Permission, current_actor
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.loop.triggers.causes import ACTIONS, Cause, cause_of, leading_to
from everloop.loop.triggers.declaring import (
    CONSUMER,
    EVENTFUL,
    declaration_of,
    firing_of,
    locked,
    new_firing,
    over,
    refuse_paused,
)
from everloop.loop.triggers.records import Firing
from everloop.store.schema.triggers import firings, triggers

if TYPE_CHECKING:
    from everloop.store.ledger import Transaction

BEHIND = 1000
"""Events that mean nothing to any trigger are read again at each look, until there are so many."""


class DecidedFirings(Room):
    """Causes become firings. The same cause never makes two for one trigger, whoever looks, and however often."""

    name = "loop"

    @operation(Permission.WRITE)
    def decide_firings(self, now: datetime) -> int:
        """Look at the times and events that have come up to `now`, and write down what they set off and what was missed.
        Returns how many firings are new. Nothing is written when nothing has come."""
        moment = require_zone(now, "the time")
        with self.look() as look:
            declared = [(declaration_of(row), row) for row in look.all(sa.select(triggers))]
        made = 0
        if any(each.kind in EVENTFUL for each, _ in declared):
            made += self._from_events(moment)
        for each, row in declared:
            if row.paused is None and rules.due_times(each, row.decided, moment):
                made += self._from_times(each.name, moment)
        return made

    @operation(Permission.WRITE)
    def fire(
        self,
        trigger: str,
        params: dict[str, Any] = {},  # noqa: B006 (not changed)
        commit: str = "",
        key: str = "",
        scheduled: datetime | None = None,
    ) -> Firing:
        """Set a trigger off by hand, by a script, or by CI. Raises Conflict while it is paused.

        params: of the pipeline, in place of declared ones. commit: what was pushed; the same commit fires once, however often it
        is said. key: the same, for anything else that is to fire once. scheduled: the time that it stands for; now by default.
        """
        with self.change() as tx:
            found = locked(tx, trigger)
            refuse_paused(found)
            declared = declaration_of(found)
            identifier = self.context.ids()
            name = f"commit:{commit}" if commit else f"key:{key}" if key else f"hand:{identifier}"
            moment = require_zone(scheduled, "the scheduled time") if scheduled else tx.now
            what = f"commit {commit} by {tx.actor}" if commit else f"asked for by {tx.actor}"
            row = new_firing(
                identifier,
                declared,
                moment,
                tx.now,
                key=name,
                cause=what,
                facts={"commit": commit} if commit else {},
                waits=True,
                not_before=tx.now,
                overrides=params,
            )
            if tx.insert_new(firings, row):
                tx.event("trigger.fired", f"trigger:{found.name}", _told(row))
            same = (firings.c.trigger == found.name) & (firings.c.key == name)
            stored = tx.first(sa.select(firings).where(same))
            assert stored is not None
            return firing_of(stored)

    # Within

    def _from_events(self, now: datetime) -> int:
        made = 0

        def handle(tx: "Transaction", event: Event) -> None:
            nonlocal made
            for row in tx.all(sa.select(triggers).order_by(triggers.c.name)):
                declared = declaration_of(row)
                if event.seq <= row.since_event or not rules.is_active(declared, event.time):
                    continue
                cause = cause_of(self.context, declared.on, event)
                if cause is not None:
                    made += self._event_firing(tx, row, declared, cause)

        ledger = self.context.ledger
        while ledger.consume(CONSUMER, handle, actor=current_actor().user, actions=ACTIONS):
            pass
        head = ledger.head()
        if head - ledger.cursor(CONSUMER) > BEHIND and not ledger.events(
            after=ledger.cursor(CONSUMER), before=head + 1, actions=ACTIONS, limit=1
        ):
            with self.change() as tx:
                tx.advance(CONSUMER, head)
        return made

    def _event_firing(
        self, tx: "Transaction", row: sa.Row[Any], declared: PipelineTrigger, cause: Cause
    ) -> int:
        firing = new_firing(
            self.context.ids(),
            declared,
            cause.time,
            tx.now,
            key=cause.key,
            cause=cause.what,
            facts=cause.facts,
            not_before=cause.time + timedelta(seconds=declared.debounce_seconds),
        )
        if row.paused is not None:
            firing |= over(tx.now, f"paused by {row.paused_by}")
        elif not isinstance(declared.on, rules.AlertFires) and declared.name in leading_to(
            tx, cause.reference
        ):
            firing |= over(
                tx.now, f"{cause.reference} comes from a run that this trigger started: it would go round"
            )
        if not tx.insert_new(firings, firing):
            return 0
        if firing["status"] == FiringStatus.WAITING and declared.debounce_seconds:
            self._absorb(tx, declared, firing)
        tx.event("trigger.fired", f"trigger:{declared.name}", _told(firing))
        return 1

    def _absorb(self, tx: "Transaction", declared: PipelineTrigger, newest: dict[str, Any]) -> None:
        """Within the quiet after an event, the newest stands for those before it."""
        quiet = (
            (firings.c.trigger == declared.name)
            & (firings.c.status == FiringStatus.WAITING)
            & (firings.c.id != newest["id"])
            & (firings.c.not_before > newest["scheduled"])
            & firings.c.backfill.is_(None)
            & firings.c.waits.is_(False)
        )
        tx.execute(
            sa.update(firings).where(quiet).values(**over(tx.now, f"debounced: {newest['id']} is newer"))
        )

    def _from_times(self, name: str, now: datetime) -> int:
        with self.change() as tx:
            row = locked(tx, name)
            declared = declaration_of(row)
            due = rules.due_times(declared, row.decided, now) if row.paused is None else []
            if not due:  # somebody else was faster
                return 0
            many = sum(not each.missed for each in due) > 1
            made, missed = 0, []
            for each in due:
                firing = new_firing(
                    self.context.ids(), declared, each.scheduled, tx.now, waits=each.late and many
                )
                if each.missed:
                    firing |= over(tx.now, each.missed, FiringStatus.MISSED)
                elif each.late:
                    firing["reason"] = f"made up for at {now:%Y-%m-%d %H:%M} UTC"
                if not tx.insert_new(firings, firing):
                    continue  # a backfill was there before
                made += 1
                if each.missed:
                    missed.append(each)
                else:
                    tx.event("trigger.fired", f"trigger:{name}", _told(firing))
            if missed:
                facts = {"first": missed[0].scheduled, "last": missed[-1].scheduled, "number": len(missed)}
                tx.event("trigger.missed", f"trigger:{name}", facts | {"reason": missed[0].missed})
            decided = {"decided": due[-1].scheduled}
            tx.execute(sa.update(triggers).where(triggers.c.name == name).values(**decided))
            return made


def _told(firing: dict[str, Any]) -> dict[str, Any]:
    """What the event of a firing says."""
    said = {name: firing[name] for name in ("key", "scheduled", "cause", "params", "status", "reason")}
    return {"firing": firing["id"], **said}
