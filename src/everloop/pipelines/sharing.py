"""The part of the pipelines room by which runs at work get along: pools with few places, and the wish that a run stops."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import sqlalchemy as sa

from everloop.domain.runs import RUNNING, Owner
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission, current_actor
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.pipelines.recording import LEASE
from everloop.store.ledger import Transaction
from everloop.store.schema.pipeline_work import pipeline_stops, pool_places, pools
from everloop.store.schema.pipelines import pipeline_runs
from everloop.store.schema.sweeps import sweeps
from everloop.tracking.places import is_alive, place
from everloop.tracking.tracking import Tracking

ASKING = timedelta(seconds=5)
"""Who has not asked for so long keeps its turn no longer: its driver is busy with something else."""


class Place(msgspec.Struct, frozen=True):
    """A step that wants into a pool. `ticket`: an identifier that it keeps while it waits and while it is in."""

    ticket: str
    pool: str
    priority: int = 0


class Sharing(Room):
    """Pools of the workspace and stops of runs."""

    name = "pipelines"

    @operation(Permission.WRITE)
    def cancel(self, run: str) -> str:
        """Ask a run of a pipeline, or a sweep, to stop, wherever it is at work: within seconds its steps (or those of its trials)
        are killed with all they started, and it ends as interrupted. Returns the run's identifier. A run that is not at work any
        more is a Conflict."""
        tracking = self.context.room(Tracking)
        identifier = tracking.resolve(run)
        record = tracking.run(identifier)
        with self.look() as look:
            stoppable = (pipeline_runs.c.run, sweeps.c.run)
            if all(look.scalar(sa.select(each).where(each == identifier)) is None for each in stoppable):
                raise NotFound(f"run:{identifier} is not a run of a pipeline", hint="see: everloop runs list")
        if record.status != RUNNING:
            raise Conflict(f"run:{identifier} is {record.status}: there is nothing to stop")
        user = current_actor().user
        with self.change() as tx:
            row = {"run": identifier, "reason": f"cancelled by {user}", "time": tx.now}
            tx.insert_new(pipeline_stops, row)
            tx.event("pipeline.cancelled", f"run:{identifier}", {"by": user})
        return identifier

    @operation(Permission.READ)
    def asked_to_stop(self, run: str) -> str:
        """Why a run should stop; empty when nobody wants it to."""
        with self.look() as look:
            found = look.scalar(sa.select(pipeline_stops.c.reason).where(pipeline_stops.c.run == run))
        return found or ""

    @operation(Permission.WRITE)
    def enter_pools(self, run: str, process: Owner, wanted: list[Place]) -> list[str]:
        """Ask for places; returns the tickets that have one. The others wait: ask again. Of those who wait, in whichever run and
        on whichever machine, the highest priority comes first, then who has waited longest."""
        sizes = self.context.settings.pools
        for each in wanted:
            if each.pool not in sizes:
                hint = nearest(each.pool, sizes) or f"write into everloop.toml: [pools] {each.pool} = 1"
                raise InvalidInput(f"this workspace has no pool '{each.pool}'", hint=hint)
        granted: list[str] = []
        with self.change() as tx:
            for pool in sorted({each.pool for each in wanted}):
                # The row is locked until the end: two who ask at once are served one after the other.
                tx.put(pools, {"name": pool, "size": sizes[pool]})
                mine = [each for each in wanted if each.pool == pool]
                granted += _enter(tx, pool, sizes[pool], run, process, mine)
        return granted

    @operation(Permission.WRITE)
    def leave_pools(self, tickets: list[str]) -> None:
        """Give places back, or wait no longer."""
        with self.change() as tx:
            tx.execute(sa.delete(pool_places).where(pool_places.c.ticket.in_(tickets)))


def _enter(
    tx: Transaction, pool: str, size: int, run: str, process: Owner, wanted: Sequence[Place]
) -> list[str]:
    rows = tx.all(sa.select(pool_places).where(pool_places.c.pool == pool))
    gone = [row.ticket for row in rows if row.run != run and not _is_there(row, tx)]
    if gone:
        tx.execute(sa.delete(pool_places).where(pool_places.c.ticket.in_(gone)))
    known = {row.ticket: row for row in rows if row.ticket not in gone}
    new = [
        {
            "ticket": each.ticket,
            "pool": pool,
            "run": run,
            "priority": each.priority,
            "held": False,
            "place": process.place,
            "pid": process.pid,
            "began": process.began,
            "until": tx.now + LEASE,
            "since": tx.now,
        }
        for each in wanted
        if each.ticket not in known
    ]
    tx.put(pool_places, new)
    tx.execute(
        sa.update(pool_places).where(pool_places.c.run == run, pool_places.c.pool == pool),
        {"until": tx.now + LEASE},
    )
    held = {ticket for ticket, row in known.items() if row.held}
    asking = tx.now + LEASE - ASKING
    waiting = [
        (-row.priority, row.since, ticket)
        for ticket, row in known.items()
        if not row.held and (row.run == run or row.until > asking)
    ]
    waiting += [(-each.priority, tx.now, each.ticket) for each in wanted if each.ticket not in known]
    free = max(0, size - len(held))
    begun = [ticket for _, _, ticket in sorted(waiting)[:free]]
    ours = {each.ticket for each in wanted}
    taken = [ticket for ticket in begun if ticket in ours]  # what is another's turn is left for it to take
    if taken:
        tx.execute(sa.update(pool_places).where(pool_places.c.ticket.in_(taken)), {"held": True})
    return [*taken, *(held & ours)]


def _is_there(row: sa.Row[tuple[object, ...]], tx: Transaction) -> bool:
    """Whether who waits or works is still there: asked of the machine where it is ours, else of the lease."""
    if row.place == place() and row.pid:
        return is_alive(Owner(row.place, row.pid, row.began))
    return bool(row.until > tx.now)
