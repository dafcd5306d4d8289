"""The columns of the table of runs: which there are, which are shown, and how they are named in the address and in a search."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from everloop.domain.runs import OF_THE_MACHINE, RunRecord, param_number
from everloop.server.pages.addresses import Address

MOST_PARAMS, MOST_METRICS = 5, 5
"""Columns of each group that are shown until someone chooses."""
PARAMS_WIDTH, WIDEST_CELL = 48, 28
"""Characters that the parameters nobody chose take up together, and that a cell shows at most."""
MOST_COLUMNS = 200
MOST_KNOWN = 60
"""Keys of one kind that the page offers by itself; the chooser's search finds the others."""

Group = Literal["attribute", "param", "metric", "tag"]

ATTRIBUTES = {
    "user": "User",
    "source": "Source",
    "version": "Version",
    "experiment": "Experiment",
    "duration": "Duration",
}
SHOWN_ATTRIBUTES = ("user", "source", "version")
UNSORTABLE = frozenset({"duration"})
AGGREGATES = ("first", "min", "max", "mean", "count")
"""What a metric's column may show besides the last value."""

_GROUPS: dict[str, Group] = {"params": "param", "metrics": "metric", "tags": "tag"}
_ID = re.compile(rf"(?:({'|'.join(AGGREGATES)})\((metrics)\.(.+)\)|(params|metrics|tags)\.(.+))\Z", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


class RunColumn(msgspec.Struct, frozen=True):
    """A column of the table. `id` is how the address names it, `query` how the search language does; `numeric`: all its values
    are numbers."""

    id: str
    label: str
    group: Group
    numeric: bool = False
    key: str = ""
    aggregate: str = "last"

    @property
    def query(self) -> str:
        if self.group == "attribute":
            return self.id
        name = self.key if _WORD.match(self.key) else f"`{self.key}`"
        named = f"{self.group}s.{name}"
        return named if self.aggregate == "last" else f"{self.aggregate}({named})"


def column_of(identifier: str, *, numeric: bool = False) -> RunColumn | None:
    """The column that an address names; None where it names none.

    >>> column_of("min(metrics.val/loss)").query
    'min(metrics.`val/loss`)'
    >>> column_of("params.alpha").label, column_of("nothing")
    ('alpha', None)
    """
    if identifier in ATTRIBUTES:
        return RunColumn(identifier, ATTRIBUTES[identifier], "attribute", identifier == "duration")
    found = _ID.match(identifier)
    if found is None or "`" in identifier:
        return None
    aggregate, kind, key = found[1] or "last", found[2] or found[4], found[3] or found[5]
    label = key if aggregate == "last" else f"{aggregate} {key}"
    group = _GROUPS[kind]
    return RunColumn(identifier, label, group, numeric or group == "metric", key, aggregate)


def known_columns(found: Sequence[RunRecord]) -> list[RunColumn]:
    """What some runs could show, in the order of the table; of very many keys those that most of them have."""
    columns = [
        RunColumn(key, label, "attribute", numeric=key == "duration") for key, label in ATTRIBUTES.items()
    ]
    for kind, group in _GROUPS.items():
        counted = Counter(key for run in found for key in getattr(run, kind))
        ranked = sorted(counted, key=lambda key: (-counted[key], key))
        for key in sorted(ranked[:MOST_KNOWN]):
            values = [getattr(run, kind).get(key) for run in found]
            numeric = group == "metric" or (
                group == "param"
                and all(param_number(value) is not None for value in values if value is not None)
            )
            columns.append(RunColumn(f"{kind}.{key}", key, group, numeric, key))
    return columns


def usual_columns(known: Sequence[RunColumn], found: Sequence[RunRecord]) -> list[RunColumn]:
    """The columns nobody chose: the talks' table, with the parameters first that differ and that most runs have."""

    def rank(column: RunColumn) -> tuple[bool, int]:
        field = "params" if column.group == "param" else "metrics"
        values = [getattr(run, field).get(column.key) for run in found]
        return len(set(values)) == 1, -sum(value is not None for value in values)

    params = sorted((column for column in known if column.group == "param"), key=rank)
    params = within_width(params[:MOST_PARAMS], found)
    own = [
        column for column in known if column.group == "metric" and not column.key.startswith(OF_THE_MACHINE)
    ]
    metrics = sorted(own, key=rank)[:MOST_METRICS]
    shown = {column.id for column in (*params, *metrics)} | set(SHOWN_ATTRIBUTES)
    return [column for column in known if column.id in shown]


def within_width(params: Sequence[RunColumn], found: Sequence[RunRecord]) -> list[RunColumn]:
    """The parameters that leave room for metrics beside them: the first two, and more while they are short."""
    kept: list[RunColumn] = []
    width = 0
    for column in params:
        longest = max((len(run.params.get(column.key, "")) for run in found), default=0)
        width += max(len(column.label), min(longest, WIDEST_CELL)) + 3
        if len(kept) >= 2 and width > PARAMS_WIDTH:
            break
        kept.append(column)
    return kept


def chosen_columns(
    chosen: Sequence[str], known: Sequence[RunColumn] = (), most: int = MOST_COLUMNS
) -> list[RunColumn]:
    """The columns an address names, in its order; `known` says which of their values are numbers."""
    numeric = {column.id for column in known if column.numeric}
    found = (column_of(each, numeric=each in numeric) for each in dict.fromkeys(chosen))
    return [column for column in found if column is not None][:most]


def head_groups(columns: Sequence[RunColumn]) -> list[tuple[Group, int]]:
    """Neighbours of one group, and how many they are: the upper line of the table's head."""
    spans: list[tuple[Group, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    return spans


def sorted_by(order: str) -> tuple[str, str]:
    """The column that the table is sorted by, and ``ascending`` or ``descending``.

    >>> sorted_by("metrics.`val/loss` desc"), sorted_by("")
    (('metrics.val/loss', 'descending'), ('start_time', 'descending'))
    """
    name, _, way = order.strip().rpartition(" ")
    if not name:
        name, way = way, "asc"
    if not name:
        return "start_time", "descending"
    return name.replace("`", ""), "descending" if way.lower() == "desc" else "ascending"


def sort_link(here: Address, column: RunColumn | str) -> str | None:
    """The address that sorts by a column, the other way round when it does already."""
    identifier, query = (column, column) if isinstance(column, str) else (column.id, column.query)
    if identifier in UNSORTABLE:
        return None
    current, way = sorted_by(here.get("sort"))
    falls = way == "ascending" if current == identifier else identifier == "start_time"
    return here.but({"sort": f"{query} desc" if falls else query, "page": None})


def value_of(run: RunRecord, column: RunColumn) -> Any:
    """What a whole record has in a column of parameters, metrics or tags; None where it has nothing."""
    if column.group == "attribute":
        return getattr(run, column.id, None)
    return getattr(run, column.group + "s").get(column.key)
