"""SQL as a step: one query over the tables it is given and over dataset versions, answered by DuckDB as an Arrow table.

    features = ev.sql_step("features.sql")
    daily = ev.sql_step("select day, count(*) as flights from flights where month >= $first group by day order by day")

    daily(flights=load(1), first=3)

Tables that the query names are the step's arguments, as are its ``$parameters``. ``from data('flights')`` and ``from
data('flights@v3')`` read a dataset version. Files, tables of a database and the network cannot be reached, so everything that
the answer depends on is known.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import Component
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.pipelines.code.described import Description
from everloop.pipelines.kinds.declaring import ContentStep
from everloop.pipelines.kinds.surroundings import workspace_here
from everloop.pipelines.places import Place, relative
from everloop.pipelines.steps import StepSettings
from everloop.pipelines.values.files import File

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MOVING = frozenset(
    {
        "current_date", "current_localtime", "current_localtimestamp", "current_timestamp", "gen_random_uuid",
        "get_current_time", "get_current_timestamp", "nextval", "now", "random", "today", "transaction_timestamp", "uuid",
        "uuidv4", "uuidv7",
    }
)  # fmt: skip
"""Functions that give another answer each time."""


def sql_step(sql: str, /, *, name: str = "", **settings: Unpack[StepSettings]) -> ContentStep:
    """Declare a step that is one SELECT: the text, or the path of a ``.sql`` file beside the module.

    Its arguments are the tables that the query names (Arrow tables, data frames, datasets, lists of tables) and its
    ``$parameters``. Comments, layout and the case of keywords are no part of what the step depends on. A query that cannot be
    read is told with line and place when the step is called.

    >>> long = sql_step("select word from words where length(word) >= $least order by word")
    >>> print(long.signature)
    (words, least)
    >>> import pyarrow as pa
    >>> long(pa.table({"word": ["a", "long", "words"]}), least=4).to_pylist()
    [{'word': 'long'}, {'word': 'words'}]
    """
    place = Place(1)
    return ContentStep(_Query(sql, place, settings), place, name, settings, otherwise="query")


class _Query:
    """`Content` of a SQL step."""

    def __init__(self, sql: str, place: Place, settings: StepSettings) -> None:
        self._place = place
        self._path = place.find(sql) if sql.endswith(".sql") and len(sql.split()) == 1 else None
        self._text = sql if self._path is None else None
        self._threads = (settings.get("resources") or {}).get("cpus", 1)

    @property
    def __signature__(self) -> inspect.Signature:
        query = self._parsed()
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [inspect.Parameter(each, kind) for each in (*query.tables, *query.parameters)],
            return_annotation=inspect.Signature.empty,
        )

    def described(self, root: Path) -> Description:
        self._text = self._text if self._path is None else _read(self._path)
        query = self._parsed()
        name = (
            self._place.label(root, self._place.name_of_content(self))
            if self._path is None
            else relative(self._path, root)
        )
        notes = tuple(
            f"{name}: {each}() gives another answer each time, and the stored one is used: pass it in as a $parameter"
            for each in query.moving
        )
        packages = ("duckdb", "pyarrow", *(("everloop",) if query.datasets else ()))
        return Description((Component("SQL", name, query.digest),), packages, notes=notes)

    def __call__(self, *args: Any, **kwargs: Any) -> pa.Table:
        query = self._parsed()
        given = self.__signature__.bind(*args, **kwargs).arguments
        with closing(_database(int(self._threads)).cursor()) as con:
            con.execute("set TimeZone = 'UTC'")
            con.execute(
                "create temp macro data(dataset) as table select * from query_table('data:' || dataset)"
            )
            for asked in query.datasets:
                con.register(f"data:{asked}", _dataset(asked))
            for name in query.tables:
                con.register(name, _table(name, given[name]))
            params = {name: given[name] for name in query.parameters}
            with _told(self._shown):
                answer = con.sql(self._text or "", params=params or None)
                return answer.to_arrow_table()

    def _parsed(self) -> _Parsed:
        if self._text is None:
            assert self._path is not None
            self._text = _read(self._path)
        return _parse(self._text, self._shown)

    @property
    def _shown(self) -> str:
        return self._path.name if self._path is not None else "the query"


@dataclass(frozen=True)
class _Parsed:
    """A query as DuckDB reads it. `tables` and `parameters` in the order they stand in."""

    digest: str
    tables: tuple[str, ...]
    parameters: tuple[str, ...]
    datasets: tuple[str, ...]
    moving: tuple[str, ...]


@cache
def _database(threads: int) -> duckdb.DuckDBPyConnection:
    """A database in memory that reaches nothing outside of it. Opening one takes 25 ms; what a cursor of it registers, no other
    cursor sees."""
    import duckdb

    rules: dict[str, Any] = {
        "enable_external_access": False,
        "python_enable_replacements": False,
        "threads": threads,
    }
    return duckdb.connect(config=rules)


@lru_cache(maxsize=256)
def _parse(text: str, shown: str) -> _Parsed:
    with closing(_database(1).cursor()) as con:
        (answer,) = con.execute("select json_serialize_sql($1::varchar)", [text]).fetchone() or ("{}",)
    said = json.loads(answer)
    if said["error"]:
        if said["error_type"] != "parser":
            raise InvalidDefinition(f"{shown} is not a SELECT", hint="a SQL step is one SELECT statement")
        raise InvalidDefinition(
            _at(text, int(said.get("position") or 0), shown, said["error_message"]), hint="mend the query"
        )
    if len(said["statements"]) != 1:
        raise InvalidDefinition(
            f"{shown} has {len(said['statements'])} statements", hint="a SQL step is one SELECT statement"
        )
    tree = said["statements"][0]["node"]
    found = _Names(shown)
    found.walk(tree, frozenset())
    return _Parsed(
        digest_of(_without_places(tree)),
        tuple(name for _, name in sorted(found.tables.values())),
        tuple(sorted(found.parameters, key=found.parameters.__getitem__)),
        tuple(sorted(found.datasets)),
        tuple(sorted(found.moving)),
    )


class _Names:
    """What a query reads. A name that a WITH binds is no table, but within that WITH's own query it still is one."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self.tables: dict[str, tuple[int, str]] = {}
        self.parameters: dict[str, int] = {}
        self.datasets: set[str] = set()
        self.moving: set[str] = set()

    def walk(self, node: Any, bound: frozenset[str]) -> None:
        if isinstance(node, list):
            for each in node:
                self.walk(each, bound)
        if not isinstance(node, dict):
            return
        if node.get("type") == "RECURSIVE_CTE_NODE":
            bound |= {str(node["cte_name"]).casefold()}
        for each in (node.get("cte_map") or {}).get("map", ()):
            self.walk(each["value"], bound)
            bound |= {each["key"].casefold()}
        self._take(node, bound)
        if node.get("type") == "TABLE_FUNCTION" and self._is_data(node["function"]):
            return
        for key, each in node.items():
            if key != "cte_map":
                self.walk(each, bound)

    def _take(self, node: dict[str, Any], bound: frozenset[str]) -> None:
        place = node.get("query_location", 0)
        if node.get("type") == "BASE_TABLE":
            name = node["table_name"]
            if name.casefold() not in bound or node["schema_name"]:
                self._table(node, name, place)
        elif node.get("class") == "PARAMETER":
            name = node["identifier"]
            if not name.isidentifier():
                raise InvalidDefinition(
                    f"{self._shown}: the parameter {name} has no name", hint="write it like $month"
                )
            self.parameters[name] = min(place, self.parameters.get(name, place))
        elif node.get("class") == "FUNCTION" and node["function_name"].casefold() in MOVING:
            self.moving.add(node["function_name"].casefold())

    def _table(self, node: dict[str, Any], name: str, place: int) -> None:
        whole = ".".join(each for each in (node["catalog_name"], node["schema_name"], name) if each)
        if not name.isidentifier() or whole != name:
            raise InvalidDefinition(
                f"{self._shown} reads {whole}, which is no argument of the step",
                hint="name a table that is passed in, or add a file as data: from data('flights')",
            )
        self.tables.setdefault(name.casefold(), (place, name))

    def _is_data(self, function: dict[str, Any]) -> bool:
        if function["function_name"].casefold() != "data":
            return False
        # DuckDB 2 writes arguments and literals in another way than 1 did.
        given = [
            each.get("expression", each) for each in function.get("arguments", function.get("children", ()))
        ]
        one = given[0] if len(given) == 1 else {}
        value = one["literal"].get("text") if "literal" in one else one.get("value", {}).get("value")
        if not isinstance(value, str):
            raise InvalidDefinition(
                f"{self._shown}: data(…) is given something that is not one name in quotes",
                hint="write data('flights') or data('flights@v3')",
            )
        self.datasets.add(value)
        return True


