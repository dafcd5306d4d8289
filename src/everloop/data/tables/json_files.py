"""JSON as a table: a document a line, or one document that is a list; each of them an object with a value for each column."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from everloop.data.tables.formats import BOM, Format, format_of

_BLOCK = 1 << 20
_ZONE = r"(Z|[+-]\d\d:?\d\d|[T ].*[+-]\d\d)$"
"""How a time that says its zone ends; that a date does not say one is told by the time before it."""
_LONGEST = (1 << 31) - 1


def json_table(name: str, held: Path | bytes) -> pa.Table | None:
    """The table of a well-formed JSON file, whole in memory; None when its documents are no rows: when one is not an object, or a
    column holds values of different kinds. Types are inferred from all rows."""
    content = (held if isinstance(held, bytes) else held.read_bytes()).removeprefix(BOM)
    if format_of(name) is Format.JSON:
        try:
            document = msgspec.json.decode(content, type=msgspec.Raw)
        except msgspec.DecodeError:
            pass  # many documents, a line each, are called .json by many
        else:
            if not bytes(document).startswith(b"["):
                return None
            rows = msgspec.json.decode(document, type=list[msgspec.Raw])
            content = b"\n".join(bytes(row).replace(b"\n", b" ").replace(b"\r", b" ") for row in rows)
    if not content.lstrip().startswith(b"{"):
        return None
    # One block, so that all rows decide about the types; a block holds two gigabytes at most.
    options = pa.json.ReadOptions(block_size=min(max(len(content) + 1, _BLOCK), _LONGEST))
    try:
        table = _zoned(pa.json.read_json(io.BytesIO(content), read_options=options), content, options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    names = table.column_names
    return table if names and len(set(names)) == len(names) else None


def _zoned(table: pa.Table, content: bytes, options: pa.json.ReadOptions) -> pa.Table:
    """The table with instants where its times say their zone.

    Arrow moves such a time to UTC and forgets that it did; so columns of times are read once more, as texts. One whose times only
    partly say a zone stays text: no reading is right for all of them. Times within objects and lists are left as Arrow has them.
    """
    names = table.column_names
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if not times or len(set(names)) < len(names):
        return table
    parsing = pa.json.ParseOptions(
        explicit_schema=pa.schema([(name, pa.string()) for name in times]), unexpected_field_behavior="ignore"
    )
    texts = pa.json.read_json(io.BytesIO(content), read_options=options, parse_options=parsing)
    for name in times:
        zoned = pc.match_substring_regex(texts[name], _ZONE)
        if pc.any(zoned).as_py():
            instants = table[name].cast(pa.timestamp(table[name].type.unit, "UTC"))
            column = instants if pc.all(zoned).as_py() else texts[name]
            table = table.set_column(names.index(name), name, column)
    return table
