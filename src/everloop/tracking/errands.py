"""What a run could not say because the server or the disk was away, kept beside its journal and done later.

An errand is an operation of the room with its arguments. It stands in the journal as a note, so it survives the process; the
bytes that it names rest in a folder beside the journal until the object store has them. Errands may be done twice (a process
can die between doing one and forgetting it); the second time changes nothing, but that a logged model is there twice.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.errors import InvalidInput, StorageError
from everloop.governance.operations import operations_of
from everloop.store.objects.contract import Source, Stored
from everloop.tracking import records

if TYPE_CHECKING:
    from everloop.store.objects import Objects
    from everloop.tracking.tracking import Tracking

BEGIN = "create_run"
_ALLOWED = (BEGIN, "add_artifacts", "add_checkpoint", "consumed", "produced", "log_datasets", "log_run_model")
_PIECE = 1 << 20


class Errand(msgspec.Struct, frozen=True):
    """An operation of tracking by name, and its arguments as plain data."""

    name: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, operation: str, /, **arguments: Any) -> "Errand":
        return cls(operation, msgspec.to_builtins(arguments))

    def note(self) -> bytes:
        """What stands in the journal."""
        return records.encode((records.ERRAND, self.name, self.arguments))

    @classmethod
    def read(cls, note: Sequence[Any]) -> "Errand":
        _, name, arguments = note
        return cls(str(name), dict(arguments))

    def perform(self, tracking: "Tracking") -> None:
        """Do it. Raises what the operation raises; InvalidInput for what is no errand."""
        if self.name not in _ALLOWED:
            raise InvalidInput(f"a journal asks for {self.name!r}, which is not done for one")
        described = operations_of(type(tracking))[self.name]
        try:
            request = msgspec.convert(self.arguments, described.request)
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"a journal asks for {self.name} in a way that is not understood: {error}"
            ) from None
        arguments = {name: getattr(request, name) for name in request.__struct_fields__}
        if self.name == "add_checkpoint":
            known = tracking.checkpoints(arguments["run_id"])
            if any(
                (each.digest, each.records) == (arguments["digest"], arguments["records"]) for each in known
            ):
                return
        getattr(tracking, self.name)(**arguments)


class Spool:
    """Bytes that wait for the object store, in a folder beside a run's journal: as much of an object store as capture and
    artifacts need."""

    def __init__(self, journal: Path) -> None:
        self.folder = journal.with_suffix(".files")

    @contextmanager
    def writer(self) -> Iterator["Spool"]:
        yield self

    def add(self, source: Source) -> Stored:
        """Take bytes or a file in: whole or absent. Raises StorageError when there is no room."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._added(source)
        except OSError as error:
            raise StorageError(
                f"nothing can be kept in {self.folder}: {error.strerror}", hint="free some space"
            ) from error

    put = add

    def _added(self, source: Source) -> Stored:
        begun = self.folder / f".{os.getpid()}-{id(source):x}"
        digest, size = sha256(), 0
        try:
            with begun.open("wb") as target:
                for piece in _pieces(source):
                    digest.update(piece)
                    size += len(piece)
                    target.write(piece)
            begun.rename(self.folder / digest.hexdigest())
        finally:
            begun.unlink(missing_ok=True)
        return Stored(digest.hexdigest(), size)

    def deliver(self, objects: "Objects") -> None:
        """Give everything to the object store, and keep it until `remove`."""
        waiting = (
            [each for each in self.folder.glob("[0-9a-f]*") if each.is_file()] if self.folder.is_dir() else []
        )
        if not waiting:
            return
        missing = objects.missing(each.name for each in waiting)
        with objects.writer() as writer:
            for each in waiting:
                if each.name in missing:
                    writer.add(each)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _pieces(source: Source) -> Iterator[bytes]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield bytes(source)
    else:
        while piece := source.read(_PIECE):
            yield piece
