"""Views on demand at work: the same answer for a single request and for a million rows.

SQL is run by DuckDB over the rows given, cut off from files and the clock. A Python function gets columns as numpy arrays under
the names of its arguments: numbers and booleans as float64 with NaN where missing, text as objects with None, instants as
datetime64[us] with NaT; it gives the outputs by name, one value a row.

`prove` computes made-up rows all at once, backwards and one by one, and refuses a view whose answers differ.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.tables.scanning import first_line, quoted
from everloop.domain.featureviews import OnDemandRecord, OnDemandView, TypedColumn
from everloop.domain.signature import Type
from everloop.errors import Failed, InvalidDefinition, InvalidInput, nearest
from everloop.features import apart
from everloop.features.on_demand import functions
from everloop.features.on_demand.sql_rules import require_row_by_row
from everloop.features.types import ARROW, as_type, declared_type

_WHOLE = 2**53
"""Whole numbers beyond it are not exact as doubles."""


class OnDemand:
    """A view on demand, ready to compute. Safe for threads."""

    def __init__(self, record: OnDemandRecord) -> None:
        self.record = record
        self._local = threading.local()

    @property
    def view(self) -> OnDemandView:
        return self.record.view

    @property
    def what(self) -> str:
        return f"on-demand view '{self.record.name}'"

    @property
    def is_sql(self) -> bool:
        """Whether it runs no code of the user's."""
        return self.view.python is None

    @property
    def needs(self) -> tuple[str, ...]:
        """Features of stored views to get first: ``weather@v2:temp``."""
        return tuple(each.name for each in self.view.inputs)

    @property
    def request(self) -> tuple[TypedColumn, ...]:
        """What the caller brings along."""
        return self.view.request

    def compute(self, table: pa.Table) -> pa.Table:
        """The view's features, row for row. `table` has the request's fields and the inputs, by the names of the features; its
        other columns are not looked at. Raises InvalidInput when one is missing or of another type, and Failed when the function
        does not do its work."""
        given = pa.table(
            {each.column: typed(table, each, self.what) for each in self.view.columns},
            schema=pa.schema([(each.column, ARROW[each.type]) for each in self.view.columns]),
        )
        return self._by_sql(given) if self.is_sql else self._by_python(given)

    def _by_sql(self, given: pa.Table) -> pa.Table:
        con = self._connection()
        con.register("given", given)
        try:
            selected = ", ".join(f"({each.expression}) as {quoted(each.name)}" for each in self.view.features)
            found = con.sql(f"select {selected} from given").to_arrow_table()
        except duckdb.Error as error:
            raise self._which_fails(con, error) from None
        finally:
            con.unregister("given")
        columns = {
            each.name: _plain(declared_type(found[each.name], each, self.what)) for each in self.view.features
        }
        return pa.table(columns)

    def _which_fails(self, con: duckdb.DuckDBPyConnection, error: duckdb.Error) -> InvalidInput:
        """DuckDB's complaint, with the name of the feature it is about."""
        for each in self.view.features:
            try:
                con.sql(f"select ({each.expression}) from given").to_arrow_table()
            except duckdb.Error as own:
                return InvalidInput(f"{self.what}: feature '{each.name}': {first_line(own)}")
        return InvalidInput(f"{self.what}: {first_line(error)}")

    def _by_python(self, given: pa.Table) -> pa.Table:
        assert self.view.python is not None
        if apart.is_apart():
            return apart.computed("on demand", self.record, [given])
        columns = {
            each.column: _to_numpy(given[each.column], each.type, f"{self.what}: '{each.column}'")
            for each in self.view.columns
        }
        with np.errstate(
            all="ignore"
        ):  # of one row as of a million: no warning about a row that comes to NaN
            answer = functions.call(self.view.python, self.what, **columns)
        outputs = self.view.outputs
        if not isinstance(answer, Mapping):
            if len(outputs) != 1:
                raise Failed(
                    f"{self.what}: the function gave no outputs by name", hint='return {"name": values, …}'
                )
            answer = {outputs[0].name: answer}
        unknown = [name for name in answer if name not in self.view.names]
        if unknown:
            raise Failed(
                f"{self.what}: the function gave '{unknown[0]}', which is not declared", hint="outputs={…}"
            )
        return pa.table(
            {each.name: self._output(each, answer, given.num_rows) for each in outputs},
            schema=pa.schema([(each.name, ARROW[each.type]) for each in outputs]),
        )

    def _output(self, output: TypedColumn, answer: Mapping[str, Any], rows: int) -> pa.Array:
        what = f"{self.what}: feature '{output.name}'"
        if output.name not in answer:
            raise Failed(f"{what} was not given by the function", hint=nearest(output.name, answer) or "")
        values = answer[output.name]
        if np.ndim(values) != 1 or len(values) != rows:
            shape = np.shape(values)
            raise Failed(f"{what} has shape {shape} for {rows} rows", hint="give one value a row")
        try:
            array = (
                values
                if isinstance(values, pa.Array | pa.ChunkedArray)
                else pa.array(values, from_pandas=True)
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise Failed(f"{what}: {first_line(error)}") from None
        return as_type(array, output.type, what, Failed)

    def _connection(self) -> duckdb.DuckDBPyConnection:
        con: duckdb.DuckDBPyConnection | None = getattr(self._local, "con", None)
        if con is None:
            con = duckdb.connect()
            con.execute("set TimeZone = 'UTC'")
            con.execute("set python_enable_replacements = false")
            # One expression is not worth a second thread, and rows stay in order.
            con.execute("set threads = 1")
            con.execute("set enable_external_access = false")
            con.execute("set lock_configuration = true")
            self._local.con = con
        return con


def prove(on_demand: OnDemand) -> None:
    """Raises InvalidDefinition, naming the feature, when an answer depends on other rows than its own, or when the view cannot be
    computed of made-up rows of its types, with and without missing values."""
    view, rows = on_demand.view, _made_up(on_demand.view)
    if on_demand.is_sql:
        with duckdb.connect() as con:
            for each in view.features:
                require_row_by_row(con, each.expression, f"{on_demand.what}: feature '{each.name}'")
    else:
        _require_arguments(on_demand)
    together = on_demand.compute(rows)
    backwards = on_demand.compute(rows.take(list(reversed(range(rows.num_rows)))))
    alone = pa.concat_tables([on_demand.compute(rows.slice(row, 1)) for row in range(rows.num_rows)])
    for name in view.names:
        orders = (together[name].to_pylist(), backwards[name].to_pylist()[::-1], alone[name].to_pylist())
        for row, (first, second, third) in enumerate(zip(*orders, strict=True)):
            if not _same(first, third) or not _same(first, second):
                raise InvalidDefinition(
                    f"{on_demand.what}: feature '{name}' depends on other rows: of {rows.slice(row, 1).to_pylist()[0]} it is "
                    f"{third} alone and {first if not _same(first, third) else second} among others",
                    hint="each value is computed from its own row",
                )


def typed(table: pa.Table, column: TypedColumn, what: str) -> Any:
    """A column of a table as the type that is declared, missing values as null. Raises InvalidInput."""
    name = column.column
    if name not in table.column_names:
        raise InvalidInput(
            f"{what} needs '{name}'", hint=nearest(name, table.column_names) or f"a {column.type}"
        )
    return as_type(table[name], column.type, f"{what}: '{name}'", InvalidInput)


def _plain(values: Any) -> Any:
    """Numbers as one of our types: SQL makes a decimal of ``minute * 0.5``, and of ``month(t)`` as many bits as it sees fit."""
    if pa.types.is_decimal(values.type) or pa.types.is_floating(values.type):
        return as_type(values, Type.DOUBLE, "", InvalidInput)
    if pa.types.is_integer(values.type) and values.type.bit_width < 64:
        return values.cast(pa.int64())
    return values


def _to_numpy(values: Any, kind: Type, what: str) -> npt.NDArray[Any]:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    array: npt.NDArray[Any]
    if kind is Type.STRING:
        array = values.to_numpy(zero_copy_only=False)
        return array
    if kind is Type.DATETIME:
        array = values.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
        return array
    if kind is Type.LONG and len(values):
        largest = pc.max(pc.abs(values)).as_py()
        if largest is not None and largest > _WHOLE:
            raise InvalidInput(
                f"{what} has {largest}, which is not exact as a double", hint="make it a string, or use SQL"
            )
    array = (
        values.cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    )  # a function may write into what it gets
    return array


def _require_arguments(on_demand: OnDemand) -> None:
    assert on_demand.view.python is not None
    known = [each.column for each in on_demand.view.columns]
    arguments = inspect.signature(functions.loaded(on_demand.view.python)).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in arguments):
        return
    names = [each.name for each in arguments]
    for name in names:
        if name not in known:
            raise InvalidDefinition(
                f"{on_demand.what}: the function asks for '{name}', which is neither request field nor input",
                hint=nearest(name, known) or f"there are {', '.join(known)}",
            )
    for name in known:
        if name not in names:
            raise InvalidDefinition(
                f"{on_demand.what}: the function does not take '{name}'", hint="name it, or leave it out"
            )


