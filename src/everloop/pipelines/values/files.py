"""A file that passes between steps: what a command writes, and what it is given."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa


class File(msgspec.Struct, frozen=True):
    """A file by name and content.

    >>> File("words.txt", b"one\\ntwo\\n").text().split()
    ['one', 'two']
    """

    name: str
    content: bytes

    def text(self) -> str:
        """Its content as UTF-8. Raises InvalidInput when it is something else."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{self.name} is not text", hint="use its .content") from None

    def table(self) -> pa.Table:
        """Its rows, by the ending of its name (``.csv``, ``.parquet``, ``.jsonl``, ``.arrow``)."""
        from everloop.data.tables.scanning import table_of

        return table_of([(self.name, self.content)]).to_table()

    def __repr__(self) -> str:
        return f"<file {self.name}, {len(self.content):,} bytes>"


def file_of(value: Any, name: str) -> File:
    """A value as a file of this name: text, bytes or a file as they are, a table in the format that the name's ending says.

    Raises InvalidInput for anything else.
    """
    if isinstance(value, File):
        return value
    if isinstance(value, bytes):
        return File(name, value)
    if isinstance(value, str):
        return File(name, value.encode())
    return File(name, _written(value, name))


def _written(value: Any, name: str) -> bytes:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    if type(value).__module__.partition(".")[0] == "pandas":
        value = pa.Table.from_pandas(value, preserve_index=False)
    if not isinstance(value, pa.Table):
        raise InvalidInput(
            f"a {type(value).__name__} cannot be written to {name}",
            hint="pass a file, text, bytes or a table",
        )
    sink = pa.BufferOutputStream()
    match PurePosixPath(name).suffix:
        case ".parquet":
            pyarrow.parquet.write_table(value, sink)
        case ".csv":
            pyarrow.csv.write_csv(value, sink)
        case ".arrow" | ".feather":
            pyarrow.feather.write_feather(value, sink, compression="uncompressed")
        case suffix:
            raise InvalidInput(
                f"a table cannot be written as '{suffix or name}'", hint="name it .parquet, .csv or .arrow"
            )
    return bytes(sink.getvalue())
