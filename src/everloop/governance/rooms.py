"""What every room is built on: its context, and how it reads and changes the ledger."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from everloop.domain.ids import Ids
from everloop.domain.settings import Settings
from everloop.domain.times import Clock
from everloop.governance.identity import current_actor

if TYPE_CHECKING:  # the ledger brings SQLAlchemy along, which a remote workspace never needs
    from everloop.store.ledger import Ledger, Reader, Transaction
    from everloop.store.objects import Objects

R = TypeVar("R", bound="Room")


class Context(Protocol):
    """What a workspace hands to its rooms."""

    clock: Clock
    ids: Ids
    settings: Settings
    folder: Path
    """The workspace's folder of working files (``.everloop``; for a remote workspace, one on the caller's machine)."""
    project: Path
    """The folder of the user's project: where definitions are imported from and paths are relative to."""
    location: str
    """What names this workspace to another process: the project's folder, or the server's address."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def objects(self) -> Objects: ...

    @property
    def remote(self) -> bool: ...

    def room(self, kind: type[R]) -> R:
        """Another room of the same workspace; rooms ask only for rooms below them."""
        ...


class Room:
    """Base of all rooms. Operations use `look` and `change`; other methods use operations and `objects`."""

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context

    def look(self) -> AbstractContextManager[Reader]:
        """A block that reads the ledger. Only within operations."""
        return self.context.ledger.read()

    def change(self) -> AbstractContextManager[Transaction]:
        """A block that changes the ledger in the name of the current actor. Only within operations."""
        return self.context.ledger.transaction(current_actor().user)

    @property
    def objects(self) -> Objects:
        return self.context.objects
