"""A table that arrives in batches: it waits in a file, not in memory, until it has been looked at and stored."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedRandom
from pathlib import Path

import pyarrow as pa

from everloop.errors import StorageError

_Segment = tuple[BufferedRandom, pa.RecordBatchStreamWriter]


class Spool:
    """Batches in the order they come, kept in nameless files of `folder` that end with the process or the spool.

    A column may become wider on the way (all missing, then whole numbers, then others): what came before is written anew when
    the table is asked for, so that a table of any size needs memory for one batch. Raises pyarrow.ArrowInvalid for a batch whose
    columns have nothing in common with those before, StorageError when the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._segments: list[_Segment] = []
        self._schema: pa.Schema | None = None
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep a batch. The first one makes the file."""
        schema = batch.schema if self._schema is None else _wider(self._schema, batch.schema)
        with _writable():
            if self._schema is None or not schema.equals(self._schema):
                self._begin(schema)
            self._segments[-1][1].write_batch(batch.cast(schema))
        self._rows += batch.num_rows

    def table(self) -> pa.Table:
        """All batches as one table, whose values are read from the file when they are needed. One batch at least was added."""
        assert self._schema is not None
        schema, (*narrow, widest) = self._schema, self._segments
        with _writable():
            if narrow:
                self._segments = []
                self._begin(schema)
                for segment in narrow:
                    for batch in _mapped(segment):
                        self._segments[0][1].write_batch(batch.cast(schema))
                    segment[0].close()
                self._segments.append(widest)
            batches = [batch for segment in self._segments for batch in _mapped(segment)]
        return pa.Table.from_batches(batches, schema)

    def close(self) -> None:
        """Free the files. A table that was handed out stays readable where files may be removed while they are read."""
        self._open.close()

    def _begin(self, schema: pa.Schema) -> None:
        if not self._rows:
            self._segments.clear()
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._open.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115  (`close` does)
        self._segments.append((file, pa.ipc.new_stream(file, schema)))
        self._schema = schema


def _wider(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    return one if one.equals(other) else pa.unify_schemas([one, other], promote_options="permissive")


def _mapped(segment: _Segment) -> Iterator[pa.RecordBatch]:
    file, writer = segment
    writer.close()
    file.flush()
    # The map outlives the file, as long as a batch is in use.
    yield from pa.ipc.open_stream(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid:
        raise
    except OSError as error:
        raise StorageError(
            f"the table cannot be written: {error.strerror or error}", hint="free some space and try again"
        ) from None
