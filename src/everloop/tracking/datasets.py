"""Data that a run used, described: rows, columns and a digest of the content."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from everloop.domain.run_inputs import LoggedDataset
from everloop.errors import InvalidInput
from everloop.tracking.tables import arrow_table

_DIGEST_CHARACTERS = 16
_DIGESTED_ROWS = 10_000
"""Rows that the digest covers, spread evenly: a description must not cost more than a training."""


def described(data: Any, name: str, *, context: str = "", source: str = "") -> LoggedDataset:
    """A description of an array, a frame, an Arrow table, a dict of columns, or a list of rows. Its digest is that of shape,
    columns and up to 10,000 rows, so that equal data have equal ones. Raises InvalidInput for what has no rows.

    >>> described([[1.0, 2.0], [3.0, 4.0]], "points", context="train").profile
    '{"num_rows":2,"num_columns":2}'
    >>> described({"x": [1.0, 3.0, 5.0]}, "points").profile
    '{"num_rows":3,"num_columns":1}'
    """
    import numpy as np

    if isinstance(data, Mapping):
        data = arrow_table(data)
    columns = _columns(data)
    try:
        content = data.to_pylist() if hasattr(data, "to_pylist") else data
        shape = tuple(data.shape) if hasattr(data, "shape") else np.shape(content)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a {type(data).__name__} is not a table: {error}") from None
    if not shape:
        raise InvalidInput(
            f"a {type(data).__name__} has no rows",
            hint="give an array, a frame, an Arrow table, a dict of columns or a list",
        )
    digest = sha256(msgspec.json.encode([list(shape), columns]))
    digest.update(_sample(content, shape[0]))
    width = 1 if len(shape) == 1 else int(shape[1])
    profile = {"num_rows": int(shape[0]), "num_columns": width}
    return LoggedDataset(
        name,
        digest.hexdigest()[:_DIGEST_CHARACTERS],
        source_type="code" if not source else "local",
        source=source,
        schema=msgspec.json.encode({"columns": columns}).decode() if columns else "",
        profile=msgspec.json.encode(profile).decode(),
        context=context,
    )


def _columns(data: Any) -> list[dict[str, str]]:
    """Names and types of columns, for data that have them."""
    if hasattr(data, "schema") and hasattr(data, "column_names"):  # an Arrow table
        return [{"name": str(each.name), "type": str(each.type)} for each in data.schema]
    if hasattr(data, "dtypes") and hasattr(data, "columns"):  # a frame of pandas or polars
        return [
            {"name": str(name), "type": str(kind)}
            for name, kind in zip(data.columns, data.dtypes, strict=True)
        ]
    if hasattr(data, "dtype"):
        return [{"name": "", "type": str(data.dtype)}]
    return []


def _sample(content: Any, rows: int) -> bytes:
    import numpy as np

    stride = max(1, -(-rows // _DIGESTED_ROWS))
    if hasattr(content, "iloc"):
        content = content.iloc[::stride].to_numpy()
    elif hasattr(content, "tocsr"):  # a sparse matrix
        part = content.tocsr()[::stride]
        return b"".join(
            np.ascontiguousarray(each).tobytes() for each in (part.data, part.indices, part.indptr)
        )
    elif hasattr(content, "__getitem__"):
        content = content[::stride]
    array = np.asarray(content)
    if array.dtype.hasobject:
        return repr(array.tolist()).encode(errors="replace")
    return np.ascontiguousarray(array).tobytes()
