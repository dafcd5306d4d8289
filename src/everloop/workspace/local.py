"""A workspace over a folder: ledger and objects as the project's profile says."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from everloop.domain.ids import Ids, system_ids
from everloop.domain.times import Clock, system_clock
from everloop.errors import StorageError
from everloop.governance.rooms import Room
from everloop.workspace.locations import FOLDER
from everloop.workspace.settings import read_settings
from everloop.workspace.workspace import Workspace

if TYPE_CHECKING:
    from everloop.store.ledger import Ledger
    from everloop.store.objects import Objects

R = TypeVar("R", bound=Room)

LEDGER_MADE = "ledger.made"
"""An empty file beside a SQLite ledger that says that there is one."""


class LocalWorkspace(Workspace):
    """Rooms that work in this process. The folder is made by the first thing that touches ledger or objects."""

    def __init__(self, project: Path, *, clock: Clock = system_clock, ids: Ids | None = None) -> None:
        super().__init__(
            clock=clock,
            ids=ids or system_ids(clock),
            settings=read_settings(project),
            folder=project / FOLDER,
            project=project,
            location=str(project),
        )

    @cached_property
    def ledger(self) -> Ledger:
        from everloop.store.ledger import open_ledger

        self._make_folder()
        place = None if self.settings.ledger else self.folder / "ledger.db"
        if place is not None:
            self._require_ledger(place)
        ledger = open_ledger(
            self.settings.ledger or f"sqlite:///{place}",
            clock=self.clock,
            ids=self.ids,
            absent=lambda digests: self.objects.missing(digests),
        )
        if place is not None:
            self._note_ledger(place)
        return ledger

    @cached_property
    def objects(self) -> Objects:
        from everloop.store.objects import open_objects

        self._make_folder()
        if not self.settings.objects:
            return open_objects(self.folder / "objects")
        ledger = self.ledger.url if self.settings.ledger else str(self.folder.resolve())
        return open_objects(self.settings.objects, user=f"the ledger {ledger}")

    @property
    def remote(self) -> bool:
        return False

    def build(self, kind: type[R]) -> R:
        return kind(self)

    def close(self) -> None:
        if "ledger" in self.__dict__:
            self.ledger.close()

    def _require_ledger(self, place: Path) -> None:
        """A new ledger in the place of one that is gone would know of nothing, and let everything be freed."""
        noted = self.folder / LEDGER_MADE
        if noted.exists() and not place.exists():
            raise StorageError(
                f"the ledger {place} is gone",
                hint=f"put it back from a backup; to begin anew without all that it knew, remove {noted} too",
            )

    def _note_ledger(self, place: Path) -> None:
        noted = self.folder / LEDGER_MADE
        if place.exists() and not noted.exists():
            with suppress(OSError):  # a folder that may only be read
                noted.touch()

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the workspace {self.folder}: {error.strerror}",
                hint="choose a folder you may write to",
            ) from None
        print(f"made the workspace {self.folder}", file=sys.stderr)
