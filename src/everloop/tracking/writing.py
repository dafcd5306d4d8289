"""What the operations of tracking change, each as a function over an open transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from everloop.domain.runs import (
    ACTIVE,
    DELETED,
    MAX_PARAM,
    MAX_TAG,
    RUNNING,
    STATUSES,
    HeldObject,
    RunRecord,
    checked_artifact_path,
    checked_key,
    checked_text,
    param_number,
)
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.store.ledger import Reader, Transaction, insert_for
from everloop.store.schema.base import objects_held
from everloop.store.schema.comments import run_comments
from everloop.store.schema.tracking import (
    INDEXED_CHARACTERS,
    experiment_tags,
    experiments,
    metric_blocks,
    run_artifacts,
    run_checkpoints,
    run_datasets,
    run_metrics,
    run_output,
    run_params,
    run_tags,
    runs,
)
from everloop.tracking.blocks import Summary, decode

Row = sa.Row[Any]


def existing_run(look: Reader, run_id: str, *, lock: bool = False) -> Row:
    """The row of a run, by its whole identifier."""
    query = sa.select(runs).where(runs.c.id == run_id)
    row = look.first(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(f"there is no run {run_id}", hint="see: everloop runs list --state all")
    return row


def writable(tx: Transaction, run_id: str) -> Row:
    """The row of a run that may be written, locked until the transaction ends."""
    row = existing_run(tx, run_id, lock=True)
    if row.state != ACTIVE:
        raise Conflict(
            f"run {run_id} is deleted: it must be in the 'active' state to be changed",
            hint=f"everloop runs restore {run_id}",
        )
    return row


def find_experiment(look: Reader, given: str) -> Row:
    """An experiment by name, number or UUID; an active one before a deleted one of the same name."""
    named = sa.or_(experiments.c.name == given, experiments.c.uuid == given)
    if given.isascii() and given.isdigit() and len(given) < 10:
        named = sa.or_(named, experiments.c.id == int(given))
    row = look.first(
        sa.select(experiments)
        .where(named)
        .order_by((experiments.c.name == given).desc(), experiments.c.state, experiments.c.id.desc())
        .limit(1)
    )
    if row is None:
        known = [
            each.name
            for each in look.all(
                sa.select(experiments.c.name).where(experiments.c.state == ACTIVE).limit(1000)
            )
        ]
        raise NotFound(
            f"there is no experiment '{given}'",
            hint=nearest(given, known) or f"there are: {', '.join(known[:10])}",
        )
    return row


def experiment_numbers(look: Reader, given: Sequence[str]) -> list[int]:
    """The numbers of those experiments that there are."""
    found = []
    for each in given:
        try:
            found.append(find_experiment(look, each).id)
        except NotFound:
            continue
    return found


def new_record(
    tx: Transaction, row: Mapping[str, Any], params: Mapping[str, str], tags: Mapping[str, str]
) -> RunRecord:
    """The record of a run whose row has just been written, without reading it back."""
    named = tx.scalar(sa.select(experiments.c.name).where(experiments.c.id == row["experiment"]))
    taken = {name: row[name] for name in _OF_ROW}
    return RunRecord(row["id"], named, row["experiment"], **taken, params=dict(params), tags=dict(tags))


_OF_ROW = ("name", "user", "source", "version", "status", "start_time", "state", "parent")


def add_experiment(tx: Transaction, name: str, uuid: str, tags: Mapping[str, str]) -> int:
    """Make an experiment and return its number; its name must not be taken by an active one."""
    if not name.strip():
        raise InvalidInput("the name of an experiment is blank", hint="name it, such as 'churn'")
    checked_text(name, "the name of an experiment", 500)
    row = {"uuid": uuid, "name": name, "state": ACTIVE, "created": tx.now, "updated": tx.now}
    if not tx.insert_new(experiments, row):
        raise Conflict(f"there is an experiment '{name}' already", hint="choose another name")
    number = int(tx.scalar(sa.select(experiments.c.id).where(experiments.c.uuid == uuid)))
    set_experiment_tags(tx, number, tags)
    tx.event("experiment.created", f"experiment {number}", {"name": name, "uuid": uuid})
    return number


def set_experiment_tags(tx: Transaction, number: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        checked_text(value, f"the tag {checked_key(key, 'tag')}", 20_000)
        tx.put(experiment_tags, {"experiment": number, "key": key, "value": value})


_PARAMS = sa.select(run_params.c.key, run_params.c.value).where(run_params.c.run == sa.bindparam("run_id"))
_PARAMS_OF_KEYS = _PARAMS.where(run_params.c.key.in_(sa.bindparam("keys", expanding=True)))


def set_params(
    tx: Transaction, run_id: str, params: Mapping[str, str], *, lenient: bool = False
) -> list[str]:
    """Add parameters, which are written once: the same value again is fine, another one a Conflict; `lenient` returns those
    names instead (what comes from a journal cannot be sent back to its author)."""
    if not params:
        return []
    for key, value in params.items():
        checked_text(value, f"the parameter {checked_key(key, 'parameter')}", MAX_PARAM)
    few = len(params) <= 1_000
    asked = {"run_id": run_id} | ({"keys": list(params)} if few else {})
    found = tx.execute(_PARAMS_OF_KEYS if few else _PARAMS, asked)
    known = {row.key: row.value for row in found}
    clashing = [key for key, value in params.items() if key in known and known[key] != value]
    if clashing and not lenient:
        key = clashing[0]
        raise Conflict(
            f"Changing param values is not allowed. The parameter {key} of run {run_id} is '{known[key]}' already, not "
            f"'{params[key]}'",
            hint="a parameter is written once: start another run, or log it under another name",
        )
    new = [
        {
            "run": run_id,
            "key": key,
            "value": value,
            "head": value[:INDEXED_CHARACTERS],
            "number": param_number(value),
        }
        for key, value in params.items()
        if key not in known
    ]
    tx.put(run_params, new)
    return clashing


def set_tags(tx: Transaction, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags; a later value replaces an earlier one."""
    for key, value in tags.items():
        checked_text(value, f"the tag {checked_key(key, 'tag')}", MAX_TAG)
    rows = [
        {"run": run_id, "key": key, "value": value, "head": value[:INDEXED_CHARACTERS]}
        for key, value in tags.items()
    ]
    upsert(tx, run_tags, rows)