_SAMPLES: dict[Type, list[Any]] = {
    Type.DOUBLE: [1.5, None, -2.0, 0.0, 1e6, 37.25, 0.1, 3.0],
    Type.LONG: [3, None, -1, 0, 1000, 7, 2, 41],
    Type.BOOLEAN: [True, None, False],
    Type.STRING: ["JFK", None, "", "a b", "x", "LGA"],
    Type.DATETIME: [
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        None,
        datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 7, 4, 4, 30, tzinfo=UTC),
    ],
}


def _made_up(view: OnDemandView) -> pa.Table:
    """Some rows of the view's types in which values meet in many ways, the same each time."""
    rows = 24
    columns = {}
    for number, each in enumerate(view.columns):
        samples = _SAMPLES[each.type]
        # Every column goes through its values at another pace, so that they meet in other ways.
        steps = itertools.accumulate(
            [number] + [1 + (row // len(samples)) * number % 3 for row in range(rows - 1)]
        )
        values = [samples[step % len(samples)] for step in steps]
        columns[each.column] = pa.array(values, ARROW[each.type])
    return pa.table(columns)


def _same(first: Any, second: Any) -> bool:
    """Equal but for the last bits, in which a processor's vector and scalar functions may differ."""
    if isinstance(first, float) and isinstance(second, float):
        return first == second or abs(first - second) <= 1e-12 * max(abs(first), abs(second))
    return bool(first == second)
