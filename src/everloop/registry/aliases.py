"""Aliases: what they mean now, and the record of what they meant before."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.domain.ids import Ids
from everloop.domain.models import ModelState, ModelVersionRecord
from everloop.domain.names import shown
from everloop.domain.references import is_alias
from everloop.errors import Conflict, InvalidInput
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.registry import model_alias_history, model_aliases


def checked_alias(alias: str) -> None:
    """Raise InvalidInput for what cannot be an alias."""
    if not is_alias(alias):
        raise InvalidInput(
            f"{shown(alias)} cannot be an alias",
            hint="letters, digits, '_' and '-'; not 'latest' and not like a version",
        )


def meant(look: Reader, name: str, alias: str) -> int | None:
    """The version that an alias means; None when it means none."""
    named = (model_aliases.c.name == name) & (model_aliases.c.alias == alias)
    found = look.scalar(sa.select(model_aliases.c.version).where(named))
    return None if found is None else int(found)


def move_alias(tx: Transaction, ids: Ids, record: ModelVersionRecord, alias: str, reason: str) -> None:
    """Let an alias mean this version from now on."""
    checked_alias(alias)
    if record.state is ModelState.DELETED:
        raise Conflict(f"{record.reference} is deleted", hint="give the alias to another version")
    if meant(tx, record.name, alias) == record.version:
        return
    tx.put(model_aliases, {"name": record.name, "alias": alias, "version": record.version})
    remember(tx, ids, record.name, alias, record.version, reason)
    tx.event("model.alias_set", record.reference, {"alias": alias, "reason": reason})


def remember(tx: Transaction, ids: Ids, name: str, alias: str, version: int | None, reason: str) -> None:
    """Write down that an alias means a version from now on, or (None) nothing."""
    row = {"id": ids(), "name": name, "alias": alias, "version": version, "time": tx.now}
    tx.execute(sa.insert(model_alias_history), row | {"user": tx.actor, "reason": reason})
