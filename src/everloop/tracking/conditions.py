"""The search language as SQL over indexes: the tree that `everloop.domain.search` evaluates, alike on SQLite and Postgres."""

import operator as operators
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from everloop.domain.search import (
    And,
    Arithmetic,
    Compare,
    Field,
    IsNull,
    Node,
    Not,
    OneOf,
    Operand,
    Or,
    Order,
    Relation,
    fields_of,
    fold,
    patterns,
)
from everloop.domain.search.meaning import LARGEST, SMALLEST
from everloop.store.schema.base import edges
from everloop.store.schema.registry import model_aliases
from everloop.store.schema.tracking import INDEXED_CHARACTERS

Condition = sa.ColumnElement[bool]
Column = sa.ColumnElement[Any]

_SIGNS: dict[str, Callable[[Column, Column], Column]] = {
    "+": operators.add, "-": operators.sub, "*": operators.mul, "/": operators.truediv,
}  # fmt: skip
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Kept:
    """A table with a row for each key of a thing: columns `key` and `value` (metrics: a column an aggregate), perhaps `head` (the
    indexed beginning of the value) and `number`. `owner` are its columns that name the thing."""

    table: sa.Table
    owner: tuple[Column, ...]


@dataclass(frozen=True)
class Searched:
    """Where the fields of one kind of thing are kept. `key`: the columns that name a thing; `attributes`: by `Field.key`."""

    key: tuple[Column, ...]
    attributes: Mapping[str, Column]
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """By entity: metric, param, tag."""
    reference: Column | None = None
    """The thing's own reference, where lineage can be asked."""
    datasets: tuple[sa.FromClause, Column, Mapping[str, Column]] | None = None
    """Where a run's datasets are, the column that names the run, and the columns of the dataset's keys."""


