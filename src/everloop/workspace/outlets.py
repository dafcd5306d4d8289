"""The feed of events for programs outside: each has a cursor, and is given what came after it."""

from datetime import datetime

import msgspec
import sqlalchemy as sa

from everloop.domain.events import Event
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import cursors
from everloop.store.schema.triggers import firings

MOST = 1_000


class Feed(msgspec.Struct, frozen=True):
    """Events after a consumer's cursor, and the number to move it to when they are dealt with."""

    events: list[Event]
    until: int


class Outlets(Room):
    """What leaves a workspace: events, each at least once."""

    @operation(Permission.READ)
    def feed(
        self,
        consumer: str,
        actions: list[str] = [],  # noqa: B006  (msgspec copies defaults)
        after: int | None = None,
        limit: int = 500,
    ) -> Feed:
        """The next events that a consumer has not dealt with; of these actions (``run.finished``; ``run.*`` is a whole room), or
        of all. `after`: those after this number, whatever its cursor says."""
        if not 1 <= limit <= MOST:
            raise InvalidInput(f"{limit} events cannot be given at once", hint=f"1 to {MOST:,}")
        ledger = self.context.ledger
        head = ledger.head()
        begin = ledger.cursor(consumer) if after is None else after
        found = ledger.events(after=begin, before=head + 1, limit=limit, actions=actions)
        return Feed(found, found[-1].seq if len(found) == limit else max(head, begin))

    @operation(Permission.WRITE)
    def fed(self, consumer: str, until: int) -> int:
        """A consumer has dealt with all events up to a number; its cursor never goes back. Returns where it is."""
        with self.change() as tx:
            at = tx.scalar(sa.select(cursors.c.seq).where(cursors.c.consumer == consumer)) or 0
            if until > at:
                tx.advance(consumer, until)
            return max(int(at), until)

    @operation(Permission.READ)
    def nominal_times(self, runs: list[str]) -> dict[str, datetime]:
        """Runs that a trigger started, with the time they were started for."""
        query = sa.select(firings.c.run, firings.c.scheduled).where(firings.c.run.in_(runs[:MOST]))
        with self.look() as look:
            return {row.run: row.scheduled for row in look.all(query)}
