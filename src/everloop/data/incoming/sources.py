"""What comes in: a source, whatever it is, as the files and tables that a version will be made of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everloop.data.incoming import addresses
from everloop.data.incoming.folders import Found, Listing, list_files
from everloop.data.incoming.queries import Query
from everloop.data.tables.formats import format_of
from everloop.domain.datasets import Manifest, Origin, checked_path
from everloop.errors import InvalidInput, StorageError
from everloop.store.objects.buckets import STALE_AFTER

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.data.data import Data

PARQUET = ".parquet"
_FETCHED = "fetched-"


class Part(NamedTuple):
    """One file to be: its bytes come from a table or, as they are, from a file. `shape` is its schema and rows, if a table."""

    path: str
    source: Any
    shape: tuple[pa.Schema, int] | None


class Incoming:
    """A source that can be taken in again, when another one was quicker.

    found: the files, links and folders, when it is files; None for a table. place: the folder or file of the user that they are.
    addresses: by path, where files that are kept by reference rest.
    """

    def __init__(
        self,
        *,
        found: Listing | None = None,
        place: Path | None = None,
        table: pa.Table | None = None,
        origin: Origin | None = None,
        file: str = "",
        as_file: bool = False,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.found = found
        self.place = place
        self.origin = origin
        self.addresses = addresses or {}
        self._table = table
        self._file = file
        self._as_file = as_file
        self._parts: list[Part] | None = None

    def look(self) -> None:
        """Look into each file, unless it is to be kept unread. Raises InvalidInput for one that is not what its name says."""
        if self.found is not None and self._parts is None:
            self._parts = [Part(file.path, file, self._shape(file)) for file in self.found.files]

    def parts(self, base: Manifest, folder: Path) -> list[Part]:
        """The files to be, for a version on top of `base`; `folder` is where the workspace may write."""
        if self._table is None:
            self.look()
            assert self._parts is not None
            return self._parts
        table = self._table
        path = checked_path(self._file) if self._file else _part_name(table, base, folder)
        if not path.endswith(PARQUET):
            raise InvalidInput(f"a table is kept as Parquet, so '{path}' should end in .parquet")
        return [Part(path, table, (table.schema, table.num_rows))]

    def _shape(self, file: Found) -> tuple[pa.Schema, int] | None:
        if self._as_file or format_of(file.path) is None:
            return None
        from everloop.data.tables.parquet import inspect

        return inspect(file.path, file.place)


@contextmanager
def taken_in(room: Data, source: Any, *, file: str, as_file: bool, reference: bool) -> Iterator[Incoming]:
    """A source as what comes in, within the block. Raises NotFound and InvalidInput for what cannot be added."""
    if reference and (isinstance(source, Query) or not isinstance(source, str | Path)):
        raise InvalidInput("only files can be added by reference", hint="leave reference=… out")
    if isinstance(source, Query):
        origin = Origin(addresses.shown_address(source.source), source.sql)
        with source.table(room.context.project, room.context.folder) as table:
            yield Incoming(table=table, file=file, origin=origin)
    elif isinstance(source, str) and addresses.is_address(source):
        yield from _from_address(room, source, file, as_file, reference)
    elif isinstance(source, str | Path):
        yield _local(Path(source), file, as_file, reference)
    else:
        yield Incoming(table=_table(source, as_file), file=file)


def _from_address(room: Data, address: str, file: str, as_file: bool, reference: bool) -> Iterator[Incoming]:
    path = addresses.local_path(address)
    if path is not None:
        yield _local(path, file, as_file, reference)
        return
    listed = addresses.list_address(address)
    _sweep(room)
    try:
        room.context.folder.mkdir(parents=True, exist_ok=True)
        fetched = Path(tempfile.mkdtemp(prefix=_FETCHED, dir=room.context.folder))
    except OSError as error:
        raise StorageError(f"{room.context.folder} cannot be written: {error.strerror}") from None
    try:
        for remote in listed:
            addresses.fetch(remote, fetched / remote.path)
        addresses.require_same(listed)
        found = _named(list_files(fetched), file)
        given = {remote.path: remote.address for remote in listed}
        if file:
            given = {file: listed[0].address}
        origin = Origin(addresses.shown_address(address))
        yield Incoming(found=found, as_file=as_file, origin=origin, addresses=given if reference else None)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _sweep(room: Data) -> None:
    """Remove what killed processes had fetched."""
    now = room.context.clock().timestamp()
    for left in room.context.folder.glob(f"{_FETCHED}*"):
        if now - left.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)


def _local(source: Path, file: str, as_file: bool, reference: bool) -> Incoming:
    found = _named(list_files(source), file)
    at = {each.path: addresses.local_address(each.place) for each in found.files} if reference else None
    return Incoming(found=found, place=source, as_file=as_file, addresses=at)


def _named(found: Listing, file: str) -> Listing:
    if not file:
        return found
    if len(found.files) > 1:
        raise InvalidInput("a folder keeps the names of its files", hint="leave file=… out")
    return Listing([found.files[0]._replace(path=checked_path(file))], [], [], [])


def _table(source: Any, as_file: bool) -> pa.Table:
    from everloop.data.tables.parquet import arrow_table, is_arrow

    if not is_arrow(source):
        raise InvalidInput(
            f"a {type(source).__name__} cannot be added",
            hint="give a path, or a table of pyarrow, DuckDB, pandas or polars",
        )
    if as_file:
        raise InvalidInput("a table in memory is no file", hint="leave as_file out")
    # A reader or relation can be read only once: what another attempt needs is the table.
    return arrow_table(source)


def _part_name(table: pa.Table, base: Manifest, folder: Path) -> str:
    """A number, so that parts stand in the order they came, and the beginning of a digest, so that the same table is known
    when it comes again, whatever the checks take out of it."""
    from hashlib import file_digest

    from everloop.data.tables.parquet import as_parquet

    with as_parquet(table, folder) as stream:
        digest = file_digest(stream, "sha256").hexdigest()[:12]
    for file in base.files:
        if file.path.endswith(f"-{digest}.parquet"):
            return file.path
    return f"part-{len(base.files):05d}-{digest}.parquet"