class Conditions:
    """Makes conditions over the rows of `searched`. Each is true or false for every row, never NULL, so that `not` turns it
    round. `listed`: a condition lists all things that pass a test, for when all are looked at, rather than asking one by one
    by the table's primary key."""

    def __init__(self, dialect: str, searched: Searched, *, listed: bool = False) -> None:
        self.dialect = dialect
        self.searched = searched
        self._listed = listed

    def condition(self, node: Node) -> Condition:
        match node:
            case And(parts):
                return sa.and_(*(self.condition(part) for part in parts))
            case Or(parts):
                return sa.or_(*(self.condition(part) for part in parts))
            case Not(part):
                return sa.not_(self.condition(part))
            case IsNull(field, negated):
                return self._present(field) if negated else sa.not_(self._present(field))
            case Relation():
                return self._related(node)
            case Compare() | OneOf():
                return self._among(node) if node.field.entity in self.searched.kept else self._own(node)

    def rows_of(self, test: Compare | OneOf, table: sa.FromClause) -> list[Condition]:
        """What a test of a metric, parameter or tag asks of that table's row; `table` may be an alias of it."""
        field, columns = test.field, table.c
        tests = [columns.key == field.key]
        if isinstance(test, OneOf):
            tests.append(self._text(columns.value, "not in" if test.negated else "in", test.values))
        elif field.entity == "metric":
            number = columns[field.aggregate]
            found = ordered(number, test.operator, float(test.value))
            if test.operator == "!=" and field.aggregate != "count":
                found = sa.or_(found, number.is_(None))
            tests.append(found)
        elif not isinstance(test.value, str):
            tests.append(ordered(columns.number, test.operator, float(test.value)))
        elif test.operator == "=" and "head" in columns:
            tests.append(columns.head == test.value[:INDEXED_CHARACTERS])
            if len(test.value) >= INDEXED_CHARACTERS:  # else the indexed head is all there is
                tests.append(columns.value == test.value)
        else:
            tests.append(self._text(columns.value, test.operator, test.value))
        return tests

    def attribute(self, field: Field) -> Column:
        return self.searched.attributes[field.key]

    def sorted_by(self, order: Order) -> list[Column]:
        """What is missing comes last and NaN just before it, in both directions; numbers in parameters come before texts."""
        field = order.field
        if field.entity not in self.searched.kept:
            column = self.attribute(field)
            plain = self.bytewise(column) if field.entity in ("text", "metadata") else column
            return [absent(column), _directed(plain, order)]
        terms: list[Column] = [sa.case((self._present(field), 0), else_=1)]
        if field.entity in ("metric", "param"):
            number = self._scalar(field, lambda column: column)
            terms += [absent(number), _directed(number, order)]
        if field.entity != "metric":
            text = self._of_key(field, lambda columns: columns.value)
            terms.append(_directed(self.bytewise(text), order))
        return terms

    def bytewise(self, column: Column) -> Column:
        """Text in the order of its bytes, which every database knows."""
        return column if self.dialect == "sqlite" else sa.collate(column, "C")

    def _among(self, test: Compare | OneOf) -> Condition:
        kept = self.searched.kept[test.field.entity]
        return self._row(kept, *self.rows_of(test, kept.table))

    def _row(self, kept: Kept, *tests: Condition) -> Condition:
        """Whether a thing has such a row."""
        if self._listed and len(kept.owner) == 1:
            return self.searched.key[0].in_(sa.select(kept.owner[0]).where(*tests))
        own = [owner == key for owner, key in zip(kept.owner, self.searched.key, strict=True)]
        return sa.select(sa.literal(1)).select_from(kept.table).where(*own, *tests).exists()

    def _own(self, test: Compare | OneOf) -> Condition:
        field = test.field
        if field.entity == "dataset":
            return self._dataset(field, self._value_test(self._dataset_column(field), test))
        if field.entity == "lineage":
            assert isinstance(test, Compare)
            hit = self._linked(field, str(test.value))
            return hit if test.operator == "=" else sa.and_(self._linked(field, ""), sa.not_(hit))
        column = self.attribute(field)
        return sa.and_(column.is_not(None), self._value_test(column, test))

    def _value_test(self, column: Column, test: Compare | OneOf) -> Condition:
        if isinstance(test, OneOf):
            return self._text(column, "not in" if test.negated else "in", test.values)
        if isinstance(test.value, str):
            return self._text(column, test.operator, test.value)
        if test.field.entity == "time":
            column = sa.type_coerce(column, sa.BigInteger)
        return ordered(column, test.operator, test.value)

    def _present(self, field: Field) -> Condition:
        if field.entity in self.searched.kept:
            kept = self.searched.kept[field.entity]
            return self._row(kept, kept.table.c.key == field.key)
        if field.entity == "lineage":
            return self._linked(field, "")
        if field.entity == "dataset":
            return self._dataset(field, self._dataset_column(field).is_not(None))
        return self.attribute(field).is_not(None)

    def _dataset_column(self, field: Field) -> Column:
        assert self.searched.datasets is not None
        return self.searched.datasets[2][field.key]

    def _dataset(self, field: Field, test: Condition) -> Condition:
        assert self.searched.datasets is not None
        source, owner, _ = self.searched.datasets
        (key,) = self.searched.key
        return sa.select(sa.literal(1)).select_from(source).where(owner == key, test).exists()

    def _text(self, column: Column, operator: str, value: str | tuple[str, ...]) -> Condition:
        if isinstance(value, tuple):
            return column.in_(value) if operator == "in" else column.not_in(value)
        if operator in ("=", "!="):
            return ordered(column, operator, value)
        if operator.endswith("rlike"):
            test = self._rlike(column, value)
        else:
            test = self._like(column, value, ignore_case=operator.endswith("ilike"))
        return sa.not_(test) if operator.startswith("not") else test

    def _like(self, column: Column, pattern: str, *, ignore_case: bool) -> Condition:
        if ignore_case:
            lowered = (
                sa.func.lower(column)
                if self.dialect == "sqlite"
                else sa.func.translate(column, _UPPER, _UPPER.lower())
            )
            column, pattern = lowered, fold(pattern)
        if self.dialect != "sqlite":
            return column.like(pattern.replace("\\", "\\\\"))
        # SQLite's LIKE ignores case, its GLOB does not: the same pattern in the other's signs.
        signs = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
        return column.op("GLOB", is_comparison=True)("".join(signs.get(each, each) for each in pattern))

    def _rlike(self, column: Column, pattern: str) -> Condition:
        if self.dialect != "sqlite":
            return column.op("~", is_comparison=True)(patterns.for_postgres(pattern))
        return sa.func.rlike(pattern, column, type_=sa.Boolean)  # a function of ours: `engines`

    # Arithmetic

    def _related(self, relation: Relation) -> Condition:
        """NULL stands for NaN here, as in the tables of metrics; what is missing altogether is asked first."""
        test = ordered(self._number(relation.left), relation.operator, self._number(relation.right))
        test = sa.func.coalesce(test, sa.true() if relation.operator == "!=" else sa.false())
        return sa.and_(*(self._numeric(each) for each in sorted_fields(relation)), test)

    def _numeric(self, field: Field) -> Condition:
        """Whether a thing has a number (NaN is one) under this name."""
        if field.entity not in self.searched.kept:
            return self.attribute(field).is_not(None)
        kept = self.searched.kept[field.entity]
        is_number = [kept.table.c.number.is_not(None)] if field.entity == "param" else []
        return self._row(kept, kept.table.c.key == field.key, *is_number)

    def _number(self, operand: Operand, *, term: bool = False) -> Column:
        """`term`: it is reckoned with, so that its bounds matter."""
        match operand:
            case Field():
                return self._scalar(operand, _bounded if term else lambda column: column)
            case Arithmetic(sign, left, right):
                first, second = self._number(left, term=True), self._number(right, term=True)
                if sign == "/":
                    second = sa.func.nullif(second, sa.literal(0.0, sa.Double))
                return _SIGNS[sign](first, second)
            case _:
                return sa.literal(float(operand), sa.Double)

    def _scalar(self, field: Field, made: Callable[[Column], Column]) -> Column:
        if field.entity not in self.searched.kept:
            return made(sa.cast(self.attribute(field), sa.Double))
        if field.entity == "param":
            return self._of_key(field, lambda columns: made(columns.number))
        if field.aggregate == "count":
            return self._of_key(field, lambda columns: made(sa.cast(columns["count"], sa.Double)))
        return self._of_key(field, lambda columns: made(columns[field.aggregate]))

    def _of_key(self, field: Field, made: Callable[[Any], Column]) -> Column:
        """A value of the one row that a thing has for a key, made from that row's columns."""
        kept = self.searched.kept[field.entity]
        own = [owner == key for owner, key in zip(kept.owner, self.searched.key, strict=True)]
        return sa.select(made(kept.table.c)).where(*own, kept.table.c.key == field.key).scalar_subquery()

    # Lineage

    def _linked(self, field: Field, name: str) -> Condition:
        """Whether an edge leads between the thing and something of that kind: this version, or any where none is named."""
        own = self.searched.reference
        assert own is not None
        kind = field.key

        def named(column: Column) -> Condition:
            if not name:
                return sa.and_(column >= f"{kind}:", column < f"{kind};")
            bare, at, version = name.partition("@")
            reference = f"{kind}:{name}"
            if not at:
                return sa.or_(
                    column == reference, sa.and_(column >= reference + "@", column < reference + "A")
                )
            if kind != "model" or (version[:1] == "v" and version[1:].isdigit()):
                return column == reference
            now = sa.select(sa.literal(f"model:{bare}@v").concat(sa.cast(model_aliases.c.version, sa.String)))
            meant = now.where(model_aliases.c.name == bare, model_aliases.c.alias == version)
            return column == meant.scalar_subquery()

        into = sa.select(edges.c.target).where(edges.c.target == own, named(edges.c.source))
        out_of = sa.select(edges.c.source).where(edges.c.source == own, named(edges.c.target))
        return sa.or_(into.exists(), out_of.exists())


