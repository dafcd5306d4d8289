"""Whose turn it is, who carries a firing out, and what came of it.

A firing is claimed by changing its row from waiting to running while the trigger's row is locked, so of any number of servers one
gets it. It is held by a process under a lease, and `attempts` numbers the processes that had it: only the newest may report, so a
process that was given up and comes back changes nothing.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from everloop.domain.firings import FiringStatus, Standing, take_turns
from everloop.domain.runs import Owner
from everloop.domain.times import require_zone
from everloop.errors import Conflict, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.loop.triggers.declaring import DeclaredTriggers, declaration_of, over
from everloop.loop.triggers.records import Firing
from everloop.store.schema.triggers import backfills, firings, triggers
from everloop.tracking.places import is_alive, place

if TYPE_CHECKING:
    from everloop.store.ledger import Transaction

LEASE = timedelta(seconds=60)
"""How long a firing is held without a sign of life. On the same machine the process itself is asked for."""
MOST_DEATHS = 3
"""A firing whose process ended without a word so often is given up: what it does kills processes."""


class ClaimedFirings(DeclaredTriggers):
    """Firings from claim to report."""

    name = "loop"

    @operation(Permission.WRITE)
    def claim_firings(self, now: datetime, process: Owner, most: int = 1) -> list[Firing]:
        """Take up to `most` firings whose turn has come by `now`, to carry them out. Whatever a process that is gone had comes
        first. Nothing is written when it is nobody's turn."""
        moment = require_zone(now, "the time")
        with self.look() as look:
            waiting = (firings.c.status == FiringStatus.WAITING) & (firings.c.not_before <= moment)
            names = {row.trigger for row in look.all(sa.select(firings.c.trigger).where(waiting).distinct())}
            running = look.all(sa.select(firings).where(firings.c.status == FiringStatus.RUNNING))
            names |= {row.trigger for row in running if not _lives(row, self.context.clock())}
        claimed: list[Firing] = []
        for name in sorted(names):
            if len(claimed) < most:
                claimed += self._claim_of(name, moment, process, most - len(claimed))
        return claimed

    @operation(Permission.WRITE)
    def begin_firing(self, firing: str, attempt: int, process: Owner) -> Firing:
        """The process that carries a firing out is there. Raises Conflict when the firing is not this attempt's any more."""
        with self.change() as tx:
            _held(tx, firing, attempt)
            own = {
                "place": process.place,
                "pid": process.pid,
                "began": process.began,
                "until": tx.now + LEASE,
            }
            tx.execute(sa.update(firings).where(firings.c.id == firing).values(**own))
        return self.firing(firing)

    @operation(Permission.WRITE)
    def renew_firing(self, firing: str, attempt: int, run: str = "") -> str:
        """A sign of life. `run`: the run that it has started, which then knows what started it. Returns why it is to stop, or
        nothing. Raises Conflict when the firing is not this attempt's any more."""
        with self.change() as tx:
            row = _held(tx, firing, attempt)
            values: dict[str, Any] = {"until": tx.now + LEASE}
            identifier = run.removeprefix("run:")
            if identifier and identifier != row.run:
                values["run"] = identifier
                _link(tx, row, identifier)
                facts = {
                    "firing": row.id,
                    "run": f"run:{identifier}",
                    "cause": row.cause,
                    "scheduled": row.scheduled,
                }
                tx.event("trigger.started", f"trigger:{row.trigger}", facts)
            tx.execute(sa.update(firings).where(firings.c.id == firing).values(**values))
            return str(row.stopping)

    @operation(Permission.WRITE)
    def end_firing(
        self, firing: str, attempt: int, status: FiringStatus, reason: str = "", run: str = ""
    ) -> Firing:
        """Say what came of a firing; ``waiting`` gives it back, to go on later. Raises Conflict when it is not this attempt's any
        more."""
        with self.change() as tx:
            row = _held(tx, firing, attempt)
            values: dict[str, Any] = {"status": str(status), "until": None, "stopping": ""}
            if reason:
                values["reason"] = reason
            elif row.reason and row.attempts > 1:  # what ended well is not told as if it had not
                values["reason"] = f"done at attempt {row.attempts}; before: {row.reason}"
            if status is not FiringStatus.WAITING:
                values["ended"] = tx.now
            identifier = run.removeprefix("run:")
            if identifier and identifier != row.run:
                values["run"] = identifier
                _link(tx, row, identifier)
            tx.execute(sa.update(firings).where(firings.c.id == firing).values(**values))
            facts = {"firing": row.id, "run": values.get("run", row.run), "reason": reason}
            told = "given_back" if status is FiringStatus.WAITING else str(status)
            tx.event(f"trigger.{told}", f"trigger:{row.trigger}", facts)
        return self.firing(firing)

    # Within

    def _claim_of(self, name: str, now: datetime, process: Owner, most: int) -> list[Firing]:
        with self.change() as tx:
            trigger = tx.first(sa.select(triggers).where(triggers.c.name == name).with_for_update())
            own = firings.c.trigger == name
            rows = tx.all(
                sa.select(firings)
                .where(own & firings.c.status.in_([str(FiringStatus.WAITING), str(FiringStatus.RUNNING)]))
                .order_by(firings.c.scheduled, firings.c.id)
            )
            running = [row for row in rows if row.status == FiringStatus.RUNNING]
            lost = [row for row in running if not _lives(row, tx.now)]
            begin = [row for row in lost if not self._given_up(tx, row)]
            running = [row for row in running if row not in lost] + begin
            ready = [row for row in rows if row.status == FiringStatus.WAITING and row.not_before <= now]
            if trigger is not None:
                begin += self._turns(tx, trigger, running, ready)
            begin += _of_backfills(tx, running, [row for row in ready if row.backfill])
            taken = begin[:most]
            for row in taken:
                _take(tx, row, process)
        return [self.firing(row.id) for row in taken]

    def _turns(
        self, tx: "Transaction", trigger: sa.Row[Any], running: list[sa.Row[Any]], ready: list[sa.Row[Any]]
    ) -> list[sa.Row[Any]]:
        """Those whose turn it is by what the trigger does on overlap; others are skipped, or told to stop."""
        standing = {row.id: row for row in ready if not row.backfill}
        if trigger.paused is not None or not standing:
            return []
        turn = take_turns(
            declaration_of(trigger).overlap,
            [row.id for row in running if not row.backfill],
            [Standing(row.id, row.waits) for row in standing.values()],
        )
        for identifier, reason in turn.skip:
            skipped = over(tx.now, reason)
            tx.execute(sa.update(firings).where(firings.c.id == identifier).values(**skipped))
            tx.event("trigger.skipped", f"trigger:{trigger.name}", {"firing": identifier, "reason": reason})
        newest = next(reversed(standing))
        told = {row.id for row in running if row.stopping}
        for identifier in turn.stop:
            if identifier not in told:
                why = {"stopping": f"replaced by {newest}"}
                tx.execute(sa.update(firings).where(firings.c.id == identifier).values(**why))
        return [standing[each] for each in turn.begin]

    def _given_up(self, tx: "Transaction", row: sa.Row[Any]) -> bool:
        """Note that the process of a firing is gone; true when it is not to be tried again."""
        deaths = row.deaths + 1
        values: dict[str, Any] = {"deaths": deaths}
        reason = f"its process ended without a word ({deaths} of {MOST_DEATHS} times)"
        given_up = deaths >= MOST_DEATHS
        if given_up or row.stopping:
            status = FiringStatus.REPLACED if row.stopping else FiringStatus.FAILED
            values |= over(tx.now, row.stopping or reason, status) | {"until": None}
        tx.execute(sa.update(firings).where(firings.c.id == row.id).values(**values))
        tx.event(
            "trigger.lost", f"trigger:{row.trigger}", {"firing": row.id, "run": row.run, "reason": reason}
        )
        return bool(given_up or row.stopping)


