"""Logged models read from the ledger, and the search over them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.logged_models import (
    LoggedModel,
    LoggedModelStatus,
    MeasuredPoint,
    RunModel,
)
from everloop.domain.runs import ACTIVE, ArtifactRecord
from everloop.errors import NotFound
from everloop.store.ledger import Reader
from everloop.store.schema.logged_models import (
    logged_model_files,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
    run_models,
)

_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

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


# Built once: every reading of a run by a client of MLflow asks it.
_OF_RUNS = (
    sa.select(run_models)
    .where(run_models.c.run.in_(sa.bindparam("ids", expanding=True)))
    .order_by(run_models.c.model)
)


def of_runs(look: Reader, run_ids: Sequence[str]) -> list[RunModel]:
    found = []
    for some in _parts(run_ids):
        rows = look.execute(_OF_RUNS, {"ids": some})
        found += [RunModel(row.run, row.model, row.role, row.step) for row in rows]
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
