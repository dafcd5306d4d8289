"""The answer to a query as a table: SQL on DuckDB, SQLite or Postgres, or on files with no database at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from everloop.data.incoming.addresses import shown_address
from everloop.domain.names import shown
from everloop.errors import InvalidInput, MissingExtra, NotFound, Unavailable

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 50_000
"""Rows of an answer that are in memory at once."""
_KINDS = "duckdb:///FILE, sqlite:///FILE or postgresql://HOST/DATABASE"


class Query(msgspec.Struct, frozen=True):
    """SQL, and the address of the database that answers it; without one DuckDB does, which can read files: ``from 'a.csv'``.

    ``ev.query("select * from orders", "sqlite:///shop.db")`` is a source for `Data.add`. The database is only read.
    """

    sql: str
    source: str = ""

    @contextmanager
    def table(self, project: Path, folder: Path) -> Iterator[pa.Table]:
        """The answer, within the block: it is fetched in batches and waits in a file in `folder`. Relative paths start at the
        current folder, else at the project's. Raises InvalidInput when the query is wrong, NotFound when there is no such
        database, Unavailable when it does not answer."""
        import pyarrow as pa

        from everloop.data.incoming.spooling import Spool
        from everloop.data.tables.parquet import arrow_table

        if not self.sql.strip():
            raise InvalidInput("the query is empty")
        with closing(Spool(folder)) as spool:
            try:
                batches = self._batches(project)
                columns = next(batches)
                arrow_table(pa.Table.from_batches([columns]))  # before any row is fetched
                spool.add(columns)
                for batch in batches:
                    spool.add(batch)
                answer = spool.table()
            except pa.ArrowInvalid as error:
                raise InvalidInput(
                    f"the query's rows are not of one kind: {error}", hint="cast the column in the query"
                ) from None
            yield answer

    def _batches(self, project: Path) -> Iterator[pa.RecordBatch]:
        """The answer in batches of `ROWS` rows or little more, the first of which has its columns and no rows."""
        scheme = urlsplit(self.source).scheme.partition("+")[0]
        match scheme:
            case "" if not self.source:
                return _duckdb(self.sql, None)
            case "duckdb":
                return _duckdb(self.sql, _file(self.source, project))
            case "sqlite":
                return _sqlite(self.sql, _file(self.source, project))
            case "postgresql" | "postgres":
                return _postgres(self.sql, self.source)
        raise InvalidInput(
            f"{shown(shown_address(self.source))} is no database that can be asked", hint=f"give {_KINDS}"
        )


def _file(address: str, project: Path) -> Path:
    """The file of a database: ``sqlite:///shop.db`` is relative, ``sqlite:////data/shop.db`` is not."""
    path = Path(unquote(urlsplit(address).path.removeprefix("/")))
    found = next((each for each in (path, project / path) if each.is_file()), None)
    if found is None:
        raise NotFound(
            f"there is no database {path}", hint="three slashes begin a relative path, four an absolute one"
        )
    return found


def _duckdb(sql: str, file: Path | None) -> Iterator[pa.RecordBatch]:
    import duckdb
    import pyarrow as pa

    try:
        with duckdb.connect(":memory:" if file is None else str(file), read_only=file is not None) as con:
            con.execute("set TimeZone = 'UTC'")
            con.execute("set python_enable_replacements = false")
            asked = con.sql(sql)
            if asked is None:
                raise InvalidInput("the query gives no rows: it is a statement", hint="begin it with select")
            answer = asked.to_arrow_reader(ROWS)
            none = [pa.array([], each.type) for each in answer.schema]
            yield pa.record_batch(none, schema=answer.schema)
            yield from answer
    except duckdb.IOException as error:
        raise Unavailable(f"{file}: {_line(error)}", hint="does another process have it open?") from None
    except (duckdb.Error, duckdb.NotImplementedException, pa.ArrowException, OSError) as error:
        raise InvalidInput(f"the query: {_line(error)}") from None


def _sqlite(sql: str, file: Path) -> Iterator[pa.RecordBatch]:
    import sqlite3

    try:
        con = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            answer = con.execute(sql)
            if answer.description is None:
                raise InvalidInput("the query gives no rows: it is a statement", hint="begin it with select")
            yield from _rows([column[0] for column in answer.description], answer)
        finally:
            con.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "unable to open" in str(error):
            raise Unavailable(f"{file}: {error}", hint="try again") from None
        raise InvalidInput(f"the query: {error}") from None
    except (sqlite3.ProgrammingError, sqlite3.Warning) as error:  # more than one statement, or one with a gap
        raise InvalidInput(f"the query: {error}") from None
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{file}: {error}", hint="is it a SQLite database?") from None


def _postgres(sql: str, address: str) -> Iterator[pa.RecordBatch]:
    import sqlalchemy as sa

    url = "postgresql+psycopg://" + address.partition("://")[2]
    try:
        engine = sa.create_engine(url)
    except ImportError:
        raise MissingExtra(
            "a query to Postgres needs psycopg", hint="install it with: pip install 'everloop[postgres]'"
        ) from None
    try:
        with engine.connect() as con:
            con.exec_driver_sql("set transaction read only")
            con.exec_driver_sql("set local timezone = 'UTC'")
            answer = con.exec_driver_sql(
                sql, execution_options={"stream_results": True, "max_row_buffer": ROWS}
            )
            if not answer.returns_rows:
                raise InvalidInput("the query gives no rows: it is a statement", hint="begin it with select")
            yield from _rows(list(answer.keys()), answer)
    except sa.exc.OperationalError as error:
        raise Unavailable(
            f"{shown_address(address)}: {_line(error.orig or error)}", hint="is it up?"
        ) from None
    except sa.exc.DBAPIError as error:
        raise InvalidInput(f"the query: {_line(error.orig or error)}") from None
    finally:
        engine.dispose()


def _rows(names: list[str], rows: Any) -> Iterator[pa.RecordBatch]:
    """Rows of Python values as batches of the values' types; a column of whole and other numbers is one of floats."""
    import pyarrow as pa

    yield pa.record_batch([pa.nulls(0) for _ in names], names=names)
    while batch := rows.fetchmany(ROWS):
        columns = zip(names, zip(*batch, strict=True), strict=True)
        yield pa.record_batch([_column(name, list(values)) for name, values in columns], names=names)


def _column(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass
    present = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in present):
        return pa.array([None if value is None else float(value) for value in values])
    kinds = sorted({type(value).__name__ for value in present})
    raise InvalidInput(
        f"the column {shown(name)} of the query holds {' and '.join(kinds)}", hint="cast it in the query"
    )


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
