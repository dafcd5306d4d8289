"""Which files are tables, by the endings of their names. Light to import: pyarrow comes in where a table is read."""

from __future__ import annotations

import enum

BOM = "\ufeff".encode()
"""What stands before the text of many files from Windows, of CSV and JSON alike."""


class Format(enum.StrEnum):
    """What a file's ending says it is. `JSON` is a document, which may be a list of rows; `LINES` has one a line.
    `TSV` is CSV with tabs. `ARROW` is Arrow's file format or its stream: the first bytes say which."""

    PARQUET = "parquet"
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    LINES = "json lines"
    ARROW = "arrow"


ENDINGS = {
    ".parquet": Format.PARQUET,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".json": Format.JSON,
    ".jsonl": Format.LINES,
    ".ndjson": Format.LINES,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".arrows": Format.ARROW,
}


def format_of(path: str) -> Format | None:
    """The format of a file by its name, or None for what is no table.

    >>> format_of("2013/flights.PARQUET"), format_of("photo.png")
    (<Format.PARQUET: 'parquet'>, None)
    """
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return ENDINGS.get(name[dot:].lower()) if dot >= 0 else None