def _of_backfills(
    tx: "Transaction", running: list[sa.Row[Any]], ready: list[sa.Row[Any]]
) -> list[sa.Row[Any]]:
    """Of each backfill as many as it may have at once, in the order of their times."""
    begin: list[sa.Row[Any]] = []
    for backfill in dict.fromkeys(row.backfill for row in ready):
        at_once = tx.scalar(sa.select(backfills.c.at_once).where(backfills.c.id == backfill)) or 1
        busy = sum(row.backfill == backfill for row in running)
        begin += [row for row in ready if row.backfill == backfill][: max(0, at_once - busy)]
    return begin


def _take(tx: "Transaction", row: sa.Row[Any], process: Owner) -> None:
    values = {
        "status": str(FiringStatus.RUNNING),
        "started": row.started or tx.now,
        "attempts": row.attempts + 1,
        "place": process.place,
        "pid": process.pid,
        "began": process.began,
        "until": tx.now + LEASE,
        "stopping": "",
    }
    tx.execute(sa.update(firings).where(firings.c.id == row.id).values(**values))


def _held(tx: "Transaction", firing: str, attempt: int) -> sa.Row[Any]:
    row = tx.first(sa.select(firings).where(firings.c.id == firing).with_for_update())
    if row is None:
        raise NotFound(f"there is no firing {firing}", hint="see: everloop triggers history")
    if row.status != FiringStatus.RUNNING or row.attempts != attempt:
        raise Conflict(
            f"firing {firing} is {row.status}, and attempt {attempt} of {row.attempts} does not have it any more",
            hint="see: everloop triggers history",
        )
    return row


def _lives(row: sa.Row[Any], now: datetime) -> bool:
    """Whether who has a firing is still there: asked of the machine where it is ours, else of the lease."""
    if row.place == place() and row.pid:
        return is_alive(Owner(row.place, row.pid, row.began))
    return row.until is not None and row.until > now


def _link(tx: "Transaction", row: sa.Row[Any], run: str) -> None:
    """The run knows what started it: the trigger, and what had set that off."""
    tx.edge(f"trigger:{row.trigger}", f"run:{run}", "triggered")
    for fact in ("data", "run", "model", "alert"):
        if row.facts.get(fact):
            tx.edge(str(row.facts[fact]), f"run:{run}", "triggered")
