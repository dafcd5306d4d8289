"""Logged models read from the ledger, and the search over them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.filters import NUMBER, TEXT, Comparison, Sort, Vocabulary, holds, parse_sort, parse_tests
from everloop.domain.logged_models import (
    LoggedModel,
    LoggedModelOrder,
    LoggedModelPage,
    LoggedModelStatus,
    MeasuredPoint,
    ModelDataset,
    RunModel,
)
from everloop.domain.paging import page_after, page_start
from everloop.domain.runs import ACTIVE, ArtifactRecord
from everloop.domain.times import micros
from everloop.errors import InvalidInput, NotFound
from everloop.store.ledger import Reader
from everloop.store.schema.logged_models import (
    logged_model_files,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
    run_models,
)
from everloop.tracking import writing

MOST_ON_A_PAGE = 50_000
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

_TIMES = {
    "creation_timestamp": "created",
    "creation_timestamp_ms": "created",
    "creation_time": "created",
    "last_updated_timestamp": "updated",
    "last_updated_timestamp_ms": "updated",
    "last_updated_time": "updated",
}
_TEXTS = {
    "name": "name",
    "model_id": "id",
    "model_type": "kind",
    "status": "status",
    "source_run_id": "source_run",
}
VOCABULARY = Vocabulary(
    what="logged models",
    attributes={name: (column, TEXT) for name, column in _TEXTS.items()}
    | {name: (column, NUMBER) for name, column in _TIMES.items()},
    entities={
        written: entity
        for entity in ("attribute", "metric", "param", "tag")
        for written in (entity, f"{entity}s")
    },
    sortable=_TEXTS | _TIMES | {"experiment_id": "experiment"},
)
"""What a filter over logged models may ask; times are milliseconds since 1970."""

Row = sa.Row[Any]


def existing(look: Reader, model_id: str) -> Row:
    """The row of a logged model that has not been deleted."""
    row = look.first(
        sa.select(logged_models).where(logged_models.c.id == model_id, logged_models.c.state == ACTIVE)
    )
    if row is None:
        raise NotFound(f"there is no logged model {model_id}", hint="search for it by its name or its run")
    return row


def record(look: Reader, model_id: str) -> LoggedModel:
    return records(look, [existing(look, model_id)])[0]


def records(look: Reader, rows: Sequence[Row]) -> list[LoggedModel]:
    """Rows with what belongs to them, in the order given."""
    ids = [row.id for row in rows]
    params = _entries(look, logged_model_params, ids)
    tags = _entries(look, logged_model_tags, ids)
    measured = points_of(look, ids)
    return [
        LoggedModel(
            model_id=row.id,
            experiment_id=row.experiment,
            name=row.name,
            kind=row.kind,
            status=LoggedModelStatus(row.status),
            created=row.created,
            updated=row.updated,
            user=row.user,
            status_message=row.status_message,
            source_run=row.source_run,
            state=row.state,
            params=params.get(row.id, {}),
            tags=tags.get(row.id, {}),
            measured=measured.get(row.id, []),
        )
        for row in rows
    ]


def files(look: Reader, model_id: str, folder: str = "") -> list[ArtifactRecord]:
    """Files of a logged model, all or those at or below `folder`."""
    table = logged_model_files
    inside = folder.rstrip("/") + "/" if folder else ""
    found = look.all(sa.select(table).where(table.c.model == model_id).order_by(table.c.path))
    return [
        ArtifactRecord(row.path, row.digest, row.size)
        for row in found
        if not folder or row.path == folder or row.path.startswith(inside)
    ]


def of_runs(look: Reader, run_ids: Sequence[str]) -> list[RunModel]:
    found = []
    for some in _parts(run_ids):
        query = sa.select(run_models).where(run_models.c.run.in_(some)).order_by(run_models.c.model)
        found += [RunModel(row.run, row.model, row.role, row.step) for row in look.all(query)]
    return found


def points_of(
    look: Reader, ids: Sequence[str], keys: Iterable[str] | None = None
) -> dict[str, list[MeasuredPoint]]:
    """The measured points of models by time and step; all metrics, or those named."""
    table = logged_model_metrics
    found: dict[str, list[MeasuredPoint]] = defaultdict(list)
    for some in _parts(ids):
        query = sa.select(table).where(table.c.model.in_(some))
        if keys is not None:
            query = query.where(table.c.key.in_(list(keys)))
        for row in look.all(query.order_by(table.c.model, table.c.key, table.c.time, table.c.step)):
            value = float("nan") if row.value is None else row.value
            found[row.model].append(
                MeasuredPoint.of(
                    row.key, value, row.step, row.time, row.model, row.run, row.dataset, row.dataset_digest
                )
            )
    return found


def search(
    look: Reader,
    experiment: Sequence[str],
    where: str,
    datasets: Sequence[ModelDataset],
    order_by: Sequence[LoggedModelOrder],
    limit: int,
    page: str,
) -> LoggedModelPage:
    """One page of the logged models that match. An experiment that does not exist has none."""
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"a page of {limit} logged models cannot be had", hint=f"1 to {MOST_ON_A_PAGE}")
    tests = parse_tests(where, VOCABULARY)
    sorts = [
        (parse_sort(f"{each.field} {'desc' if each.descending else 'asc'}", VOCABULARY), each.dataset)
        for each in order_by
    ]
    asked = (list(experiment), where, list(datasets), list(order_by))
    start = page_start(page, *asked)
    numbers = []
    for each in experiment:
        try:
            numbers.append(writing.find_experiment(look, each).id)
        except NotFound:
            continue
    query = sa.select(logged_models).where(
        logged_models.c.state == ACTIVE, logged_models.c.experiment.in_(numbers)
    )
    left = []
    for test in tests:  # what an index can do; the rest is left to `_Candidates`
        if test.entity == "attribute" and test.operator == "=" and isinstance(test.value, str):
            query = query.where(logged_models.c[test.key] == _stored(test.key, test.value))
        else:
            left.append(test)
    query = query.order_by(logged_models.c.created.desc(), logged_models.c.id)
    following = page_after(start + limit, *asked)
    if not (left or sorts or datasets):
        rows = look.all(query.limit(limit + 1).offset(start))
        return LoggedModelPage(records(look, rows[:limit]), following if len(rows) > limit else None)
    rows = look.all(query)
    candidates = _Candidates(look, rows, left, [sort for sort, _ in sorts])
    matching = candidates.matching(left, datasets)
    for sort, dataset in reversed(sorts):  # stable sorts, from the least important on
        matching = candidates.sorted(matching, sort, dataset)
    chosen = records(look, matching[start : start + limit])
    return LoggedModelPage(chosen, following if len(matching) > start + limit else None)


class _Candidates:
    """Rows with as much of what belongs to them as a filter and an order look at."""

    def __init__(self, look: Reader, rows: Sequence[Row], tests: list[Comparison], sorts: list[Sort]) -> None:
        self._rows = rows
        ids = [row.id for row in rows]
        asked = [(each.entity, each.key) for each in tests] + [(each.entity, each.key) for each in sorts]
        needs = {entity: sorted({key for kind, key in asked if kind == entity}) for entity, _ in asked}
        self._params = _entries(look, logged_model_params, ids, needs["param"]) if "param" in needs else {}
        self._tags = _entries(look, logged_model_tags, ids, needs["tag"]) if "tag" in needs else {}
        self._points = points_of(look, ids, needs["metric"]) if "metric" in needs else {}
        self._look, self._ids = look, ids

    def matching(self, tests: list[Comparison], datasets: Sequence[ModelDataset]) -> list[Row]:
        found = [row for row in self._rows if all(self._holds(row, test, datasets) for test in tests)]
        if datasets and not any(test.entity == "metric" for test in tests):
            measured = points_of(self._look, self._ids)
            found = [row for row in found if any(_on(each, datasets) for each in measured.get(row.id, ()))]
        return found

    def sorted(self, rows: list[Row], sort: Sort, dataset: ModelDataset | None) -> list[Row]:
        keys = {row.id: self._key(row, sort, dataset) for row in rows}
        have = [row for row in rows if keys[row.id] is not None and keys[row.id] == keys[row.id]]
        nan = [row for row in rows if keys[row.id] is not None and keys[row.id] != keys[row.id]]
        lack = [row for row in rows if keys[row.id] is None]
        have.sort(key=lambda row: keys[row.id], reverse=sort.descending)
        return have + nan + lack

    def _holds(self, row: Row, test: Comparison, datasets: Sequence[ModelDataset]) -> bool:
        if test.entity != "metric":
            value = _stored(test.key, test.value) if isinstance(test.value, str) else test.value
            return holds(Comparison(test.entity, test.key, test.operator, value), self._value(row, test))
        points = [each for each in self._points.get(row.id, ()) if each.key == test.key]
        return any(holds(test, each.number) for each in points if not datasets or _on(each, datasets))

    def _key(self, row: Row, sort: Sort, dataset: ModelDataset | None) -> Any:
        if sort.entity != "metric":
            return self._value(row, sort)
        points = [each for each in self._points.get(row.id, ()) if each.key == sort.key]
        seen = [each for each in points if dataset is None or _on(each, [dataset])]
        return seen[-1].number if seen else None

    def _value(self, row: Row, asked: Comparison | Sort) -> Any:
        match asked.entity:
            case "param":
                return self._params.get(row.id, {}).get(asked.key)
            case "tag":
                return self._tags.get(row.id, {}).get(asked.key)
            case _:
                value = row._mapping[asked.key]
                return micros(value) // 1000 if asked.key in {"created", "updated"} else value


def _stored(key: str, value: str) -> str:
    """A status is written in several ways: READY, LOGGED_MODEL_READY, ready."""
    if key != "status":
        return value
    plain = value.upper().removeprefix("LOGGED_MODEL_")
    return {"UPLOAD_FAILED": "failed"}.get(plain, plain.lower())


def _on(point: MeasuredPoint, datasets: Sequence[ModelDataset]) -> bool:
    return any(point.dataset == each.name and each.digest in ("", point.dataset_digest) for each in datasets)


def _entries(
    look: Reader, table: sa.Table, ids: Sequence[str], keys: Sequence[str] | None = None
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for some in _parts(ids):
        query = sa.select(table).where(table.c.model.in_(some))
        if keys is not None:
            query = query.where(table.c.key.in_(list(keys)))
        for row in look.all(query.order_by(table.c.key)):
            found[row.model][row.key] = row.value
    return found


def _parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
