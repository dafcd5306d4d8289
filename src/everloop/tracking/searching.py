"""The search language as SQL over indexes: the tree that `everloop.domain.search` evaluates, alike on SQLite and Postgres."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.runs import INTERRUPTED, KILLED
from everloop.domain.search import (
    And,
    Compare,
    Field,
    IsNull,
    Node,
    Not,
    OneOf,
    Or,
    Order,
    fold,
)
from everloop.errors import InvalidInput
from everloop.store.schema.base import edges
from everloop.store.schema.tracking import (
    INDEXED_CHARACTERS,
    experiments,
    run_metrics,
    run_params,
    run_tags,
    runs,
)

Condition = sa.ColumnElement[bool]

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Compiler:
    """Makes conditions over `runs` joined with `experiments`. `lost` are the runs whose stored status is out of date."""

    def __init__(self, dialect: str, lost: dict[str, str]) -> None:
        self._dialect = dialect
        self.status: sa.ColumnElement[str] = runs.c.status
        gone = [
            (runs.c.id.in_([run for run, status in lost.items() if status == each]), sa.literal(each))
            for each in (KILLED, INTERRUPTED)
            if each in lost.values()
        ]
        if gone:
            self.status = sa.case(*gone, else_=runs.c.status)

    def condition(self, node: Node) -> Condition:
        """A condition that is true or false for every run, never NULL, so that `not` turns it round."""
        match node:
            case And(parts):
                return sa.and_(*(self.condition(part) for part in parts))
            case Or(parts):
                return sa.or_(*(self.condition(part) for part in parts))
            case Not(part):
                return sa.not_(self.condition(part))
            case IsNull(field, negated):
                return self._present(field) if negated else sa.not_(self._present(field))
            case OneOf(field, values, negated):
                return self._text(field, "not in" if negated else "in", values)
            case Compare(field, operator, value):
                return self._compare(field, operator, value)

    def order(
        self, orders: Sequence[Order], query: sa.Select[Any], *, numbers_only: bool = False
    ) -> sa.Select[Any]:
        """Sort: what is missing last, NaN just before it, in both directions; the newest run first where all else is equal.

        `numbers_only` leaves out the runs in which the metric sorted by first is missing or NaN. What remains is the beginning
        of the whole order, and can be read along the metric's index, from its end to as far as is wanted.
        """
        for number, order in enumerate(orders):
            field = order.field
            if field.entity == "metric":
                joined = run_metrics.alias(f"order{number}")
                of_key = sa.and_(joined.c.run == runs.c.id, joined.c.key == field.key)
                column = joined.c[field.aggregate]
                if numbers_only and number == 0:
                    query = (
                        query.join(joined, of_key)
                        .where(column.is_not(None))
                        .order_by(_directed(column, order))
                    )
                else:
                    query = query.outerjoin(joined, of_key)
                    query = query.order_by(joined.c.key.is_(None), column.is_(None), _directed(column, order))
            elif field.entity in {"param", "tag"}:
                table = run_params if field.entity == "param" else run_tags
                joined = table.alias(f"order{number}")
                query = query.outerjoin(joined, sa.and_(joined.c.run == runs.c.id, joined.c.key == field.key))
                query = query.order_by(joined.c.key.is_(None))
                if field.entity == "param":  # numbers among themselves as numbers, before texts
                    query = query.order_by(joined.c.number.is_(None), _directed(joined.c.number, order))
                query = query.order_by(_directed(self._bytewise(joined.c.value), order))
            elif field.entity == "time":
                query = query.order_by(runs.c[field.key].is_(None), _directed(runs.c[field.key], order))
            else:
                attribute = self._attribute(field)
                query = query.order_by(attribute.is_(None), _directed(self._bytewise(attribute), order))
        return query.order_by(runs.c.start_time.desc(), runs.c.id.desc())

    def _present(self, field: Field) -> Condition:
        match field.entity:
            case "metric" | "param" | "tag":
                table = {"metric": run_metrics, "param": run_params, "tag": run_tags}[field.entity]
                return _among(table, table.c.key == field.key)
            case "time":
                return runs.c[field.key].is_not(None)
            case "lineage":
                return self._linked(field, "")
            case _:
                return self._attribute(field).is_not(None)

    def _compare(self, field: Field, operator: str, value: str | int | float) -> Condition:
        match field.entity:
            case "metric":
                number = run_metrics.c[field.aggregate]
                test = _ordered(number, operator, float(value))
                if operator == "!=" and field.aggregate != "count":
                    test = sa.or_(test, number.is_(None))
                return _among(run_metrics, run_metrics.c.key == field.key, test)
            case "time":
                moment = sa.type_coerce(runs.c[field.key], sa.BigInteger)
                return sa.and_(runs.c[field.key].is_not(None), _ordered(moment, operator, value))
            case "lineage":
                hit = self._linked(field, str(value))
                return hit if operator == "=" else sa.and_(self._linked(field, ""), sa.not_(hit))
            case "param" if not isinstance(value, str):
                return _among(
                    run_params,
                    run_params.c.key == field.key,
                    _ordered(run_params.c.number, operator, float(value)),
                )
            case _:
                return self._text(field, operator, str(value))

    def _text(self, field: Field, operator: str, value: str | tuple[str, ...]) -> Condition:
        if field.entity in {"param", "tag"}:
            table = run_params if field.entity == "param" else run_tags
            return _among(
                table, table.c.key == field.key, self._test(table.c.value, operator, value, table.c.head)
            )
        column = self._attribute(field)
        return sa.and_(column.is_not(None), self._test(column, operator, value))

    def _test(
        self,
        column: sa.ColumnElement[str],
        operator: str,
        value: str | tuple[str, ...],
        head: sa.ColumnElement[str] | None = None,
    ) -> Condition:
        if isinstance(value, tuple):
            return column.in_(value) if operator == "in" else column.not_in(value)
        if operator == "=":
            if head is None:
                return column == value
            if len(value) < INDEXED_CHARACTERS:  # then the indexed head is all there is
                return head == value
            return sa.and_(head == value[:INDEXED_CHARACTERS], column == value)
        if operator == "!=":
            return column != value
        test = self._like(column, value, ignore_case=operator.endswith("ilike"))
        return sa.not_(test) if operator.startswith("not") else test

    def _like(self, column: sa.ColumnElement[str], pattern: str, *, ignore_case: bool) -> Condition:
        if ignore_case:
            lowered = (
                sa.func.lower(column)
                if self._dialect == "sqlite"
                else sa.func.translate(column, _UPPER, _UPPER.lower())
            )
            column, pattern = lowered, fold(pattern)
        if self._dialect != "sqlite":
            return column.like(pattern.replace("\\", "\\\\"))
        # SQLite's LIKE ignores case, its GLOB does not: the same pattern in the other's signs.
        signs = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
        return column.op("GLOB", is_comparison=True)("".join(signs.get(each, each) for each in pattern))

    def _linked(self, field: Field, name: str) -> Condition:
        """Whether an edge leads between the run and something of that kind: this version, or any where none is named."""
        run = sa.literal("run:", sa.String).concat(runs.c.id)

        def named(column: sa.ColumnElement[str]) -> Condition:
            prefix = f"{field.key}:{name}"
            if not name:
                return column.startswith(prefix, autoescape=True)
            if "@" in name:
                return column == prefix
            return sa.or_(column == prefix, sa.and_(column >= prefix + "@", column < prefix + "A"))

        into = sa.select(edges.c.target).where(edges.c.target == run, named(edges.c.source))
        out_of = sa.select(edges.c.source).where(edges.c.source == run, named(edges.c.target))
        return sa.or_(into.exists(), out_of.exists())

    def _attribute(self, field: Field) -> sa.ColumnElement[str]:
        match field.key:
            case "run_id":
                return runs.c.id
            case "experiment":
                return experiments.c.name
            case "status":
                return self.status
            case _:
                return runs.c[field.key]

    def _bytewise(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return column if self._dialect == "sqlite" else sa.collate(column, "C")


def follows_index(orders: Sequence[Order]) -> bool:
    """Whether a sort begins with a metric that has an index of its own."""
    return (
        bool(orders)
        and orders[0].field.entity == "metric"
        and orders[0].field.aggregate in ("last", "min", "max")
    )


def page_token(offset: int) -> str:
    """The name of the page that starts at `offset`; what is in it is nobody's business."""
    return base64.urlsafe_b64encode(b"offset:%d" % offset).decode()


def page_offset(token: str) -> int:
    """Where a page starts; the first one has no token."""
    if not token:
        return 0
    try:
        head, _, number = base64.urlsafe_b64decode(token.encode()).partition(b":")
        if head == b"offset" and number.isdigit() and len(number) < 16:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput(
        "that is not the token of a page", hint="pass on next_page of the page before, or nothing"
    )


def _among(table: sa.Table, *tests: Condition) -> Condition:
    return runs.c.id.in_(sa.select(table.c.run).where(*tests))


def _ordered(column: sa.ColumnElement[Any], operator: str, value: Any) -> Condition:
    return {
        "=": column.__eq__, "!=": column.__ne__, ">": column.__gt__, ">=": column.__ge__, "<": column.__lt__, "<=": column.__le__,
    }[operator](value)  # fmt: skip


def _directed(column: sa.ColumnElement[Any], order: Order) -> sa.ColumnElement[Any]:
    return column.desc() if order.descending else column.asc()
