"""Searches of runs: where their fields are kept, in which order they come, and how a page is found along an index.

The whole order of a sort by a metric has three stretches: runs with a number, runs with NaN, runs without the metric. Within the
first an index has the runs in order, so it is walked from where the page begins until the page is full, and each run met is
tested by primary keys. Most pages end within the first stretch. A test that few runs pass is looked up first instead, and only
these runs are sorted (`few`).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from everloop.domain.runs import ACTIVE, DELETED, INTERRUPTED, KILLED, artifact_uri
from everloop.domain.search import Compare, Field, Node, OneOf, Order
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import (
    experiments,
    logged_datasets,
    run_datasets,
    run_metrics,
    run_params,
    run_tags,
    runs,
)
from everloop.tracking.conditions import Column, Condition, Conditions, Kept, Searched, absent, conjuncts
from everloop.tracking.paging import Place, Term, after

FEW = 400
"""How many runs are sorted rather than met along an index."""
WHOLE = -1
"""Stands for a stretch where the order was not divided."""

_KEPT = {
    "metric": Kept(run_metrics, (run_metrics.c.run,)),
    "param": Kept(run_params, (run_params.c.run,)),
    "tag": Kept(run_tags, (run_tags.c.run,)),
}
_REFERENCE = sa.literal("run:", sa.String).concat(runs.c.id)
_DATASETS = (
    run_datasets.join(logged_datasets, run_datasets.c.dataset == logged_datasets.c.id),
    run_datasets.c.run,
    {
        "name": logged_datasets.c.name,
        "digest": logged_datasets.c.digest,
        "context": sa.func.nullif(run_datasets.c.context, ""),
    },
)
EXPERIMENT_NAME = sa.select(experiments.c.name).where(experiments.c.id == runs.c.experiment).scalar_subquery()

_BEFORE, _BETWEEN, _BEHIND = artifact_uri("|", "|").split("|")
_ARTIFACTS = (
    sa.literal(_BEFORE, sa.Text)
    .concat(sa.cast(runs.c.experiment, sa.Text))
    .concat(_BETWEEN)
    .concat(runs.c.id)
    .concat(_BEHIND)
)
"""`artifact_uri` in SQL."""

NEWEST_FIRST = (Term(runs.c.start_time, descending=True), Term(runs.c.id, descending=True))


def record_columns(status: Column = runs.c.status) -> list[Column]:
    """What a `RunRecord` begins with, in its order."""
    return [
        runs.c.id, EXPERIMENT_NAME.label("experiment_name"), runs.c.experiment, runs.c.name, runs.c.user, runs.c.source,
        runs.c.version, status.label("status_now"), runs.c.start_time, runs.c.end_time, runs.c.state, runs.c.parent,
        runs.c.resumed_from,
    ]  # fmt: skip


class Compiler(Conditions):
    """Makes conditions and orders over `runs`. `lost` are the runs whose stored status is out of date. `run`: the column that
    names the run where a row of another table is met first, so that a test needs no row of `runs`."""

    def __init__(
        self, dialect: str, lost: dict[str, str], *, listed: bool = False, run: Column = runs.c.id
    ) -> None:
        self.status: Column = runs.c.status
        gone = [
            (runs.c.id.in_([run for run, status in lost.items() if status == each]), sa.literal(each))
            for each in (KILLED, INTERRUPTED)
            if each in lost.values()
        ]
        if gone:
            self.status = sa.case(*gone, else_=runs.c.status)
        own = {column.name: column for column in runs.c}
        attributes = own | {
            "run_id": runs.c.id,
            "experiment": EXPERIMENT_NAME,
            "status": self.status,
            "artifact_uri": _ARTIFACTS,
        }
        searched = Searched((run,), attributes, _KEPT, _REFERENCE, _DATASETS)
        super().__init__(dialect, searched, listed=listed)

    def order(self, orders: Sequence[Order], query: sa.Select[Any]) -> sa.Select[Any]:
        """Sort: what is missing last, NaN just before it, in both directions; the newest run first where all else is equal."""
        for joined, on, terms in (self.terms(number, each) for number, each in enumerate(orders)):
            query = query.outerjoin(joined, on) if joined is not None else query
            query = query.order_by(*(each.directed for each in terms))
        return query.order_by(*(each.directed for each in NEWEST_FIRST))

    def terms(self, number: int, order: Order) -> tuple[sa.FromClause | None, Condition, list[Term]]:
        """What is joined and sorted by for one field, wherever it may be missing."""
        field, descending = order.field, order.descending
        if field.entity not in _KEPT:
            column = self.attribute(field)
            if field.entity == "text":
                column = self.bytewise(column)
            return None, sa.true(), [Term(absent(column)), Term(column, descending)]
        joined = _KEPT[field.entity].table.alias(f"order{number}")
        on = sa.and_(joined.c.run == runs.c.id, joined.c.key == field.key)
        terms = [Term(absent(joined.c.key))]
        if field.entity == "metric":
            column = joined.c[field.aggregate]
            return joined, on, [*terms, Term(absent(column)), Term(column, descending)]
        if field.entity == "param":  # numbers among themselves as numbers, before texts
            terms += [Term(absent(joined.c.number)), Term(joined.c.number, descending)]
        return joined, on, [*terms, Term(self.bytewise(joined.c.value), descending)]


@dataclass
class Stretch:
    """A part of the whole order: rows of `source` that pass `tests`, sorted by `terms`."""

    source: sa.FromClause
    tests: list[Condition]
    terms: list[Term] = field(default_factory=list)

    def select(self, columns: Sequence[Column], begin: Sequence[Any] | None, limit: int) -> sa.Select[Any]:
        """The first rows, or those after the one whose terms had the values `begin`. The terms come behind the columns."""
        shown = [each.plain.label(f"term{number}") for number, each in enumerate(self.terms)]
        query = sa.select(*columns, *shown).select_from(self.source).where(*self.tests)
        if begin is not None:
            if len(begin) != len(self.terms):
                raise InvalidInput("that page was begun otherwise", hint="begin again with the first page")
            query = query.where(after(self.terms, begin))
        return query.order_by(*(each.directed for each in self.terms)).limit(limit)


class RunSearch:
    """One search of runs, made for a filter, an order and a place."""

    def __init__(
        self,
        dialect: str,
        lost: dict[str, str],
        tree: Node | None,
        orders: Sequence[Order],
        state: str,
        numbers: Sequence[int] | None,
    ) -> None:
        """`numbers`: of the experiments that are searched, None for all."""
        self.compiler = Compiler(dialect, lost)
        self._lost = lost
        self._tree = tree
        self._tests = conjuncts(tree)
        self._orders = list(orders)
        self._numbers = numbers
        self._state = state
        self._only: list[str] | None = None

    def count(self, look: Reader) -> int:
        """How many runs match. All are looked at, so each test's runs are listed once rather than asked run by run."""
        compiler = (
            self.compiler if self._only is not None else Compiler(look.dialect, self._lost, listed=True)
        )
        tests = [*self._place(indexed=True), *self._conditions(self._tests, compiler)]
        of_all = not self._tests and self._only is None and self._numbers is None
        if self._state == ACTIVE and of_all:  # an index has all that is asked
            tests = [runs.c.state == ACTIVE, runs.c.experiment.in_(_experiments_in(ACTIVE))]
        return int(look.scalar(sa.select(sa.func.count()).select_from(runs).where(*tests)))

    def values(self, fields: Sequence[Field]) -> sa.Select[Any]:
        """The runs that match, newest first, each with its value of these fields (parameters, tags, texts)."""
        columns: list[Column] = []
        source: sa.FromClause = runs
        for number, each in enumerate(fields):
            if each.entity in _KEPT:
                table = _KEPT[each.entity].table.alias(f"value{number}")
                source = source.outerjoin(table, sa.and_(table.c.run == runs.c.id, table.c.key == each.key))
                columns.append(table.c.value)
            else:
                columns.append(self.compiler.attribute(each))
        whole = self._all(source, self._place(indexed=True), [], self._tests)
        query = sa.select(runs.c.id, *columns).select_from(whole.source).where(*whole.tests)
        return query.order_by(*(each.directed for each in whole.terms))

    def page(self, look: Reader, begin: Place, limit: int) -> tuple[list[sa.Row[Any]], Place | None]:
        """Up to `limit` rows of `shown` columns, and where the page after them begins; None at the end."""
        undivided = begin.stretch == WHOLE
        few = (undivided or begin.values is None) and self._few(look)
        first = WHOLE if undivided or few else 0
        start = first if begin.values is None else begin.stretch
        found: list[tuple[int, sa.Row[Any]]] = []
        if begin.values is None and not few and not self._lost:
            found = [(first, row) for row in look.all(self._opening(limit + 1))]
            start = first + 1
        if len(found) <= limit:
            parts = iter([self._whole()]) if undivided or few else self._parts()
            for number, part in enumerate(parts, start=first):
                if number < start:
                    continue
                values = begin.values if number == start else None
                query = part.select(self.shown, values, limit + 1 - len(found))
                found += [(number, row) for row in look.all(query)]
                if len(found) > limit:
                    break
        rows = [row for _, row in found[:limit]]
        if len(found) <= limit:
            return rows, None
        number, last = found[limit - 1]
        return rows, Place(begin.search, number, list(last[len(self.shown) :]))

    @property
    def shown(self) -> list[Column]:
        """The columns of the rows of a page."""
        return record_columns(self.compiler.status)

    def opening(self, limit: int) -> sa.Select[Any]:
        """The statement of the first page, which is most often the whole search."""
        return next(self._parts()).select(self.shown, None, limit)

    def _opening(self, limit: int) -> sa.Select[Any]:
        numbers = None if self._numbers is None else tuple(self._numbers)
        return _opening(self.compiler.dialect, self._tree, tuple(self._orders), self._state, numbers, limit)

    def _whole(self) -> Stretch:
        """The whole order at once: all that match are sorted."""
        return self._all(runs, self._place(indexed=self._only is None), self._orders, self._tests)

    def _parts(self) -> Iterator[Stretch]:
        """The whole order, part by part; a part is made when it is come to, which most are not."""
        first = self._orders[0] if self._orders else None
        if first is None or first.field.entity not in _KEPT:
            yield self._whole()
        else:
            yield from self._along_index(first)

    def _few(self, look: Reader) -> bool:
        """Whether one of the tests alone leaves so few runs that these are looked up and sorted: they take its place."""
        for number, test in enumerate(self._tests):
            if not isinstance(test, Compare | OneOf) or not _is_indexed(test):
                continue
            passing, one_too_many = _passing(self.compiler.dialect, test)
            if look.first(one_too_many) is None:
                self._only = [row.run for row in look.all(passing)]
                del self._tests[number]
                return True
        return False

    def _along_index(self, first: Order) -> Iterator[Stretch]:
        field, rest = first.field, self._orders[1:]
        table = _KEPT[field.entity].table
        walked = table.alias("walked")
        of_key = walked.c.key == field.key
        place = self._place(indexed=False)
        source = walked.join(runs, runs.c.id == walked.c.run)
        compiler = Compiler(self.compiler.dialect, self._lost, run=walked.c.run)

        def part(tests: list[Condition], terms: list[Term], others: list[Node]) -> Stretch:
            found = self._all(source, [of_key, *tests, *place], rest, others, compiler)
            return Stretch(found.source, found.tests, [*terms, *found.terms])

        value = (
            self.compiler.bytewise(walked.c.value) if field.entity != "metric" else walked.c[field.aggregate]
        )
        by_value = Term(value, first.descending)
        if field.entity == "metric":
            same = [each for each in self._tests if isinstance(each, Compare) and each.field == field]
            others = [each for each in self._tests if each not in same]
            own = [test for each in same for test in self.compiler.rows_of(each, walked)[1:]]
            yield part([value.is_not(None), *own], [by_value], others)
            if any(each.operator != "!=" for each in same):
                return
            yield part([value.is_(None)], [], self._tests)
        else:
            by_head = Term(self.compiler.bytewise(walked.c.head), first.descending)
            numeric: list[Condition] = []
            if field.entity == "param":
                number = walked.c.number
                yield part([number.is_not(None)], [Term(number, first.descending), by_value], self._tests)
                numeric = [number.is_(None)]
            yield part(numeric, [by_head, by_value], self._tests)
        has = sa.select(sa.literal(1)).where(table.c.run == runs.c.id, table.c.key == field.key).exists()
        yield self._all(runs, [sa.not_(has), *self._place(indexed=True)], rest, self._tests)

    def _all(
        self,
        source: sa.FromClause,
        place: list[Condition],
        orders: Sequence[Order],
        tests: Sequence[Node],
        compiler: Compiler | None = None,
    ) -> Stretch:
        terms: list[Term] = []
        for number, each in enumerate(orders):
            joined, on, found = self.compiler.terms(number, each)
            source = source if joined is None else source.outerjoin(joined, on)
            terms += found
        return Stretch(source, [*place, *self._conditions(tests, compiler)], [*terms, *NEWEST_FIRST])

    def _conditions(self, tests: Sequence[Node], compiler: Compiler | None = None) -> list[Condition]:
        only = [] if self._only is None else [runs.c.id.in_(self._only)]
        return [*only, *map((compiler or self.compiler).condition, tests)]

    def _place(self, *, indexed: bool) -> list[Condition]:
        """State and experiment. Unless `indexed`, they are asked so that SQLite, which knows no statistics, does not take their
        index for the better one; Postgres, which does, would take such a question for one that hardly a run passes."""
        state: Column = runs.c.state
        experiment: Column = runs.c.experiment
        if not indexed and self.compiler.dialect == "sqlite":
            state, experiment = state.concat(""), experiment + 0
        tests: list[Condition] = []
        if self._state != "all":
            tests.append(state == self._state)
        if self._state == ACTIVE:
            gone = _experiments_in(DELETED)
            if self.compiler.dialect == "sqlite":
                tests.append(sa.not_(gone.where(experiments.c.id == runs.c.experiment).exists()))
            else:  # of what does not exist Postgres believes that it leaves one run, and gives up the index
                tests.append(runs.c.experiment.not_in(gone))
        if self._numbers is not None:  # a list of one would not lead to the experiment's own index
            one = len(self._numbers) == 1
            tests.append(experiment == self._numbers[0] if one else experiment.in_(self._numbers))
        return tests


