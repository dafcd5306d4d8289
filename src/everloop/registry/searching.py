"""Searches for models and versions, in the language of `everloop.domain.search`.

The database finds and sorts the names of one page; whole records are read only for these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.models import ModelPage, ModelState, ModelVersionRecord, VersionPage
from everloop.domain.paging import page_after, page_start
from everloop.domain.search import MODEL_VERSIONS, REGISTERED_MODELS
from everloop.errors import InvalidInput
from everloop.registry import reading
from everloop.store.ledger import Reader
from everloop.store.schema.registry import (
    model_tags,
    model_version_tags,
    model_versions,
    models,
    retired_models,
)
from everloop.tracking.conditions import Conditions, Kept, Searched
from everloop.tracking.listings import asked_of, narrowed, page_rows

MOST_MODELS = 1_000
MOST_VERSIONS = 200_000


def _said(column: sa.ColumnElement[str]) -> sa.ColumnElement[str | None]:
    """NULL where nothing was said."""
    return sa.func.nullif(column, "", type_=sa.String)


_CHANGED = sa.func.coalesce(
    model_versions.c.updated, model_versions.c.created, type_=model_versions.c.created.type
)
_MODELS = Searched(
    (models.c.name,),
    {"name": models.c.name, "created": models.c.created, "updated": models.c.updated},
    {"tag": Kept(model_tags, (model_tags.c.name,))},
)
_VERSIONS = Searched(
    (model_versions.c.name, model_versions.c.version),
    {
        "name": model_versions.c.name,
        "version": model_versions.c.version,
        "run_id": _said(model_versions.c.run),
        "source": _said(model_versions.c.source),
        "stage": _said(model_versions.c.stage),
        "user": model_versions.c.user,
        "created": model_versions.c.created,
        "updated": _CHANGED,
    },
    {"tag": Kept(model_version_tags, (model_version_tags.c.name, model_version_tags.c.version))},
)

Row = sa.Row[Any]


def search_models(look: Reader, where: str, order_by: Sequence[str], limit: int, page: str) -> ModelPage:
    """One page of the models that match, by name unless told otherwise."""
    _check_limit(limit, MOST_MODELS)
    asked = asked_of(REGISTERED_MODELS, where, order_by)
    search = ("models", where, list(order_by))
    start = page_start(page, *search)
    conditions = Conditions(look.dialect, _MODELS)
    query = sa.select(models.c.name).where(models.c.name.not_in(sa.select(retired_models.c.name)))
    last = [conditions.bytewise(models.c.name)]
    rows, more = page_rows(look, narrowed(query, conditions, asked, last), start, limit)
    names = [row.name for row in rows]
    found = {each.name: each for each in reading.model_records(look, names)}
    following = page_after(start + limit, *search) if more else None
    return ModelPage([found[name] for name in names], newest_of_stages(look, names), following)


def search_versions(look: Reader, where: str, order_by: Sequence[str], limit: int, page: str) -> VersionPage:
    """One page of the versions that match, those changed last first unless told otherwise."""
    _check_limit(limit, MOST_VERSIONS)
    asked = asked_of(MODEL_VERSIONS, where, order_by)
    search = ("versions", where, list(order_by))
    start = page_start(page, *search)
    conditions = Conditions(look.dialect, _VERSIONS)
    table = model_versions
    query = sa.select(table.c.name, table.c.version).where(table.c.state != ModelState.DELETED)
    last = [conditions.bytewise(table.c.name), table.c.version.desc()]
    if not asked.orders:
        last.insert(0, _CHANGED.desc())
    rows, more = page_rows(look, narrowed(query, conditions, asked, last), start, limit)
    following = page_after(start + limit, *search) if more else None
    return VersionPage(_records(look, [(row.name, row.version) for row in rows]), following)


def newest_of_stages(look: Reader, names: Sequence[str]) -> dict[str, list[ModelVersionRecord]]:
    """The newest version of each stage, for each of some models."""
    table = model_versions
    newest = (
        sa.select(table.c.name, sa.func.max(table.c.version).label("version"))
        .where(table.c.name.in_(names), table.c.state != ModelState.DELETED)
        .group_by(table.c.name, table.c.stage)
    )
    chosen = [(row.name, row.version) for row in look.all(newest)] if names else []
    found: dict[str, list[ModelVersionRecord]] = defaultdict(list)
    for record in _records(look, sorted(chosen)):
        found[record.name].append(record)
    return dict(found)


def _records(look: Reader, chosen: Sequence[tuple[str, int]]) -> list[ModelVersionRecord]:
    """Whole records of versions, in the order given."""
    rows: dict[tuple[str, int], Row] = {}
    numbers: dict[str, list[int]] = defaultdict(list)
    for name, version in chosen:
        numbers[name].append(version)
    for name, wanted in numbers.items():
        for start in range(0, len(wanted), 5_000):
            some = model_versions.c.version.in_(wanted[start : start + 5_000])
            for row in look.all(sa.select(model_versions).where(model_versions.c.name == name, some)):
                rows[row.name, row.version] = row
    return reading.version_records(look, [rows[each] for each in chosen])


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidInput(f"a page of {limit} cannot be had", hint=f"1 to {most}")