def set_artifact(tx: Transaction, run_id: str, path: str, digest: str, size: int) -> None:
    """A file of a run; one that was logged before under the same path is replaced."""
    tx.put(
        run_artifacts, {"run": run_id, "path": checked_artifact_path(path), "digest": digest, "size": size}
    )
    tx.hold(digest, size, f"run:{run_id}")


def hold(tx: Transaction, held: Sequence[HeldObject], holder: str) -> None:
    """`holder` needs all of these objects, said in one round."""
    if held:
        insert = insert_for(tx.dialect)(objects_held)
        rows = [{"digest": each.digest, "holder": holder, "size": each.size} for each in held]
        tx.execute(insert.on_conflict_do_nothing(), rows)


def end(tx: Transaction, row: Row, status: str, time: datetime) -> None:
    """A run has ended (or, with `running`, goes on)."""
    if status not in STATUSES:
        raise InvalidInput(f"a run cannot be '{status}'", hint=f"it is one of: {', '.join(STATUSES)}")
    ended = None if status == RUNNING else time
    tx.execute(sa.update(runs).where(runs.c.id == row.id).values(status=status, end_time=ended))
    tx.event(f"run.{status}", f"run:{row.id}", {"seconds": (time - row.start_time).total_seconds()})


def inherit(tx: Transaction, source: Row, target: str, checkpoint: Row | None) -> int:
    """Give a run that resumes another what that one had at its checkpoint: parameters, tags, artifacts, checkpoints and the
    points of its metrics. Returns how many records these points stand for. Without a checkpoint, parameters and tags only."""
    keeps = [run_params, run_tags, run_datasets] + ([run_artifacts] if checkpoint is not None else [])
    for table in keeps:
        _copy(tx, table, source.id, target)
    if checkpoint is None:
        return 0
    _copy(tx, run_checkpoints, source.id, target, run_checkpoints.c.number <= checkpoint.number)
    for table in (metric_blocks, run_output):
        _copy(tx, table, source.id, target, table.c.record < checkpoint.records)
    for table in (run_artifacts, run_checkpoints):
        query = sa.select(table.c.digest, table.c.size).where(table.c.run == target)
        hold(tx, [HeldObject(row.digest, row.size) for row in tx.all(query)], f"run:{target}")
    _summarise(tx, target)
    return int(checkpoint.records)


def _copy(
    tx: Transaction, table: sa.Table, source: str, target: str, *conditions: sa.ColumnElement[bool]
) -> None:
    names = [column.name for column in table.columns if column.name != "run"]
    query = sa.select(sa.literal(target).label("run"), *(table.c[name] for name in names))
    tx.execute(sa.insert(table).from_select(["run", *names], query.where(table.c.run == source, *conditions)))


def _summarise(tx: Transaction, run_id: str) -> None:
    found: dict[str, Summary] = {}
    query = sa.select(metric_blocks).where(metric_blocks.c.run == run_id).order_by(metric_blocks.c.record)
    for row in tx.execute(query):
        summary = Summary.of(decode(row.points))
        found[row.key] = found[row.key].merged(summary) if row.key in found else summary
    upsert(tx, run_metrics, [{"run": run_id, "key": key} | each.row() for key, each in found.items()])


def set_state(tx: Transaction, row: Row, state: str) -> bool:
    """Delete or restore; False when it is so already."""
    if row.state == state:
        return False
    tx.execute(
        sa.update(runs)
        .where(runs.c.id == row.id)
        .values(state=state, deleted_at=tx.now if state == DELETED else None)
    )
    tx.event("run.deleted" if state == DELETED else "run.restored", f"run:{row.id}", {"name": row.name})
    return True


def purge(tx: Transaction, row: Row) -> None:
    """Forget a deleted run: its rows and its hold on objects. The event stays."""
    if row.state != DELETED:
        raise Conflict(f"run {row.id} is active", hint=f"delete it first: everloop runs delete {row.id}")
    for table in (
        run_params,
        run_tags,
        run_metrics,
        metric_blocks,
        run_output,
        run_comments,
        run_artifacts,
        run_checkpoints,
        run_datasets,
    ):
        tx.execute(sa.delete(table).where(table.c.run == row.id))
    tx.execute(sa.delete(runs).where(runs.c.id == row.id))
    tx.release(f"run:{row.id}")
    tx.event("run.purged", f"run:{row.id}", {"name": row.name, "user": row.user, "started": row.start_time})


def upsert(tx: Transaction, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key, in one round."""
    tx.put(table, rows)
