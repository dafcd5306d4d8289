"""Tables of very many runs: their order at once, the cells of those in sight when they come into sight."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from everloop.domain.listing import Excerpt, KeyCount, Outline, RunGroup, RunKeys, Spread
from everloop.domain.runs import ACTIVE, number_text
from everloop.domain.search import Field, parse_filter, parse_order
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges
from everloop.store.schema.tracking import experiments, run_metrics, run_params, run_tags, runs
from everloop.tracking import reading
from everloop.tracking.searching import Compiler
from everloop.tracking.writing import find_experiment

MOST_OUTLINED = 100_000
MOST_EXCERPTS = 1_000
DEEPEST = 20
"""Runs within runs that are shown as such; beyond that they stand on the last level."""

_GROUPED_BY_COLUMN = ("user", "source", "version", "name", "parent", "resumed_from")
_OWN = ("name", "user", "source", "version", "state", "start_time", "end_time", "parent")
_HEAD = (*_OWN, "experiment", "status")
_IDS_AT_ONCE = 5_000


class Listing(Room):
    """Operations for tables that show some of very many runs."""

    name = "tracking"

    @operation(Permission.READ)
    def outline(
        self,
        where: str = "",
        experiment: list[str] = [],  # noqa: B006 (not changed)
        state: str = ACTIVE,
        order_by: list[str] = [],  # noqa: B006
        group_by: str = "",
        nested: bool = False,
        spreads: list[str] = [],  # noqa: B006
        limit: int = 20_000,
    ) -> Outline:
        """The identifiers of the runs that match, in order: what a table needs to know where each row is.

        `where`, `experiment`, `state`, `order_by`: as in `search`. `group_by`: a parameter, tag or attribute, or ``data``;
        groups come in the order of their first run. `nested`: runs stand below the run that started them, which is there for
        them even where it does not match. `spreads`: metrics whose mean, least and greatest are wanted for each group.
        """
        if not 1 <= limit <= MOST_OUTLINED:
            raise InvalidInput(
                f"an outline of {limit} runs cannot be had", hint=f"ask for 1 to {MOST_OUTLINED}"
            )
        with self.look() as look:
            now = self.context.clock()
            query, compiler = matching(look, now, where, experiment, state)
            if group_by:
                query = grouped(query, compiler, group_by)
            ordered = compiler.order([parse_order(each) for each in order_by], query)
            rows = look.all(ordered.limit(limit))
            total = len(rows)
            if total == limit:
                total = int(look.scalar(sa.select(sa.func.count()).select_from(query.subquery())))
            above = _ancestors(look, rows) if nested else {}
            spread = _spreads(look, query, spreads) if group_by and spreads else {}
        values = {row.id: row.value for row in rows} if group_by else {}
        return _outlined(rows, total, above, values if group_by else None, spread, nested=nested)

    @operation(Permission.READ)
    def excerpts(self, run_ids: list[str], columns: list[str] = []) -> list[Excerpt]:  # noqa: B006
        """Rows of a table: some runs in the order asked for, with the cells of some columns and nothing else. Runs that are
        no more are left out.

        `columns`: parameters, metrics and tags as the search language names them; ``min(metrics.loss)`` is the least value.
        """
        if len(run_ids) > MOST_EXCERPTS:
            raise InvalidInput(f"{len(run_ids)} runs are too many", hint=f"ask for up to {MOST_EXCERPTS}")
        fields = [parse_order(each).field for each in columns]
        with self.look() as look:
            rows = {row.id: row for row in look.all(_heads(look, self.context.clock(), run_ids))}
            cells = _cells(look, run_ids, fields)
            counted = (
                sa.select(runs.c.parent, sa.func.count().label("n"))
                .where(runs.c.parent.in_(run_ids), runs.c.state == ACTIVE)
                .group_by(runs.c.parent)
            )
            children = {row.parent: row.n for row in look.all(counted)}
        return [
            Excerpt(
                **{name: getattr(rows[run], name) for name in _HEAD},
                run_id=run,
                children=children.get(run, 0),
                cells=[cells[run].get(at) for at in range(len(fields))],
            )
            for run in run_ids
            if run in rows
        ]

    @operation(Permission.READ)
    def run_keys(
        self,
        containing: str = "",
        experiment: list[str] = [],  # noqa: B006
        limit: int = 100,
    ) -> RunKeys:
        """The parameters, metrics and tags that runs have, those most runs have first; `containing`: a part of the key."""
        with self.look() as look:
            numbers = [find_experiment(look, each).id for each in experiment]
            params = _keys(look, run_params, containing, numbers, limit, sa.func.count(run_params.c.number))
            metrics = _keys(look, run_metrics, containing, numbers, limit, sa.func.count())
            tags = _keys(look, run_tags, containing, numbers, limit, sa.literal(-1))
        return RunKeys(params, metrics, tags)


def matching(
    look: Reader, now: datetime, where: str, experiment: Sequence[str], state: str
) -> tuple[sa.Select[Any], Compiler]:
    """Identifier and parent of the runs that match."""
    tree = parse_filter(where)
    compiler = Compiler(look.dialect, reading.lost_runs(look, now))
    query = sa.select(runs.c.id, runs.c.parent)
    query = query.select_from(runs.join(experiments, runs.c.experiment == experiments.c.id))
    if state != "all":
        query = query.where(
            runs.c.state == state, experiments.c.state == ACTIVE if state == ACTIVE else sa.true()
        )
    if experiment:
        query = query.where(runs.c.experiment.in_([find_experiment(look, each).id for each in experiment]))
    if tree is not None:
        query = query.where(compiler.condition(tree))
    return query, compiler


def grouped(query: sa.Select[Any], compiler: Compiler, by: str) -> sa.Select[Any]:
    """The same with the value that a run is grouped by, as `value`."""
    if by == "data":
        run = sa.literal("run:", sa.String).concat(runs.c.id)
        read = sa.select(sa.func.min(edges.c.source)).where(
            edges.c.target == run, edges.c.source >= "data:", edges.c.source < "data;"
        )
        return query.add_columns(read.scalar_subquery().label("value"))
    field = parse_order(by).field
    if field.entity in ("param", "tag"):
        table = (run_params if field.entity == "param" else run_tags).alias("grouped")
        query = query.outerjoin(table, sa.and_(table.c.run == runs.c.id, table.c.key == field.key))
        return query.add_columns(table.c.value.label("value"))
    if field.key == "experiment":
        return query.add_columns(experiments.c.name.label("value"))
    if field.key == "status":
        return query.add_columns(compiler.status.label("value"))
    if field.key in _GROUPED_BY_COLUMN:
        return query.add_columns(runs.c[field.key].label("value"))
    raise InvalidInput(
        f"runs cannot be grouped by {by}",
        hint="name a parameter, a tag, an attribute such as status or user, or data",
    )


def _outlined(
    rows: Sequence[sa.Row[Any]],
    total: int,
    above: Mapping[str, str | None],
    values: Mapping[str, str | None] | None,
    spreads: Mapping[str | None, list[Spread]],
    *,
    nested: bool,
) -> Outline:
    """Rows in order as an outline: below their parents, within their groups."""
    if not nested and values is None:
        return Outline(run_ids=[row.id for row in rows], matching=total)
    matched = {row.id: row.parent for row in rows}
    everything = {**above, **matched}
    below: dict[str | None, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for run in matched:  # a run that is only there for others stands where the first of them would
        line = [run]
        while nested and (parent := everything.get(line[-1])) in everything and parent is not None:
            line.append(parent)
        for each in line:
            if each not in seen:
                seen.add(each)
                parent = everything[each] if nested else None
                below[parent if parent in everything else None].append(each)
    roots: dict[str | None, list[str]] = {None: below.get(None, [])}
    if values is not None:
        roots = defaultdict(list)
        for run in below.get(None, []):
            roots[_value_of(run, values, below)].append(run)
    ids: list[str] = []
    depths: list[int] = []
    groups: list[RunGroup] = []
    for value, members in roots.items():
        first = len(ids)
        for run, depth in _walk(members, below):
            ids.append(run)
            depths.append(depth)
        if values is not None:
            groups.append(RunGroup(value, first, len(ids) - first, spreads.get(value, [])))
    return Outline(
        run_ids=ids,
        matching=total,
        depths=depths if any(depths) else [],
        context=[at for at, run in enumerate(ids) if run not in matched] if above else [],
        groups=groups,
    )


def _walk(members: Iterable[str], below: Mapping[str | None, list[str]]) -> Iterable[tuple[str, int]]:
    waiting = [(run, 0) for run in reversed(list(members))]
    while waiting:
        run, depth = waiting.pop()
        yield run, min(depth, DEEPEST)
        waiting += [(child, depth + 1) for child in reversed(below.get(run, []))]


def _value_of(
    run: str, values: Mapping[str, str | None], below: Mapping[str | None, list[str]]
) -> str | None:
    """The group of a run; of one that does not match itself, the group of the first run below it."""
    while run not in values:
        run = below[run][0]
    return values[run]


def _ancestors(look: Reader, rows: Sequence[sa.Row[Any]]) -> dict[str, str | None]:
    """The runs above those that match and do not match themselves, with their parents."""
    found: dict[str, str | None] = {}
    known = {row.id for row in rows}
    wanted = {row.parent for row in rows if row.parent is not None} - known
    for _ in range(DEEPEST):
        if not wanted:
            break
        added: dict[str, str | None] = {}
        for some in _portions(sorted(wanted)):
            query = sa.select(runs.c.id, runs.c.parent).where(runs.c.id.in_(some))
            added |= {row.id: row.parent for row in look.all(query)}
        found |= added
        wanted = {parent for parent in added.values() if parent is not None} - known - found.keys()
    return found


def _spreads(look: Reader, query: sa.Select[Any], wanted: Sequence[str]) -> dict[str | None, list[Spread]]:
    fields = [parse_order(each).field for each in wanted]
    inner = query.subquery()
    found: dict[str | None, list[Spread]] = defaultdict(lambda: [Spread(0) for _ in fields])
    for at, field in enumerate(fields):
        if field.entity != "metric":
            raise InvalidInput(f"{wanted[at]} is no metric", hint="name metrics, such as metrics.rmse")
        number = run_metrics.c[field.aggregate]
        each = sa.select(
            inner.c.value,
            sa.func.count(number).label("runs"),
            sa.func.avg(number).label("mean"),
            sa.func.min(number).label("low"),
            sa.func.max(number).label("high"),
        )
        joined = inner.join(
            run_metrics, sa.and_(run_metrics.c.run == inner.c.id, run_metrics.c.key == field.key)
        )
        for row in look.all(each.select_from(joined).group_by(inner.c.value)):
            found[row.value][at] = Spread(row.runs, row.mean, row.low, row.high)
    return found


def _heads(look: Reader, now: datetime, run_ids: Sequence[str]) -> sa.Select[Any]:
    status = Compiler(look.dialect, reading.lost_runs(look, now, run_ids)).status
    columns = [runs.c[name] for name in _OWN]
    query = sa.select(runs.c.id, *columns, experiments.c.name.label("experiment"), status.label("status"))
    query = query.select_from(runs.join(experiments, runs.c.experiment == experiments.c.id))
    return query.where(runs.c.id.in_(run_ids))


def _cells(look: Reader, run_ids: Sequence[str], fields: Sequence[Field]) -> dict[str, dict[int, str]]:
    """The cells of some runs by the number of their column."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entity, table in (("param", run_params), ("tag", run_tags), ("metric", run_metrics)):
        places: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for at, field in enumerate(fields):
            if field.entity == entity:
                places[field.key].append((at, field.aggregate if entity == "metric" else "value"))
        if not places:
            continue
        query = sa.select(table).where(table.c.run.in_(run_ids), table.c.key.in_(places))
        for row in look.all(query):
            for at, column in places[row.key]:
                value = row._mapping[column]
                if entity != "metric":
                    found[row.run][at] = value
                else:
                    found[row.run][at] = number_text(float("nan")) if value is None else repr(value)
    return found


def _keys(
    look: Reader,
    table: sa.Table,
    containing: str,
    numbers: Sequence[int],
    limit: int,
    numeric: sa.ColumnElement[int],
) -> list[KeyCount]:
    query = sa.select(table.c.key, sa.func.count().label("n"), numeric.label("numbers")).group_by(table.c.key)
    if containing:
        query = query.where(sa.func.lower(table.c.key).contains(containing.lower(), autoescape=True))
    if numbers:
        query = query.join(runs, runs.c.id == table.c.run).where(runs.c.experiment.in_(numbers))
    query = query.order_by(sa.desc("n"), table.c.key).limit(limit)
    return [KeyCount(row.key, row.n, row.numbers == row.n) for row in look.all(query)]


def _portions(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]