def _without_places(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_places(each) for each in tree]
    if isinstance(tree, dict):
        return {
            key: _without_places(each) for key, each in tree.items() if not key.startswith("query_location")
        }
    return tree


def _at(text: str, position: int, shown: str, message: str) -> str:
    """A message with the line that it is about, and a caret below the place."""
    before = text.encode()[:position].decode("utf-8", "replace")
    number, column = before.count("\n"), len(before.rpartition("\n")[2])
    line = text.splitlines()[number] if text.strip() else ""
    return f"{shown}, line {number + 1}: {message}\n  {line}\n  {' ' * column}^"


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Say what DuckDB says of a query, with the query's name and without its prefix."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        message = str(error)
        kind, colon, rest = message.partition(": ")
        said = rest if colon and kind.endswith("Error") else message
        raise InvalidInput(f"{shown}: {said}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinition(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint="is it a text file?"
        ) from None


def _dataset(asked: str) -> Any:
    from everloop.data.data import Data

    return workspace_here().room(Data).dataset(asked).scan()


def _table(name: str, value: Any) -> Any:
    """What DuckDB can read of an argument: a table, a frame, a dataset, rows; a list of tables is one below another."""
    import pyarrow as pa

    if isinstance(value, list | tuple) and value and all(isinstance(each, pa.Table) for each in value):
        return pa.concat_tables(value, promote_options="default")
    if isinstance(value, pa.Table):
        return value
    if hasattr(value, "scan"):
        return value.scan()
    if isinstance(value, File):
        return value.table()
    try:
        if type(value).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(value, preserve_index=False)
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            return pa.Table.from_pylist(value)
        if isinstance(value, Mapping) and all(_is_column(each) for each in value.values()):
            return pa.table(dict(value))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidInput(f"the table {name} cannot be read: {error}") from None
    raise InvalidInput(
        f"the table {name} is a {type(value).__name__}",
        hint="pass an Arrow table, a data frame, a dataset, or a list of rows",
    )


def _is_column(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
