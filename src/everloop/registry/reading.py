"""Model versions read from the ledger."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.models import ModelRecord, ModelVersionRecord
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidReference, NotFound, nearest
from everloop.store.ledger import Reader
from everloop.store.schema.registry import model_aliases, model_versions, models


def resolve(look: Reader, text: str) -> Reference:
    """The reference with its version. Without version or alias, the latest is meant. Raises NotFound with the nearest names."""
    asked = Reference.parse(text, Kind.MODEL)
    row = look.first(sa.select(models).where(models.c.name == asked.name))
    if row is None:
        known = [each.name for each in look.all(sa.select(models.c.name))]
        raise NotFound(
            f"no model is called {shown(asked.name)}",
            hint=nearest(asked.name, known, see="everloop models list"),
        )
    version = asked.version
    if asked.alias is not None:
        aliases = {each.alias: each.version for each in look.all(_aliases_of(asked.name))}
        if asked.alias not in aliases:
            raise NotFound(
                f"the model {shown(asked.name)} has no alias {shown(asked.alias)}",
                hint=nearest(asked.alias, aliases) or f"aliases: {', '.join(aliases) or 'none yet'}",
            )
        version = aliases[asked.alias]
    return Reference(Kind.MODEL, asked.name, version=version or int(row.latest))


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
    aliases = [each for each in look.all(_aliases_of(reference.name)) if each.version == reference.version]
    return version_record(row, tuple(each.alias for each in aliases))


def versions_of(look: Reader, name: str) -> list[ModelVersionRecord]:
    """All versions of a model, newest first."""
    if Reference.parse(name, Kind.MODEL).version is not None:
        raise InvalidReference(f"{shown(name)} names one version", hint="give the model's name alone")
    asked = resolve(look, name).name
    aliases: dict[int, list[str]] = {}
    for row in look.all(_aliases_of(asked)):
        aliases.setdefault(row.version, []).append(row.alias)
    rows = look.all(
        sa.select(model_versions)
        .where(model_versions.c.name == asked)
        .order_by(model_versions.c.version.desc())
    )
    return [version_record(row, tuple(aliases.get(row.version, ()))) for row in rows]


def all_models(look: Reader) -> list[ModelRecord]:
    """All models by name."""
    aliases: dict[str, dict[str, int]] = {}
    for row in look.all(sa.select(model_aliases).order_by(model_aliases.c.alias)):
        aliases.setdefault(row.name, {})[row.alias] = row.version
    counted = sa.select(model_versions.c.name, sa.func.count().label("versions")).group_by(
        model_versions.c.name
    )
    counts = {row.name: row.versions for row in look.all(counted)}
    return [
        ModelRecord(
            row.name,
            row.latest,
            counts.get(row.name, 0),
            aliases.get(row.name, {}),
            row.created,
            row.updated,
            row.description,
        )
        for row in look.all(sa.select(models).order_by(models.c.name))
    ]


def version_record(row: sa.Row[Any], aliases: tuple[str, ...]) -> ModelVersionRecord:
    fields = {name: row._mapping[name] for name in ModelVersionRecord.__struct_fields__ if name != "aliases"}
    return msgspec.convert({**fields, "aliases": aliases}, ModelVersionRecord)


def _aliases_of(name: str) -> sa.Select[Any]:
    return sa.select(model_aliases).where(model_aliases.c.name == name).order_by(model_aliases.c.alias)
