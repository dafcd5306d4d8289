"""Rows that differ between two versions of a table. Files that both have are equal and are not read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from everloop.data.scanning import connection, quoted, sql_errors
from everloop.errors import InvalidInput


class RowDiff(NamedTuple):
    added: int
    removed: int
    changed: int


def diff_by_content(first: Any, second: Any, columns: Sequence[str]) -> RowDiff:
    """Rows of each that the other has not, repeated rows counted; `first` or `second` is None where it has no rows."""
    listed = ", ".join(map(quoted, columns))
    with connection() as con, sql_errors("the rows cannot be compared"):
        _register(con, "first", first, listed)
        _register(con, "second", second, listed)
        if first is None or second is None:
            counts = [
                0 if rows is None else _scalar(con, f"select count(*) from {name}")
                for name, rows in _both(first, second)
            ]
            return RowDiff(added=counts[1], removed=counts[0], changed=0)
        # How often each distinct row occurs on either side: one pass over both, where two `except all` would make four.
        query = f"""
            select coalesce(sum(greatest(n, 0)), 0), coalesce(sum(greatest(-n, 0)), 0)
            from (select sum(side) as n from (
                select {listed}, 1 as side from second union all select {listed}, -1 from first
            ) group by {listed})"""
        added, removed = con.sql(query).fetchall()[0]
        return RowDiff(int(added), int(removed), 0)


def diff_by_key(first: Any, second: Any, columns: Sequence[str], key: Sequence[str]) -> RowDiff:
    """Keys that are only in the second, only in the first, or in both with another value. A key that repeats in one version is
    InvalidInput: what changed could not be told."""
    absent = [name for name in key if name not in columns]
    if absent:
        raise InvalidInput(
            f"both versions need the key column '{absent[0]}'",
            hint=f"shared columns are {', '.join(columns)}",
        )
    listed, keys = ", ".join(map(quoted, columns)), ", ".join(map(quoted, key))
    rest = [name for name in columns if name not in key]
    with connection() as con, sql_errors("the rows cannot be compared"):
        for name, rows in _both(first, second):
            _register(con, name, rows, listed)
            if rows is not None and _scalar(
                con, f"select count(*) - count(distinct row({keys})) from {name}"
            ):
                raise InvalidInput(
                    f"the key {', '.join(key)} repeats in the {name} version",
                    hint="name more columns of the key",
                )
        if first is None or second is None:
            counts = [
                0 if rows is None else _scalar(con, f"select count(*) from {name}")
                for name, rows in _both(first, second)
            ]
            return RowDiff(added=counts[1], removed=counts[0], changed=0)
        same = " and ".join(f"a.{quoted(name)} is not distinct from b.{quoted(name)}" for name in key)
        other = " or ".join(f"a.{quoted(name)} is distinct from b.{quoted(name)}" for name in rest) or "false"
        query = f"""
            select count(*) filter (a.side is null), count(*) filter (b.side is null),
                   count(*) filter (a.side is not null and b.side is not null and ({other}))
            from (select *, 1 as side from first) a full join (select *, 1 as side from second) b on {same}"""
        added, removed, changed = con.sql(query).fetchall()[0]
        return RowDiff(int(added), int(removed), int(changed))


def _both(first: Any, second: Any) -> list[tuple[str, Any]]:
    return [("first", first), ("second", second)]


def _register(con: Any, name: str, rows: Any, columns: str) -> None:
    if rows is not None:
        con.register(f"all_{name}", rows)
        con.execute(f"create temp view {name} as select {columns} from all_{name}")


def _scalar(con: Any, query: str) -> int:
    return int(con.sql(query).fetchall()[0][0])
