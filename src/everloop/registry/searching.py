"""Searches for models and versions, in the language of `everloop.domain.filters`.

A registry holds thousands of entries where tracking holds millions of points: names are narrowed down in the database, the
rest is decided row by row, and whole records are read only for the page that is asked for.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.filters import (
    NUMBER,
    TEXT,
    Comparison,
    Sort,
    Vocabulary,
    parse_sort,
    parse_tests,
    passes,
)
from everloop.domain.models import ModelPage, ModelState, ModelVersionRecord, VersionPage
from everloop.domain.paging import page_after, page_start
from everloop.domain.times import micros
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

_TAGS = {"tag": "tag", "tags": "tag", "attribute": "attribute", "attributes": "attribute"}
MODELS = Vocabulary(
    what="registered models",
    attributes={"name": ("name", TEXT)},
    entities=_TAGS,
    sortable={"name": "name", "timestamp": "updated", "last_updated_timestamp": "updated"},
)
VERSIONS = Vocabulary(
    what="model versions",
    attributes={
        "name": ("name", TEXT),
        "version_number": ("version", NUMBER),
        "run_id": ("run", TEXT),
        "source_path": ("source", TEXT),
    },
    entities=_TAGS,
    sortable={
        "name": "name",
        "version_number": "version",
        "creation_timestamp": "created",
        "last_updated_timestamp": "updated",
    },
)
MOST_MODELS = 1_000
MOST_VERSIONS = 200_000

ABSENT = {"mlflow.prompt.is_prompt": "false"}
"""Tags that count as having a value where they are not set: MLflow's clients leave prompts out by asking for another one."""

Row = sa.Row[Any]


def search_models(look: Reader, where: str, order_by: Sequence[str], limit: int, page: str) -> ModelPage:
    """One page of the models that match, by name unless told otherwise."""
    _check_limit(limit, MOST_MODELS)
    tests, sorts = _parsed(where, order_by, MODELS)
    start = page_start(page, "models", where, list(order_by))
    query = sa.select(models.c.name, models.c.updated)
    query = query.where(models.c.name.not_in(sa.select(retired_models.c.name)))
    rows = look.all(_narrowed(query, models.c.name, tests))
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for tag in _wanted_tags(look, model_tags, tests):
        tags[tag.name][tag.key] = tag.value
    matching = [row for row in rows if passes(tests, _lookup(row, tags[row.name]))]
    matching.sort(key=lambda row: row.name)
    matching = _sorted(matching, sorts)
    names = [row.name for row in matching[start : start + limit]]
    found = {each.name: each for each in reading.model_records(look, names)}
    following = page_after(start + limit, "models", where, list(order_by))
    return ModelPage(
        [found[name] for name in names],
        newest_of_stages(look, names),
        following if len(matching) > start + limit else None,
    )


def search_versions(look: Reader, where: str, order_by: Sequence[str], limit: int, page: str) -> VersionPage:
    """One page of the versions that match, those changed last first unless told otherwise."""
    _check_limit(limit, MOST_VERSIONS)
    tests, sorts = _parsed(where, order_by, VERSIONS)
    start = page_start(page, "versions", where, list(order_by))
    table = model_versions
    changed = sa.func.coalesce(table.c.updated, table.c.created, type_=table.c.created.type)
    query: sa.Select[Any] = sa.select(
        table.c.name, table.c.version, table.c.run, table.c.source, table.c.created, changed.label("updated")
    ).where(table.c.state != ModelState.DELETED)
    query = _narrowed(query, table.c.name, tests)
    following = page_after(start + limit, "versions", where, list(order_by))
    if not sorts and all(_is_name(test) for test in tests):  # the usual page needs no more rows than it shows
        query = query.order_by(changed.desc(), table.c.name, table.c.version.desc())
        rows = look.all(query.limit(limit + 1).offset(start))
        newest = [(row.name, row.version) for row in rows[:limit]]
        return VersionPage(_records(look, newest), following if len(rows) > limit else None)
    rows = look.all(query)
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for tag in _wanted_tags(look, model_version_tags, tests):
        tags[tag.name, tag.version][tag.key] = tag.value
    matching = [row for row in rows if passes(tests, _lookup(row, tags[row.name, row.version]))]
    matching.sort(key=lambda row: (row.name, -row.version))
    matching = _sorted(matching, sorts or [Sort("attribute", "updated", True)])
    chosen = [(row.name, row.version) for row in matching[start : start + limit]]
    return VersionPage(_records(look, chosen), following if len(matching) > start + limit else None)


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


def _parsed(
    where: str, order_by: Sequence[str], vocabulary: Vocabulary
) -> tuple[list[Comparison], list[Sort]]:
    sorts = [parse_sort(each, vocabulary) for each in order_by]
    if any(each.entity != "attribute" for each in sorts):
        raise InvalidInput(
            f"{vocabulary.what} cannot be sorted by tags", hint=f"by: {', '.join(vocabulary.sortable)}"
        )
    if len({each.key for each in sorts}) < len(sorts):
        raise InvalidInput("the order names the same thing twice", hint="name each once")
    return parse_tests(where, vocabulary), sorts


def _narrowed(query: sa.Select[Any], name: sa.ColumnElement[str], tests: list[Comparison]) -> sa.Select[Any]:
    for test in filter(_is_name, tests):
        query = query.where(name == test.value)
    return query


def _is_name(test: Comparison) -> bool:
    """Whether the database decides this one by itself."""
    return (test.entity, test.key, test.operator) == ("attribute", "name", "=")


def _wanted_tags(look: Reader, table: sa.Table, tests: list[Comparison]) -> Sequence[Row]:
    keys = sorted({test.key for test in tests if test.entity == "tag"})
    return look.all(sa.select(table).where(table.c.key.in_(keys))) if keys else []


def _lookup(row: Row, tags: dict[str, str]) -> Callable[[str, str], Any]:
    def find(entity: str, key: str) -> Any:
        return tags.get(key, ABSENT.get(key)) if entity == "tag" else row._mapping[key]

    return find


def _sorted(rows: list[Row], sorts: list[Sort]) -> list[Row]:
    """By the last first: each sort leaves what is equal as it was."""
    for sort in reversed(sorts):
        rows = sorted(rows, key=functools.partial(_key, key=sort.key), reverse=sort.descending)
    return rows


def _key(row: Row, key: str) -> Any:
    value = row._mapping[key]
    return micros(value) if key in {"created", "updated"} else value


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidInput(f"a page of {limit} cannot be had", hint=f"1 to {most}")
