"""What a transaction writes into the tables of state, noted row by row while it happens.

Every statement that writes is asked to return the rows it wrote, as they are stored; rows that are inserted in bulk are known
without asking. There are no triggers: on SQLite they cost more than the rows themselves, and on Postgres they would note
whatever anybody writes, while here only what went through a `Transaction` is noted.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from everloop.store.ledger.rows import Digests, is_state, quoted, shape_of
from everloop.store.schema import complete

STORED_AS: list[tuple[type[sa.types.TypeEngine[Any]], set[type]]] = [
    (sa.Boolean, {int, bool}),  # the one as SQLite keeps it, the other as Postgres does
    (sa.Integer, {int}),
    (sa.Float, {float}),
    (sa.String, {str}),
    (sa.LargeBinary, {bytes, memoryview}),
]
"""The types whose values come out of a column as they went in."""


class Written(NamedTuple):
    """The answer to a statement that writes: how many rows it wrote, and what it was asked to return of them."""

    rowcount: int
    returned: Sequence[sa.Row[Any]] = ()

    def first(self) -> sa.Row[Any] | None:
        return self.returned[0] if self.returned else None


AT_ONCE = 500
"""Rows in one insert that answers with them. SQLAlchemy cuts longer ones at 1,000, and then answers with the last part alone."""


class Changes:
    """The rows written through one connection since the last `take`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._tables: dict[str, Digests] = {}

    def execute(self, statement: sa.UpdateBase, parameters: Any = None) -> Written:
        """Execute an insert, update or delete of Core. A primary key is never updated: the row would be lost sight of."""
        table: Any = statement.table
        if not is_state(table):
            result = self._connection.execute(statement, parameters)
            return Written(result.rowcount, result.all() if result.returns_rows else ())
        if isinstance(statement, sa.Delete):
            return self._delete(table, statement, parameters)
        if type(statement) is sa.Insert and parameters and statement.compare(sa.insert(table)):
            rows = [parameters] if isinstance(parameters, Mapping) else parameters
            if self._insert_known(table, rows):
                return Written(len(rows))
        return self._returning(table, statement, parameters)

    def put(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, or replace the given columns of those with the same primary key. All rows give the same columns."""
        keys = [column.name for column in table.primary_key]
        rest = rows[0].keys() - keys
        # With all columns given nothing stays of what was there: the row will be what is given.
        if len(rows[0]) == len(table.columns) and rest and self._insert_known(table, rows, replace=True):
            return
        statement = insert_for(self._connection.dialect.name)(table)
        if rest:
            change = {name: statement.excluded[name] for name in rest}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=change)
        else:
            statement = statement.on_conflict_do_nothing()
        self.execute(statement, rows if len(rows) > 1 else rows[0])

    def note(self, table: str, digests: Digests) -> None:
        """These rows were written."""
        self._tables.setdefault(str(table), {}).update(digests)  # SQLAlchemy's names are more than strings

    def noted(self, table: sa.Table) -> Digests:
        """The rows of one table that were noted so far."""
        return self._tables.get(str(table.name), {})

    def take(self) -> dict[str, Digests]:
        """All that was noted, once."""
        taken, self._tables = self._tables, {}
        return taken

    def _returning(self, table: sa.Table, statement: Any, parameters: Any) -> Written:
        shape, own = shape_of(table), len(statement.returning_column_descriptions)
        asking = statement.returning(shape.returned)
        alone = not parameters or isinstance(parameters, Mapping)
        found: list[sa.Row[Any]] | Sequence[sa.Row[Any]]
        if alone:
            found = self._connection.execute(asking, parameters).all()
        elif isinstance(statement, sa.Insert) and _distinct(table, parameters):
            found = [
                row
                for start in range(0, len(parameters), AT_ONCE)
                for row in self._connection.execute(asking, parameters[start : start + AT_ONCE]).all()
            ]
        else:  # an update knows no lists; Postgres refuses to replace a row twice in one statement
            found = [row for each in parameters for row in self._connection.execute(asking, each)]
        self.note(table.name, shape.digests([tuple(row)[own:] for row in found]))
        return Written(len(found), found if own else ())

    def _delete(self, table: sa.Table, statement: sa.Delete, parameters: Any) -> Written:
        """Rows that the database would delete along (ON DELETE CASCADE) are deleted first, so that they are known too."""
        for child, constraint in _cascading(table):
            (element,) = constraint.elements
            gone = sa.select(element.column)
            if statement.whereclause is not None:
                gone = gone.where(statement.whereclause)
            self._delete(child, sa.delete(child).where(element.parent.in_(gone)), parameters)
        shape = shape_of(table)
        own = len(statement.returning_column_descriptions)
        found = self._connection.execute(statement.returning(shape.returned_key), parameters).all()
        self.note(table.name, dict.fromkeys(shape.keys([tuple(row)[own:] for row in found])))
        return Written(len(found), found if own else ())

    def _insert_known(
        self, table: sa.Table, rows: Sequence[Mapping[str, Any]], replace: bool = False
    ) -> bool:
        """Insert rows whose stored form is known before, which needs no answer; with `replace` in the place of those with the
        same key. Where it is not known, nothing is done: False."""
        plan = _insertion(table, self._connection.dialect)
        tuples = plan.stored(rows)
        if tuples is None:
            return False
        self._connection.exec_driver_sql(plan.replace if replace else plan.insert, tuples)
        self.note(table.name, shape_of(table).digests(tuples))
        return True


class _Insertion:
    """How rows of one table are inserted in the form in which one database stores them.

    insert, replace: the statement, without and with taking the place of a row with the same key.
    """

    def __init__(self, table: sa.Table, dialect: sa.Dialect) -> None:
        self._columns = [_Stored(table.columns[name], dialect) for name in shape_of(table).names]
        self._names = {each.name for each in self._columns}
        names = ", ".join(quoted(each.name) for each in self._columns)
        marks = ", ".join(["?" if dialect.name == "sqlite" else "%s"] * len(self._columns))
        self.insert = f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({marks})"
        keys = [column.name for column in table.primary_key]
        rest = [each.name for each in self._columns if each.name not in keys]
        setting = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in rest)
        self.replace = f"{self.insert} ON CONFLICT ({', '.join(map(quoted, keys))}) DO UPDATE SET {setting}"

    def stored(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]] | None:
        """The rows as they will be stored, in the order of the statement's columns; None where that is not known."""
        if not rows[0].keys() <= self._names:
            return None
        columns = []
        for column in self._columns:
            values = column.stored(rows)
            if values is None:
                return None
            columns.append(values)
        return list(zip(*columns, strict=True))


class _Stored:
    """How the values of one column are stored."""

    def __init__(self, column: sa.Column[Any], dialect: sa.Dialect) -> None:
        self.name: str = str(column.name)
        self._null_when_absent = column.nullable and column.default is None and column.server_default is None
        kind = column.type.dialect_impl(dialect)
        self._processor = kind.bind_processor(dialect)
        plain = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
        allowed = next((each for base, each in STORED_AS if isinstance(plain, base)), set())
        self._may_be_nan = float in allowed
        self._allowed = {*allowed, type(None)}

    def stored(self, rows: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        if self.name not in rows[0]:
            return [None] * len(rows) if self._null_when_absent else None
        try:
            values = [row[self.name] for row in rows]
        except KeyError:
            return None
        if self._processor is not None:
            values = [self._processor(each) for each in values]
        if not self._allowed.issuperset(map(type, values)):
            return None
        if self._may_be_nan and any(each != each for each in values):  # SQLite keeps NaN as NULL
            return None
        return values


@functools.lru_cache(256)
def _insertion(table: sa.Table, dialect: sa.Dialect) -> _Insertion:
    return _Insertion(table, dialect)


def insert_for(dialect: str) -> Any:
    """The insert statement of a database, which knows conflicts. Each database's dialect is imported only where it is used: that
    takes .1 s."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert


def _distinct(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> bool:
    names = [column.name for column in table.primary_key]
    keys = {tuple(row.get(name) for name in names) for row in rows}
    return len(keys) == len(rows)


@functools.cache
def _cascading(table: sa.Table) -> list[tuple[sa.Table, sa.ForeignKeyConstraint]]:
    return [
        (child, constraint)
        for child in complete().tables.values()
        for constraint in child.foreign_key_constraints
        if constraint.referred_table is table and constraint.ondelete == "CASCADE"
    ]
