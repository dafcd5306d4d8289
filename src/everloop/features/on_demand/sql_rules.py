"""What an SQL expression of a view on demand may say: something of its row and of nothing else.

DuckDB parses the expression; its tree is looked through for what would see other rows (windows, aggregates, queries), the world
outside (files, the clock, settings) or chance.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec

from everloop.data.tables.scanning import literal
from everloop.errors import InvalidDefinition

_IMPURE = {"CONSISTENT_WITHIN_QUERY", "VOLATILE", "table", "table_macro", "pragma"}


def require_row_by_row(con: duckdb.DuckDBPyConnection, expression: str, what: str) -> None:
    """Raises InvalidDefinition, naming `what`, for an expression that is not of one row.

    >>> con = duckdb.connect()
    >>> require_row_by_row(con, "abs(distance) + 1", "feature 'x'")
    >>> require_row_by_row(con, "distance - avg(distance) over ()", "feature 'x'")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: feature 'x' looks at other rows: avg(…) over (…)
    """
    # Text that closes the parenthesis would be a query of its own, so what is parsed is what will be run.
    [(text,)] = con.execute(f"select json_serialize_sql({literal(f'select ({expression})')})").fetchall()
    parsed = msgspec.json.decode(text)
    if parsed.get("error"):
        raise InvalidDefinition(f"{what}: {parsed.get('error_message', 'it is not an expression')}")
    statements = parsed["statements"]
    if len(statements) != 1 or len(statements[0]["node"].get("select_list", ())) != 1:
        raise InvalidDefinition(f"{what} is more than one expression", hint="one expression a feature")
    if statements[0]["node"].get("from_table", {}).get("type", "EMPTY") != "EMPTY":
        raise InvalidDefinition(f"{what} reads a table", hint="a feature on demand is of its row alone")
    for node in _nodes(statements[0]["node"]["select_list"]):
        problem = _problem(node)
        if problem:
            raise InvalidDefinition(f"{what} {problem}", hint="a feature on demand is of its row alone")


def _problem(node: dict[str, Any]) -> str:
    name = str(node.get("function_name", ""))
    match node.get("class"):
        case "WINDOW":
            return f"looks at other rows: {name}(…) over (…)"
        case "SUBQUERY":
            return "has a query in it"
        case "PARAMETER":
            return "has a parameter in it"
        case "STAR":
            return "is of all columns"
        case "COLUMN_REF":  # current_date is written like a column
            name = str(node.get("column_names", [""])[-1])
            if _functions().get(name.lower(), frozenset()) & _IMPURE:
                return f"does not depend on its row alone: {name}"
        case "FUNCTION":
            if name.lower() == "age" and len(node.get("arguments", ())) == 1:
                return "does not depend on its row alone: age(…) of one moment is up to today"
            kinds = _functions().get(name.lower(), frozenset())
            if kinds & {"aggregate"} and not kinds & {"scalar", "macro"}:
                return f"looks at other rows: {name}(…)"
            if kinds & _IMPURE:
                return f"does not depend on its row alone: {name}(…)"
    return ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for each in tree.values():
            yield from _nodes(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _nodes(each)


@functools.cache
def _functions() -> dict[str, frozenset[str]]:
    """What kinds each function of DuckDB is of, and how much it depends on anything but its arguments."""
    query = """select lower(function_name), list(distinct function_type), list(distinct stability) from duckdb_functions()
               where internal group by 1"""
    with duckdb.connect() as con:
        rows = con.execute(query).fetchall()
    return {name: frozenset(each for each in (*kinds, *stable) if each) for name, kinds, stable in rows}
