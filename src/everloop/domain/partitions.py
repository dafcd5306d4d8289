"""Columns that are spelled in the names of folders, as Hive writes them: ``year=2013/month=1/part.parquet``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from everloop.domain.datasets import Column

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive writes for a missing value."""

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")


def values_of(path: str) -> dict[str, str]:
    """Column to value, as text, of one path.

    >>> values_of("year=2013/carrier=AA%20x/part.parquet")
    {'year': '2013', 'carrier': 'AA x'}
    """
    found = {}
    for part in path.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            found[unquote(name)] = unquote(value)
    return found


def columns_of(paths: Iterable[str]) -> list[Column]:
    """The columns that the paths of one table spell: none unless all spell the same. A column of whole numbers is one of
    numbers, any other one of texts.

    >>> columns_of(["month=1/a.parquet", "month=2/b.parquet"])
    [Column(name='month', type='int64')]
    >>> columns_of(["month=01/a.parquet"]), columns_of(["month=1/a.parquet", "b.parquet"])
    ([Column(name='month', type='string')], [])
    """
    spelled = [values_of(path) for path in paths]
    if not spelled or any(list(each) != list(spelled[0]) for each in spelled):
        return []
    return [Column(name, _kind([each[name] for each in spelled])) for name in spelled[0]]


def typed(values: Mapping[str, str], columns: Iterable[Column]) -> dict[str, int | str | None]:
    """The values of one path, as its columns have them.

    >>> typed({"month": "1", "day": "__HIVE_DEFAULT_PARTITION__"}, [Column("month", "int64"), Column("day", "int64")])
    {'month': 1, 'day': None}
    """
    found: dict[str, int | str | None] = {}
    for column in columns:
        value = values[column.name]
        found[column.name] = None if value == NULL else int(value) if column.type == "int64" else value
    return found


def _kind(values: list[str]) -> str:
    present = [value for value in values if value != NULL]
    return "int64" if present and all(map(_WHOLE.fullmatch, present)) else "string"
