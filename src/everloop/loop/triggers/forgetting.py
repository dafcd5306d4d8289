"""Old firings are let go of: a trigger that fires every minute would otherwise be most of the ledger after a year."""

from typing import TYPE_CHECKING

import sqlalchemy as sa

from everloop.domain.firings import OPEN
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.loop.triggers.declaring import DeclaredTriggers
from everloop.store.schema.triggers import firings

if TYPE_CHECKING:
    from everloop.store.ledger import Transaction

KEPT = 1000
"""Firings of one trigger that stay; the events about older ones stay in the chain."""

_OPEN = [str(each) for each in OPEN]


class ForgottenFirings(DeclaredTriggers):
    """Which firings are kept."""

    name = "loop"

    @operation(Permission.WRITE)
    def forget_firings(self, keep: int = KEPT) -> int:
        """Remove all but the newest `keep` firings of each trigger; those that are not over stay, and so do those of a backfill
        that is not. Returns how many were removed. Nothing is written when none is.

        What was removed may fire again if somebody asks for the same commit, key or past time.
        """
        if keep < 1:
            raise InvalidInput(f"{keep} firings cannot be kept", hint="keep 1 or more")
        many = sa.select(firings.c.trigger).group_by(firings.c.trigger).having(sa.func.count() > keep)
        with self.look() as look:
            names = [row.trigger for row in look.all(many)]
            old = [name for name in names if look.first(_beyond(name, keep).limit(1)) is not None]
        if not old:
            return 0
        with self.change() as tx:
            return sum(_forget(tx, name, keep) for name in old)


def _beyond(trigger: str, keep: int) -> sa.Select[tuple[str]]:
    """The firings of a trigger that are to go. Identifiers are in the order in which firings were made."""
    newest = sa.select(firings.c.id).where(firings.c.trigger == trigger).order_by(firings.c.id.desc())
    oldest_kept = newest.offset(keep - 1).limit(1).scalar_subquery()
    at_work = firings.alias()
    backfills = sa.select(at_work.c.backfill).where(
        at_work.c.backfill.is_not(None), at_work.c.trigger == trigger, at_work.c.status.in_(_OPEN)
    )
    return sa.select(firings.c.id).where(
        firings.c.trigger == trigger,
        firings.c.id < oldest_kept,
        firings.c.status.not_in(_OPEN),
        firings.c.backfill.is_(None) | firings.c.backfill.not_in(backfills),
    )


def _forget(tx: "Transaction", trigger: str, keep: int) -> int:
    gone = [row.id for row in tx.all(_beyond(trigger, keep))]
    for start in range(0, len(gone), 500):
        tx.execute(sa.delete(firings).where(firings.c.id.in_(gone[start : start + 500])))
    if gone:
        tx.event("trigger.forgotten", f"trigger:{trigger}", {"number": len(gone), "kept": keep})
    return len(gone)
