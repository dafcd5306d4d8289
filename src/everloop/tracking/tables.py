"""Tables that runs keep, as files: Parquet, or the JSON that MLflow's `log_table` writes."""

from typing import TYPE_CHECKING, Any

import msgspec

from everloop.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa


class _Split(msgspec.Struct):
    """Columns and rows, as pandas writes with ``orient="split"``."""

    columns: list[str]
    data: list[list[Any]]


def arrow_table(table: Any) -> "pa.Table":
    """An Arrow table, a pandas frame or a dict of columns as an Arrow table. Raises InvalidInput for anything else."""
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    try:
        return pa.Table.from_pandas(table) if hasattr(table, "iloc") else pa.table(table)
    except (TypeError, ValueError) as error:  # ValueError: Arrow's own errors are of this kind
        raise InvalidInput(
            f"a {type(table).__name__} is not kept as a table: {error}",
            hint="give an Arrow table, a frame, or a dict of columns of equal length",
        ) from error


def joined(before: "pa.Table", after: "pa.Table") -> "pa.Table":
    """The rows of both; a column that one of them lacks is empty there. Raises InvalidInput where one's type does not fit."""
    import pyarrow as pa

    try:
        return pa.concat_tables([before, after], promote_options="permissive")
    except pa.ArrowException as error:
        raise InvalidInput(
            f"the rows do not fit the table: {error}",
            hint="keep them under another path, or convert the columns",
        ) from error


def written(table: "pa.Table", path: str) -> bytes:
    """The bytes of a file, by the ending of its path."""
    if path.endswith(".json"):
        return msgspec.json.encode(
            _Split(table.column_names, [list(row.values()) for row in table.to_pylist()])
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read(content: bytes, path: str) -> "pa.Table":
    """A table from such bytes. Raises InvalidInput when they are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.endswith(".json"):
            split = msgspec.json.decode(content, type=_Split)
            columns = list(zip(*split.data, strict=True)) if split.data else [()] * len(split.columns)
            return pa.table({name: list(values) for name, values in zip(split.columns, columns, strict=True)})
        return pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, msgspec.DecodeError, ValueError) as error:
        raise InvalidInput(
            f"the file {path} is not a table: {error}", hint="append to a table only"
        ) from error
