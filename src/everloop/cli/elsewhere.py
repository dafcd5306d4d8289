"""The other side of a push or pull, by what people call it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.store.objects import ContentStore
    from everloop.workspace.workspace import Workspace

WHERE = "a workspace's folder, the address of a server, s3://BUCKET/PREFIX?endpoint=…, or a folder that is to be a shelf"


_LOOKED_INTO = {"index.sqlite", "staging"}
"""What is in a folder that was opened as a store, but never written to: a dry run leaves that."""


def elsewhere(where: str) -> Workspace | ContentStore:
    """A workspace, or the store of a shelf: a folder or bucket without a ledger. It is closed when the command ends."""
    from everloop.client.ambient import connect
    from everloop.store.objects import open_objects
    from everloop.workspace.locations import locate

    context = click.get_current_context()
    if "://" in where and not where.startswith(("http://", "https://", "s3://")):
        raise InvalidInput(f"'{where}' is no place for data", hint=f"name {WHERE}")
    if not where.startswith("s3://"):
        found = locate(where)
        if found.url is not None or found.exists:
            return context.with_resource(connect(where))
        assert found.folder is not None
        _require_shelf(found.folder)
        where = str(found.folder)
    store = open_objects(where)
    context.call_on_close(store.close)
    return store


def _require_shelf(folder: Path) -> None:
    """A folder that is no workspace is a shelf, or becomes one when it is empty."""
    if not folder.exists() or (folder / "format").is_file():
        return
    if folder.is_dir() and {each.name for each in folder.iterdir()} <= _LOOKED_INTO:
        return
    raise InvalidInput(
        f"{folder} holds other things than data of Everloop", hint="name an empty folder, or a workspace"
    )
