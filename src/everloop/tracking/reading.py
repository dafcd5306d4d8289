"""Rows of the ledger as the records that operations answer with."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.ids import is_id
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import (
    ACTIVE,
    RUNNING,
    ArtifactRecord,
    Captured,
    CheckpointRecord,
    Experiment,
    MetricSummary,
    Owner,
    RunDetail,
    RunPage,
    RunRecord,
    number_text,
)
from everloop.domain.search import parse_filter, parse_order
from everloop.errors import InvalidInput, NotFound
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges
from everloop.store.schema.tracking import (
    experiment_tags,
    experiments,
    logged_datasets,
    run_artifacts,
    run_checkpoints,
    run_datasets,
    run_metrics,
    run_params,
    run_tags,
    runs,
)
from everloop.tracking.paging import place_of
from everloop.tracking.places import SILENCE_WITHOUT_OWNER, status_now
from everloop.tracking.searching import RunSearch, record_columns
from everloop.tracking.writing import existing_run, find_experiment

MOST_ON_A_PAGE = 50_000
_IDS_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_LISTED = sa.func.json_each(sa.bindparam("ids")).table_valued(
    sa.column("key", sa.Integer), sa.column("value", sa.String)
)
"""The identifiers as one parameter, a list in JSON: to SQLAlchemy and SQLite a hundred parameters are more work than the rows."""


def _entries_of(table: sa.Table, value: sa.Column[Any], dialect: str) -> sa.Select[Any]:
    """The rows of some runs; on SQLite with the run's place in the list, since making its identifier each time takes longer."""
    if dialect == "sqlite":
        return sa.select(_LISTED.c.key, table.c.key, value).join_from(
            _LISTED, table, table.c.run == _LISTED.c.value
        )
    return sa.select(table.c.run, table.c.key, value).where(table.c.run.in_(_IDS))


_ENTRIES = {
    dialect: (
        _entries_of(run_params, run_params.c.value, dialect),
        _entries_of(run_tags, run_tags.c.value, dialect),
        _entries_of(run_metrics, run_metrics.c.last, dialect),
    )
    for dialect in ("sqlite", "postgresql")
}
_RECORD_FIELDS = len(record_columns())
_OWNERS = (runs.c.place, runs.c.pid, runs.c.process_began, runs.c.heartbeat)
_RECORDS = sa.select(*record_columns(), *_OWNERS).where(runs.c.id.in_(_IDS))
# Runs that are stored as running; those of other places that spoke lately are not looked at one by one.
_MAYBE_LOST = sa.select(runs.c.id, *_OWNERS).where(
    runs.c.status == RUNNING, sa.or_(runs.c.place != "", runs.c.heartbeat < sa.bindparam("silent_since"))
)
_MAYBE_LOST_AMONG = _MAYBE_LOST.where(runs.c.id.in_(_IDS))
_DATASETS = (
    sa.select(run_datasets, logged_datasets)
    .join(logged_datasets, run_datasets.c.dataset == logged_datasets.c.id)
    .where(run_datasets.c.run.in_(_IDS))
    .order_by(logged_datasets.c.name, logged_datasets.c.digest)
)
"""Statements made once: making one takes as long as reading some hundred rows."""


_NUMBERS = ("first", "last", "min", "max", "mean")
_SUMMARY_COLUMNS = [run_metrics.c[name] for name in ("key", "count", "last_step", "last_time", *_NUMBERS)]
"""What a `MetricSummary` is made of, in its order."""


def owner_of(row: sa.Row[Any]) -> Owner:
    return Owner(row.place, row.pid, row.process_began)


def lost_runs(look: Reader, now: datetime, run_ids: Sequence[str] | None = None) -> dict[str, str]:
    """The runs that are stored as running and are not, with what they are."""
    silent = {"silent_since": now - SILENCE_WITHOUT_OWNER}
    if run_ids is None:
        rows = look.execute(_MAYBE_LOST, silent).all()
    else:
        rows = look.execute(_MAYBE_LOST_AMONG, silent | {"ids": run_ids}).all()
    found = {row.id: status_now(RUNNING, owner_of(row), row.heartbeat, now) for row in rows}
    return {run: status for run, status in found.items() if status != RUNNING}


