"""The order of all runs that match: sorted, in groups, below the runs that started them, without their data.

A sort by one metric, and what groups say about metrics, are worked out here rather than by the database: it would look up each
run's metric, where an index has all values of that metric side by side.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from everloop.domain.listing import Outline, RunGroup, Spread
from everloop.domain.runs import ACTIVE
from everloop.domain.search import Field, parse_filter, parse_order
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges
from everloop.store.schema.tracking import experiments, run_metrics, run_params, run_tags, runs
from everloop.tracking import reading
from everloop.tracking.metric_values import sorted_by, values_of
from everloop.tracking.searching import Compiler
from everloop.tracking.writing import find_experiment

MOST_OUTLINED = 100_000
DEEPEST = 20
"""Runs within runs that are shown as such; beyond that they stand on the last level."""

_GROUPED_BY_COLUMN = ("user", "source", "version", "name", "parent", "resumed_from")
_IDS_AT_ONCE = 5_000

_Spreads = Mapping[str | None, list[Spread]]


@dataclass(frozen=True)
class Wanted:
    """What `Listing.outline` is asked for."""

    where: str
    experiment: Sequence[str]
    state: str
    order_by: Sequence[str]
    group_by: str
    nested: bool
    spreads: Sequence[str]


class _Member(NamedTuple):
    """A run that matches; `value`: what it is grouped by."""

    id: str
    parent: str | None
    value: str | None


def outline(look: Reader, now: datetime, wanted: Wanted, limit: int) -> Outline:
    """See `Listing.outline`."""
    query, compiler = _matching(look, now, wanted.where, wanted.experiment, wanted.state)
    query = _with_value(query, compiler, wanted.group_by)
    orders = [parse_order(each) for each in wanted.order_by]
    fields = [_metric(each) for each in wanted.spreads] if wanted.group_by else []
    by_metric = orders[0] if len(orders) == 1 and orders[0].field.entity == "metric" else None
    at_hand = by_metric is not None or bool(fields)
    if at_hand:
        members = _members(look, compiler.order([] if by_metric else orders, query), MOST_OUTLINED + 1)
        at_hand = len(members) <= MOST_OUTLINED
    if at_hand:
        ids = [each.id for each in members]
        values = {
            each: values_of(look, ids, each) for each in {*fields, *([by_metric.field] if by_metric else [])}
        }
        total, spreads = len(members), _spreads(members, [values[each] for each in fields])
        if by_metric is not None:
            named = dict(zip(ids, members, strict=True))
            order = sorted_by(ids, values[by_metric.field], descending=by_metric.descending)
            members = [named[run] for run in order]
    else:
        members = _members(look, compiler.order(orders, query), limit + 1)
        total = len(members) if len(members) <= limit else _count(look, query)
        spreads = _spreads_in_database(look, query, fields)
    members = members[:limit]
    above = _ancestors(look, members) if wanted.nested else {}
    return _outlined(members, total, above, spreads, nested=wanted.nested, in_groups=bool(wanted.group_by))


def _matching(
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


def _with_value(query: sa.Select[Any], compiler: Compiler, by: str) -> sa.Select[Any]:
    """The same with what each run is grouped by, as `value`."""
    if not by:
        return query.add_columns(sa.null().label("value"))
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
    members: Sequence[_Member],
    total: int,
    above: Mapping[str, str | None],
    spreads: _Spreads,
    *,
    nested: bool,
    in_groups: bool,
) -> Outline:
    """Runs in order as an outline: below their parents, within their groups."""
    matched = {each.id: each.parent for each in members}
    below = _below({**above, **matched}, matched) if nested else {}
    tops = below.get(None, []) if nested else list(matched)
    roots: dict[str | None, list[str]] = {None: tops}
    if in_groups:
        values = {each.id: each.value for each in members}
        roots = defaultdict(list)
        for run in tops:
            roots[_value_of(run, values, below)].append(run)
    ids: list[str] = []
    depths: list[int] = []
    groups: list[RunGroup] = []
    for value, some in roots.items():
        first = len(ids)
        if nested:
            for run, depth in _walk(some, below):
                ids.append(run)
                depths.append(depth)
        else:
            ids += some
        if in_groups:
            groups.append(RunGroup(value, first, len(ids) - first, spreads.get(value, [])))
    return Outline(
        run_ids=ids,
        matching=total,
        depths=depths if any(depths) else [],
        context=[at for at, run in enumerate(ids) if run not in matched] if above else [],
        groups=groups,
    )


def _below(parents: Mapping[str, str | None], matched: Iterable[str]) -> dict[str | None, list[str]]:
    """The runs below each run (None: at the top), in order. A run that is only there for others stands where the first of them
    would."""
    above = dict(parents)
    below: dict[str | None, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for run in matched:
        line = {run: None}
        last = run
        while last not in seen and (parent := above[last]) is not None and parent in above:
            if parent in line:  # they say of each other that it started them: then this one stands at the top
                above[last] = None
                break
            line[parent] = None
            last = parent
        for each in line:
            if each not in seen:
                seen.add(each)
                parent = above[each]
                below[parent if parent in above else None].append(each)
    return below


def _walk(tops: Iterable[str], below: Mapping[str | None, list[str]]) -> Iterable[tuple[str, int]]:
    waiting = [(run, 0) for run in reversed(list(tops))]
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


def _ancestors(look: Reader, members: Sequence[_Member]) -> dict[str, str | None]:
    """The runs above those that match and do not match themselves, with their parents."""
    found: dict[str, str | None] = {}
    known = {each.id for each in members}
    wanted = {each.parent for each in members if each.parent is not None} - known
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


def _members(look: Reader, query: sa.Select[Any], limit: int) -> list[_Member]:
    answer = look.execute(query.limit(limit))
    found = list(
        map(_Member._make, answer.cursor.fetchall())
    )  # texts, as the driver gives them: they are many
    answer.close()
    return found


def _count(look: Reader, query: sa.Select[Any]) -> int:
    return int(look.scalar(sa.select(sa.func.count()).select_from(query.subquery())))


def _metric(text: str) -> Field:
    field = parse_order(text).field
    if field.entity != "metric":
        raise InvalidInput(f"{text} is no metric", hint="name metrics, such as metrics.rmse")
    return field


def _spreads(members: Sequence[_Member], metrics: Sequence[Mapping[str, float | None]]) -> _Spreads:
    """What each group says about each metric."""
    groups: dict[str | None, list[str]] = defaultdict(list)
    for run, _, group in members:
        groups[group].append(run)
    return {group: [_spread(values, runs) for values in metrics] for group, runs in groups.items()}


def _spread(values: Mapping[str, float | None], run_ids: Sequence[str]) -> Spread:
    numbers = [value for value in map(values.get, run_ids) if value is not None]
    if not numbers:
        return Spread(0)
    mean = sum(numbers) / len(numbers)  # of both infinities there is none
    return Spread(len(numbers), None if math.isnan(mean) else mean, min(numbers), max(numbers))


def _spreads_in_database(look: Reader, query: sa.Select[Any], fields: Sequence[Field]) -> _Spreads:
    """The same of more runs than are held in memory."""
    inner = query.subquery()
    found: dict[str | None, list[Spread]] = defaultdict(lambda: [Spread(0) for _ in fields])
    for at, field in enumerate(fields):
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


def _portions(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]
