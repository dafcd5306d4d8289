"""Recording without a journal: what clients of other protocols send call by call, each call whole or not at all.

A run that such a client starts has no process that Everloop knows of. Its calls are its signs of life: after a day without any
it counts as interrupted (`places.SILENCE_WITHOUT_OWNER`), and the next call says that it goes on.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import nan
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from everloop.domain.direct import LastPoint, RunFacts
from everloop.domain.runs import ACTIVE, INTERRUPTED, RUNNING, Experiment, RunRecord, checked_text
from everloop.domain.times import require_zone
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.tracking import (
    experiment_tags,
    experiments,
    metric_blocks,
    run_metrics,
    run_tags,
    runs,
)
from everloop.tracking import arrivals, reading, writing
from everloop.tracking.blocks import Points, decode, encode
from everloop.tracking.records import decode_batch

WHOLE_BLOCK = 256
"""A block of so many points is left alone; smaller ones are gathered when a metric has got so many points more."""
FEWEST_GATHERED = 16

SAID_EVERY = timedelta(seconds=1)
"""How often an event says that points of metrics came. A script may log thousands of times a second, and its points are
telemetry: what else a call brings is always said."""

_IDS_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement
# Built once: what is sent for every point of a script that logs call by call.
_LOOK_AND_LOCK = (
    sa.select(runs.c.id, runs.c.state, runs.c.status, runs.c.place, runs.c.heartbeat)
    .where(runs.c.id == sa.bindparam("run_id"))
    .with_for_update()
)
_LAST_POINTS = sa.select(
    run_metrics.c.run,
    run_metrics.c.key,
    run_metrics.c.last,
    run_metrics.c.last_step,
    sa.type_coerce(run_metrics.c.last_time, sa.BigInteger),
).where(run_metrics.c.run.in_(sa.bindparam("ids", expanding=True)))


class DirectRecording(Room):
    """Operations for clients that know a run by its whole identifier and an experiment by its number."""

    name = "tracking"

    @operation(Permission.WRITE)
    def record(
        self,
        run_id: str,
        records: bytes = b"",
        facts: RunFacts = RunFacts(),  # noqa: B008 (frozen)
        remove_tags: list[str] = [],  # noqa: B006 (not changed)
        once: bool = False,
    ) -> None:
        """Take in records (see `tracking.records`) that no journal numbers: all of them, or on an error none.

        Unlike in a journal, a parameter that has another value already is an error. `once`: leave out the points that the run
        has already, wherever they stand.
        """
        batch, points = arrivals.understood(decode_batch(records) if records else [])
        if batch.end is not None:
            raise InvalidInput("the end of a run is not recorded with its points", hint="use amend_run")
        with self.change() as tx:
            row = _open(tx, run_id)
            if once:
                points = _unknown(tx, run_id, points)
            for key, count in arrivals.add_points(tx, run_id, None, points).items():
                # Spread, so that not all metrics of a run are gathered in the same call.
                if (count + crc32(key.encode())) % WHOLE_BLOCK < len(points[key]):
                    gather(tx, run_id, key)
            for params in batch.params:
                writing.set_params(tx, run_id, params)
            if batch.tags:
                writing.set_tags(tx, run_id, batch.tags)
            _remove_tags(tx, run_id, remove_tags)
            changed = _told(tx, run_id, facts)
            if row.status == INTERRUPTED and not row.place:  # it was only silent
                changed |= {"status": RUNNING, "end_time": None}
            said: dict[str, object] = {
                "params": [key for params in batch.params for key in params], "tags": list(batch.tags), "removed": remove_tags,
                **changed,
            }  # fmt: skip
            quiet = tx.now - row.heartbeat >= SAID_EVERY
            if quiet or any(said.values()):
                said["metrics"] = len(points)
                facts_said = {name: value for name, value in said.items() if value}
                tx.event("run.logged", f"run:{run_id}", facts_said)
            if quiet:
                changed |= {"heartbeat": tx.now}
            if changed:
                tx.execute(sa.update(runs).where(runs.c.id == run_id).values(changed))

    @operation(Permission.WRITE)
    def amend_run(
        self, run_id: str, status: str = "", end_time: datetime | None = None, name: str = ""
    ) -> RunRecord:
        """Say anew how a run stands, when it ended, or its name. With `running`, an ended run goes on."""
        with self.change() as tx:
            row = writing.writable(tx, run_id)
            changed = _told(tx, run_id, RunFacts(name=name)) | {"heartbeat": tx.now}
            tx.execute(sa.update(runs).where(runs.c.id == run_id).values(changed))
            if name:
                tx.event("run.changed", f"run:{run_id}", {"name": name})
            ended = require_zone(end_time, "the end time") if end_time else None
            if status:
                writing.end(tx, row, status, ended or tx.now)
            elif ended is not None:
                tx.execute(sa.update(runs).where(runs.c.id == run_id).values(end_time=ended))
                tx.event("run.changed", f"run:{run_id}", {"end_time": ended})
            return reading.records_of(tx, tx.now, [run_id])[0]

    @operation(Permission.READ)
    def exact_runs(self, run_ids: list[str]) -> list[RunRecord]:
        """Runs by their whole identifiers, in the order asked for. Raises NotFound."""
        with self.look() as look:
            return reading.records_of(look, self.context.clock(), run_ids)

    @operation(Permission.READ)
    def last_points(self, run_ids: list[str]) -> dict[str, list[LastPoint]]:
        """The last point of every metric of these runs, by run."""
        found: dict[str, list[LastPoint]] = defaultdict(list)
        with self.look() as look:
            for start in range(0, len(run_ids), _IDS_AT_ONCE):
                rows = look.execute(_LAST_POINTS, {"ids": run_ids[start : start + _IDS_AT_ONCE]})
                for run, key, last, step, time in map(tuple, rows):
                    found[run].append(LastPoint.of(key, nan if last is None else last, step, time))
        return dict(found)

    @operation(Permission.READ)
    def experiment_by_number(self, number: int) -> Experiment:
        """One experiment by its number, deleted ones too."""
        with self.look() as look:
            return _exact_experiment(look, experiments.c.id == number, str(number))

    @operation(Permission.READ)
    def experiment_by_name(self, name: str) -> Experiment:
        """One experiment by its name; the newest deleted one where none is active."""
        with self.look() as look:
            return _exact_experiment(look, experiments.c.name == name, f"'{name}'")

    @operation(Permission.WRITE)
    def untag_experiment(self, experiment: str, keys: list[str]) -> None:
        """Take tags away from an experiment. Raises NotFound for one that it has not."""
        with self.change() as tx:
            row = writing.find_experiment(tx, experiment)
            if row.state != ACTIVE:
                raise Conflict(f"experiment {row.id} must be in the 'active' state", hint="restore it first")
            for key in keys:
                of_key = sa.and_(experiment_tags.c.experiment == row.id, experiment_tags.c.key == key)
                if not tx.execute(sa.delete(experiment_tags).where(of_key)).rowcount:
                    raise NotFound(f"experiment {row.id} has no tag '{key}'")
            tx.event("experiment.tagged", f"experiment {row.id}", {"removed": keys})


def gather(tx: Transaction, run_id: str, key: str) -> None:
    """Make one block of the small ones of a metric: a script that logs point by point leaves one for each, twenty times as long
    as the point."""
    small = sa.and_(
        metric_blocks.c.run == run_id,
        metric_blocks.c.key == key,
        metric_blocks.c.record < 0,
        metric_blocks.c.count < WHOLE_BLOCK,
    )
    found = tx.all(
        sa.select(metric_blocks.c.record, metric_blocks.c.points)
        .where(small)
        .order_by(metric_blocks.c.record)
    )
    if len(found) < FEWEST_GATHERED:
        return
    points = Points.joined(decode(row.points) for row in found)
    tx.execute(sa.delete(metric_blocks).where(small))
    block = {"run": run_id, "key": key, "record": found[0].record, "count": len(points)}
    tx.execute(sa.insert(metric_blocks), block | {"points": encode(points)})


def _open(tx: Transaction, run_id: str) -> sa.Row[Any]:
    """What recording needs to know of a run that takes writes, which is locked until the transaction ends."""
    row = tx.execute(_LOOK_AND_LOCK, {"run_id": run_id}).first()
    return row if row is not None and row.state == ACTIVE else writing.writable(tx, run_id)


def _told(tx: Transaction, run_id: str, facts: RunFacts) -> dict[str, object]:
    """The columns that facts change."""
    changed: dict[str, object] = {
        field: checked_text(value, f"the {field} of the run", limit)
        for field, limit in (("name", 5_000), ("user", 5_000), ("source", 5_000), ("version", 64))
        if (value := getattr(facts, field))
    }
    if facts.parent:
        if facts.parent == run_id:
            raise InvalidInput(f"run {run_id} cannot be its own parent")
        parent = writing.existing_run(tx, facts.parent)
        _refuse_circle(tx, run_id, parent)
        tx.edge(f"run:{parent.id}", f"run:{run_id}", "child")
        changed["parent"] = parent.id
    return changed


def _refuse_circle(tx: Transaction, run_id: str, parent: sa.Row[Any]) -> None:
    """No run stands above itself, however many are between."""
    passed: set[str] = set()
    above: str | None = parent.parent
    while above is not None and above not in passed:
        if above == run_id:
            raise InvalidInput(f"run {run_id} is above run {parent.id} and cannot be below it")
        passed.add(above)
        above = tx.scalar(sa.select(runs.c.parent).where(runs.c.id == above))


def _remove_tags(tx: Transaction, run_id: str, keys: Sequence[str]) -> None:
    for key in keys:
        gone = tx.execute(sa.delete(run_tags).where(run_tags.c.run == run_id, run_tags.c.key == key))
        if not gone.rowcount:
            raise NotFound(f"run {run_id} has no tag '{key}'", hint=f"see: everloop runs show {run_id}")


def _unknown(tx: Transaction, run_id: str, points: dict[str, Points]) -> dict[str, Points]:
    """Those of `points` that the run does not have yet."""
    import numpy as np

    query = sa.select(metric_blocks.c.key, metric_blocks.c.points).where(metric_blocks.c.run == run_id)
    known: dict[str, set[tuple[int, int, bytes]]] = defaultdict(set)
    for key, block in map(tuple, tx.all(query.where(metric_blocks.c.key.in_(list(points))))):
        known[key].update(_written(decode(block)))
    found = {}
    for key, each in points.items():
        new = np.array([written not in known[key] for written in _written(each)], bool)
        if new.any():
            found[key] = Points(each.steps[new], each.times[new], each.values[new])
    return found


def _written(points: Points) -> list[tuple[int, int, bytes]]:
    """Points in a form that can be compared, NaN included."""
    bits = [value.tobytes() for value in points.values]
    return list(zip(points.steps.tolist(), points.times.tolist(), bits, strict=True))


def _exact_experiment(look: Reader, test: sa.ColumnElement[bool], said: str) -> Experiment:
    query = sa.select(experiments.c.uuid).where(test).order_by(experiments.c.state, experiments.c.id.desc())
    uuid = look.scalar(query.limit(1))
    if uuid is None:
        raise NotFound(f"there is no experiment {said}", hint="see: everloop runs list")
    return reading.experiment(look, uuid)