def search(
    look: Reader,
    now: datetime,
    where: str,
    experiment: Sequence[str],
    state: str,
    order_by: Sequence[str],
    limit: int,
    page: str,
    count: bool,
) -> RunPage:
    """One page of the runs that match."""
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"a page of {limit} runs cannot be had", hint=f"1 to {MOST_ON_A_PAGE}")
    tree, orders = parse_filter(where), [parse_order(each) for each in order_by]
    numbers = [find_experiment(look, each).id for each in experiment] or None
    wanted = RunSearch(look.dialect, lost_runs(look, now), tree, orders, state, numbers)
    begin = place_of(page, where, list(experiment), state, list(order_by))
    rows, following = wanted.page(look, begin, limit)
    total = None
    if count:
        total = wanted.count(look) if page or following else len(rows)
    return RunPage(_records(look, rows), following.token if following else None, total)


def records_of(look: Reader, now: datetime, run_ids: Sequence[str]) -> list[RunRecord]:
    """Records of runs in the order asked for. Raises NotFound."""
    found = _those_of(look, now, run_ids)
    for each in run_ids:
        if each not in found:
            existing_run(look, each)
    return [found[each] for each in run_ids]


def record_of(look: Reader, now: datetime, given: str) -> RunRecord:
    """One run, named as in `resolve`; by its whole identifier, as programs do, it is found at once."""
    found = _those_of(look, now, [given]) if is_id(given) else {}
    return found[given] if given in found else records_of(look, now, [resolve(look, given)])[0]


def _those_of(look: Reader, now: datetime, run_ids: Sequence[str]) -> dict[str, RunRecord]:
    rows = look.execute(_RECORDS, {"ids": run_ids}).all()
    lost = {
        row.id: status_now(RUNNING, owner_of(row), row.heartbeat, now)
        for row in rows
        if row.status_now == RUNNING
    }
    return {each.run_id: each for each in _records(look, rows, lost)}


def _records(look: Reader, rows: Sequence[sa.Row[Any]], lost: Mapping[str, str] = {}) -> list[RunRecord]:
    """`lost`: where the rows do not know it, the status of runs that are stored as running and are not."""
    ids = [row[0] for row in rows]
    params, tags, metrics = (_entries(look, query, ids) for query in _ENTRIES[look.dialect])
    nan = float("nan")
    for numbers in metrics:
        if None in numbers.values():
            numbers |= {key: nan for key, value in numbers.items() if value is None}
    records = [
        RunRecord(*row[:_RECORD_FIELDS], *logged)
        for row, *logged in zip(rows, params, metrics, tags, strict=True)
    ]
    return [
        msgspec.structs.replace(each, status=lost[each.run_id]) if each.run_id in lost else each
        for each in records
    ]


