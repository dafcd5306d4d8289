"""Models and their versions read from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.models import ModelRecord, ModelState, ModelVersionRecord
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidReference, NotFound, nearest
from everloop.store.ledger import Reader
from everloop.store.schema.registry import (
    model_aliases,
    model_tags,
    model_version_tags,
    model_versions,
    models,
    retired_models,
)

_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement


def current_name(look: Reader, name: str) -> str:
    """The name that a model has now; models keep answering to names they had before, until another takes these."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        if look.first(sa.select(models.c.name).where(models.c.name == name)) is not None:
            break
        successor = look.scalar(sa.select(retired_models.c.successor).where(retired_models.c.name == name))
        name = str(successor) if successor is not None else name
    return name


def resolve(look: Reader, text: str) -> Reference:
    """The reference with its version. Without version or alias, the latest is meant. Raises NotFound with the nearest names."""
    asked = Reference.parse(text, Kind.MODEL)
    name = current_name(look, asked.name)
    row = look.first(sa.select(models).where(models.c.name == name))
    if row is None or (asked.version is None and is_deleted(look, name)):
        known = [each.name for each in look.all(_living(sa.select(models.c.name)))]
        raise NotFound(
            f"no model is called {shown(asked.name)}",
            hint=nearest(asked.name, known, see="everloop models list"),
        )
    version = asked.version
    if asked.alias is not None:
        aliases = {each.alias: each.version for each in look.all(_aliases_of(name))}
        if asked.alias not in aliases:
            raise NotFound(
                f"the model {shown(name)} has no alias {shown(asked.alias)}",
                hint=nearest(asked.alias, aliases) or f"aliases: {', '.join(aliases) or 'none yet'}",
            )
        version = aliases[asked.alias]
    if version is None:
        version = look.scalar(sa.select(sa.func.max(model_versions.c.version)).where(_listed(name)))
        if version is None:
            raise NotFound(
                f"the model {shown(name)} has no versions", hint="see: everloop models register --help"
            )
    return Reference(Kind.MODEL, name, version=int(version))


def is_deleted(look: Reader, name: str) -> bool:
    """Whether a model has been deleted, and no other has taken its name."""
    return look.first(sa.select(retired_models.c.name).where(retired_models.c.name == name)) is not None


def find_model(look: Reader, name: str) -> ModelRecord:
    """One model by name, or by a name it had before. Raises NotFound with the nearest names."""
    if Reference.parse(name, Kind.MODEL) != Reference(Kind.MODEL, name):
        raise InvalidReference(f"{shown(name)} is not a model's name alone", hint="give the name alone")
    found = model_records(look, [current_name(look, name)])
    if not found:
        known = [each.name for each in look.all(_living(sa.select(models.c.name)))]
        raise NotFound(
            f"no model is called {shown(name)}", hint=nearest(name, known, see="everloop models list")
        )
    return found[0]


def find_version(look: Reader, text: str) -> ModelVersionRecord:
    """One version by reference. Raises NotFound."""
    reference = resolve(look, text)
    row = look.first(
        sa.select(model_versions).where(
            model_versions.c.name == reference.name, model_versions.c.version == reference.version
        )
    )
    if row is None:
        raise NotFound(f"there is no {reference}", hint=f"see: everloop models show {reference.name}")
    return version_records(look, [row])[0]


def versions_of(look: Reader, name: str) -> list[ModelVersionRecord]:
    """All versions of a model that are not deleted, newest first."""
    reference = Reference.parse(name, Kind.MODEL)
    if reference.version is not None:
        raise InvalidReference(f"{shown(name)} names one version", hint="give the model's name alone")
    asked = find_model(look, reference.name).name
    rows = look.all(sa.select(model_versions).where(_listed(asked)).order_by(model_versions.c.version.desc()))
    return version_records(look, rows)


def all_models(look: Reader) -> list[ModelRecord]:
    """All models by name."""
    return model_records(look, None)


def model_records(look: Reader, names: Sequence[str] | None) -> list[ModelRecord]:
    """Models by name: those named that are there, or all. Deleted ones are left out."""
    aliases: dict[str, dict[str, int]] = defaultdict(dict)
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    counts: dict[str, int] = {}
    rows: list[sa.Row[Any]] = []
    for some in _parts(names):
        query = sa.select(model_aliases).order_by(model_aliases.c.alias)
        for row in look.all(_of(query, model_aliases, some)):
            aliases[row.name][row.alias] = row.version
        for row in look.all(_of(sa.select(model_tags).order_by(model_tags.c.key), model_tags, some)):
            tags[row.name][row.key] = row.value
        counted = sa.select(model_versions.c.name, sa.func.count().label("versions"))
        counted = counted.where(model_versions.c.state != ModelState.DELETED)
        for row in look.all(_of(counted, model_versions, some).group_by(model_versions.c.name)):
            counts[row.name] = row.versions
        rows += look.all(_of(_living(sa.select(models)), models, some).order_by(models.c.name))
    return [
        ModelRecord(
            row.name,
            row.latest,
            counts.get(row.name, 0),
            aliases.get(row.name, {}),
            row.created,
            row.updated,
            row.description,
            tags.get(row.name, {}),
        )
        for row in rows
    ]


def version_records(look: Reader, rows: Sequence[sa.Row[Any]]) -> list[ModelVersionRecord]:
    """Rows of versions with their aliases and tags, in the order given."""
    aliases: dict[tuple[str, int], list[str]] = defaultdict(list)
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for some in _parts(list({row.name for row in rows})):
        query = sa.select(model_aliases).order_by(model_aliases.c.alias)
        for row in look.all(_of(query, model_aliases, some)):
            aliases[row.name, row.version].append(row.alias)
        query = sa.select(model_version_tags).order_by(model_version_tags.c.key)
        for row in look.all(_of(query, model_version_tags, some)):
            tags[row.name, row.version][row.key] = row.value
    found = []
    for row in rows:
        here = row.name, row.version
        fields = {name: row._mapping[name] for name in _COLUMNS}
        fields |= {"aliases": tuple(aliases.get(here, ())), "tags": tags.get(here, {})}
        found.append(msgspec.convert(fields, ModelVersionRecord))
    return found


_COLUMNS = [name for name in ModelVersionRecord.__struct_fields__ if name not in {"aliases", "tags"}]


def _listed(name: str) -> sa.ColumnElement[bool]:
    return sa.and_(model_versions.c.name == name, model_versions.c.state != ModelState.DELETED)


def _living(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.where(models.c.name.not_in(sa.select(retired_models.c.name)))


def _of(query: sa.Select[Any], table: sa.Table, names: Sequence[str] | None) -> sa.Select[Any]:
    return query if names is None else query.where(table.c.name.in_(names))


def _parts(names: Sequence[str] | None) -> Iterable[Sequence[str] | None]:
    if names is None:
        return [None]
    return [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]


def _aliases_of(name: str) -> sa.Select[Any]:
    return sa.select(model_aliases).where(model_aliases.c.name == name).order_by(model_aliases.c.alias)