def _experiments_in(state: str) -> sa.Select[Any]:
    return sa.select(experiments.c.id).where(experiments.c.state == state)


@functools.lru_cache(256)
def _opening(
    dialect: str,
    tree: Node | None,
    orders: tuple[Order, ...],
    state: str,
    numbers: tuple[int, ...] | None,
    limit: int,
) -> sa.Select[Any]:
    """The first page's statement of a search without lost runs. It is kept: a page that refreshes asks the same again, and making
    the statement takes as long as reading some hundred rows."""
    return RunSearch(dialect, {}, tree, orders, state, numbers).opening(limit)


@functools.lru_cache(256)
def _passing(dialect: str, test: Compare | OneOf) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """The runs that pass a test that is on an index, and the one that is one too many to be few."""
    table = _KEPT[test.field.entity].table
    passing = sa.select(table.c.run).where(*Compiler(dialect, {}).rows_of(test, table))
    return passing, passing.limit(1).offset(FEW)


def _is_indexed(test: Compare | OneOf) -> bool:
    """Whether an index leads to the rows that pass."""
    if test.field.entity not in _KEPT:
        return False
    if isinstance(test, OneOf):
        return False  # a list is asked by the value, which is too long for an index
    if test.field.entity == "metric" and test.field.aggregate not in ("last", "min", "max"):
        return False
    return test.operator == "=" or (test.operator != "!=" and not isinstance(test.value, str))
