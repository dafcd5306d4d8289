"""Going through past times: a firing for each, in their order, none that is done already."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from everloop.domain.canonical import digest_of
from everloop.domain.firings import REDONE, FiringStatus, time_key
from everloop.domain.times import require_zone
from everloop.domain.triggers import backfill_times
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.loop.triggers.declaring import declaration_of, locked, new_firing
from everloop.loop.triggers.records import Backfill
from everloop.store.schema.triggers import backfills, firings

if TYPE_CHECKING:
    from everloop.store.ledger import Reader, Transaction

MOST_AT_ONCE = 64
ASKED_AT_ONCE = 500


class Backfills(Room):
    """Ranges of past times."""

    name = "loop"

    @operation(Permission.WRITE)
    def backfill(
        self,
        trigger: str,
        since: datetime,
        until: datetime,
        at_once: int = 1,
        params: dict[str, Any] = {},  # noqa: B006 (not changed)
    ) -> Backfill:
        """A firing for each time of a trigger from `since` to `until`, both included, to be carried out `at_once` at a time.

        What was finished for a time, or is under way, is left alone; what failed, was skipped or missed is done again. So asking
        for the same range again goes on where it stopped; times that are still to come are left to the trigger. Raises
        InvalidInput for a trigger without times, for a range that has not begun, or for more than 10,000 of them.
        """
        first, last = require_zone(since, "the beginning"), require_zone(until, "the end")
        if not 1 <= at_once <= MOST_AT_ONCE:
            raise InvalidInput(f"{at_once} at once", hint=f"1 to {MOST_AT_ONCE}")
        with self.change() as tx:
            row = locked(tx, trigger)
            declared = declaration_of(row)
            if first > tx.now:
                raise InvalidInput(
                    f"{first:%Y-%m-%d %H:%M %Z} is still to come",
                    hint="a backfill is for times that have passed",
                )
            times = backfill_times(declared, first, min(last, tx.now))
            identifier = self.context.ids()
            known = _known(tx, declared.name, times)
            new: list[dict[str, Any]] = []
            again: list[dict[str, Any]] = []
            changed: set[str] = set()
            left = 0
            for each in times:
                before = known.get(time_key(each))
                if before is not None and before.status not in REDONE:
                    left += 1
                    continue
                firing = new_firing(
                    before.id if before is not None else self.context.ids(),
                    declared,
                    each,
                    tx.now,
                    backfill=identifier,
                    not_before=tx.now,
                    waits=True,
                    overrides=params,
                )
                if before is not None and digest_of(before.params) != digest_of(firing["params"]):
                    changed.add(firing["id"])
                (new if before is None else again).append(firing)
            if new:
                tx.insert_new(firings, new)
            for firing in again:
                kept = {name: firing[name] for name in _REDO}
                if firing["id"] in changed:  # with other parameters it cannot go on with the run before
                    kept["run"] = None
                tx.execute(sa.update(firings).where(firings.c.id == firing["id"]).values(**kept))
            made = Backfill(
                id=identifier,
                trigger=declared.name,
                since=first,
                until=last,
                at_once=at_once,
                user=tx.actor,
                created=tx.now,
                counts={str(FiringStatus.WAITING): len(new) + len(again)},
                left_alone=left,
            )
            if made.open:
                columns = {each.name: getattr(made, each.name) for each in backfills.columns}
                tx.execute(sa.insert(backfills).values(**columns))
            facts = {"backfill": identifier, "since": first, "until": last, "at_once": at_once}
            tx.event(
                "trigger.backfilled",
                f"trigger:{declared.name}",
                facts | {"firings": made.open, "left_alone": left},
            )
            return made

    @operation(Permission.READ)
    def backfills(self, trigger: str = "") -> list[Backfill]:
        """Backfills, the newest first, of one trigger or of all, and how far they are."""
        query = sa.select(backfills).order_by(backfills.c.id.desc()).limit(100)
        if trigger:
            query = query.where(backfills.c.trigger == trigger.removeprefix("trigger:"))
        with self.look() as look:
            return [_backfill(look, row) for row in look.all(query)]

    @operation(Permission.READ)
    def backfill_record(self, id: str) -> Backfill:
        """One backfill, and how far it is."""
        with self.look() as look:
            row = look.first(sa.select(backfills).where(backfills.c.id == id))
            if row is None:
                raise NotFound(f"there is no backfill {id}", hint="see: everloop triggers show TRIGGER")
            return _backfill(look, row)


_REDO = (
    "status",
    "reason",
    "waits",
    "not_before",
    "params",
    "facts",
    "ended",
    "backfill",
    "deaths",
    "stopping",
)


def _known(tx: "Transaction", trigger: str, times: list[datetime]) -> dict[str, sa.Row[Any]]:
    keys = [time_key(each) for each in times]
    found: dict[str, sa.Row[Any]] = {}
    for start in range(0, len(keys), ASKED_AT_ONCE):
        among = (firings.c.trigger == trigger) & firings.c.key.in_(keys[start : start + ASKED_AT_ONCE])
        rows = tx.all(sa.select(firings.c.id, firings.c.key, firings.c.status, firings.c.params).where(among))
        found |= {row.key: row for row in rows}
    return found


def _backfill(look: "Reader", row: sa.Row[Any]) -> Backfill:
    number = sa.func.count().label("number")
    query = sa.select(firings.c.status, number).where(firings.c.backfill == row.id).group_by(firings.c.status)
    counts = {each.status: each.number for each in look.all(query)}
    return Backfill(**row._mapping, counts=counts)