def ordered(column: Column, operator: str, value: Any) -> Condition:
    """A comparison of two numbers or texts."""
    return {
        "=": column.__eq__, "!=": column.__ne__, ">": column.__gt__, ">=": column.__ge__, "<": column.__lt__, "<=": column.__le__,
    }[operator](value)  # fmt: skip


def absent(column: Column) -> sa.ColumnElement[int]:
    """1 where the column is NULL, else 0: sorts what is missing last, on every database."""
    return sa.case((column.is_(None), 1), else_=0)


def conjuncts(node: Node | None) -> list[Node]:
    """The tests that must all hold."""
    if node is None:
        return []
    if isinstance(node, And):
        return [each for part in node.parts for each in conjuncts(part)]
    return [node]


def sorted_fields(relation: Relation) -> Sequence[Field]:
    """In an order that is always the same, so that a statement is compiled once."""
    return sorted(fields_of(relation), key=lambda each: (each.entity, each.key, each.aggregate))


def _directed(column: Column, order: Order) -> Column:
    return column.desc() if order.descending else column.asc()


def _bounded(number: Column) -> Column:
    """`everloop.domain.search.meaning.bounded`: NULL where a number is too large for arithmetic, 0 where it is too small."""
    size = sa.func.abs(number, type_=sa.Double)
    return sa.case((size < SMALLEST, sa.literal(0.0, sa.Double)), (size <= LARGEST, number), else_=sa.null())