def _entries(look: Reader, query: sa.Select[Any], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Key and value of all rows of each of these runs."""
    found: list[dict[str, Any]] = [{} for _ in ids]
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some, own = ids[start : start + _IDS_AT_ONCE], found[start : start + _IDS_AT_ONCE]
        in_sqlite = look.dialect == "sqlite"
        of_run: Any = own if in_sqlite else dict(zip(some, own, strict=True))
        answer = look.execute(query, {"ids": msgspec.json.encode(some).decode() if in_sqlite else some})
        # As the driver gives them: texts and numbers need no conversion, and they are many.
        for run, key, value in answer.cursor.fetchall():
            of_run[run][key] = value
        answer.close()
    return found


def resolve(look: Reader, given: str) -> str:
    """The identifier of a run from itself, a unique beginning of it, or a name that only one active run has."""
    text = given.removeprefix("run:")
    if not text:
        raise InvalidInput("no run is named", hint="see: everloop runs list")
    found = [row.id for row in look.all(sa.select(runs.c.id).where(runs.c.id == text))]
    if not found and len(text) >= 4:
        low = text.lower()
        query = sa.select(runs.c.id).where(runs.c.id >= low, runs.c.id < low + "g").order_by(runs.c.id)
        found = [row.id for row in look.all(query.limit(3))]
    if not found:
        query = (
            sa.select(runs.c.id).where(runs.c.name == text, runs.c.state == ACTIVE).order_by(runs.c.id.desc())
        )
        found = [row.id for row in look.all(query.limit(3))]
    if not found:
        raise NotFound(f"there is no run '{given}'", hint="see: everloop runs list --state all")
    if len(found) > 1:
        raise InvalidInput(
            f"'{given}' means more than one run", hint="give more of the identifier: " + ", ".join(found)
        )
    return str(found[0])


def detail(look: Reader, now: datetime, run_id: str, *, metrics: bool = True) -> RunDetail:
    """All there is about a run. `metrics`: with the summaries of its metrics, which may be very many."""
    record = records_of(look, now, [run_id])[0]
    reference = record.reference
    children = look.all(
        sa.select(runs.c.id).where(runs.c.parent == run_id).order_by(runs.c.start_time, runs.c.id)
    )
    consumed = look.all(sa.select(edges.c.source).where(edges.c.target == reference).order_by(edges.c.source))
    produced = look.all(sa.select(edges.c.target).where(edges.c.source == reference).order_by(edges.c.target))
    return RunDetail(
        run=record,
        metrics=summaries(look, run_id) if metrics else [],
        artifacts=artifacts(look, run_id),
        checkpoints=checkpoints(look, run_id),
        captured=captured_of(existing_run(look, run_id)),
        children=[row.id for row in children],
        consumed=[row.source for row in consumed if not row.source.startswith("run:")],
        produced=[row.target for row in produced if not row.target.startswith("run:")],
        datasets=datasets(look, [run_id]).get(run_id, []),
    )


def datasets(look: Reader, run_ids: Sequence[str]) -> dict[str, list[LoggedDataset]]:
    """The datasets that runs say they used, by run, in the order of name and digest."""
    found: defaultdict[str, list[LoggedDataset]] = defaultdict(list)
    for start in range(0, len(run_ids), _IDS_AT_ONCE):
        for row in look.execute(_DATASETS, {"ids": run_ids[start : start + _IDS_AT_ONCE]}):
            described = (row.name, row.digest, row.source_type, row.source, row.schema, row.profile)
            found[row.run].append(LoggedDataset(*described, row.context, row.tags))
    return dict(found)


def captured_of(row: sa.Row[Any]) -> Captured:
    return msgspec.convert(row.captured, Captured)


def summaries(look: Reader, run_id: str) -> list[MetricSummary]:
    query = sa.select(*_SUMMARY_COLUMNS).where(run_metrics.c.run == run_id).order_by(run_metrics.c.key)
    return [_summary(tuple(row)) for row in look.all(query)]


def _summary(row: Sequence[Any]) -> MetricSummary:
    """NaN is NULL in the ledger; a record names what is no number that JSON can write."""
    key, count, last_step, last_time, *values = row
    odd: dict[str, str] = {}
    if None in values or not all(map(math.isfinite, values)):
        for at, name in enumerate(_NUMBERS):
            number = math.nan if values[at] is None else values[at]
            if not math.isfinite(number):
                odd[name], values[at] = number_text(number), None
    first, last, low, high, mean = values
    return MetricSummary(key, count, last_step, last_time, first, last, low, high, mean, odd)


def artifacts(look: Reader, run_id: str, folder: str = "") -> list[ArtifactRecord]:
    query = sa.select(run_artifacts).where(run_artifacts.c.run == run_id).order_by(run_artifacts.c.path)
    inside = folder.rstrip("/") + "/" if folder else ""
    return [
        ArtifactRecord(row.path, row.digest, row.size)
        for row in look.all(query)
        if not folder or row.path == folder or row.path.startswith(inside)
    ]


def checkpoints(look: Reader, run_id: str) -> list[CheckpointRecord]:
    query = (
        sa.select(run_checkpoints).where(run_checkpoints.c.run == run_id).order_by(run_checkpoints.c.number)
    )
    fields = CheckpointRecord.__struct_fields__
    return [CheckpointRecord(**{name: row._mapping[name] for name in fields}) for row in look.all(query)]


def all_experiments(look: Reader, state: str) -> list[Experiment]:
    query = sa.select(experiments, _RUNS_IN_EXPERIMENT).order_by(experiments.c.id)
    if state != "all":
        query = query.where(experiments.c.state == state)
    return _experiments(look, query)


def experiment(look: Reader, given: str) -> Experiment:
    number = find_experiment(look, given).id
    return _experiments(look, sa.select(experiments, _RUNS_IN_EXPERIMENT).where(experiments.c.id == number))[
        0
    ]


_RUNS_IN_EXPERIMENT = (
    sa.select(sa.func.count())
    .where(runs.c.experiment == experiments.c.id, runs.c.state == ACTIVE)
    .scalar_subquery()
    .label("n")
)


def _experiments(look: Reader, query: sa.Select[Any]) -> list[Experiment]:
    rows = look.all(query)
    tags = defaultdict[int, dict[str, str]](dict)
    only = experiment_tags.c.experiment == rows[0].id if len(rows) == 1 else sa.true()
    for row in look.all(sa.select(experiment_tags).where(only)):
        tags[row.experiment][row.key] = row.value
    return [
        Experiment(
            row.id, row.uuid, row.name, row.state, row.created, row.updated, tags.get(row.id, {}), row.n
        )
        for row in rows
    ]
