"""What a filter is once it is read: a tree of tests."""

from __future__ import annotations

import msgspec


class Field(msgspec.Struct, frozen=True):
    """What is tested or sorted by. `entity`: metric, param, tag, metadata, dataset, lineage, span, feedback, expectation, or
    (attributes) text, time, number. `aggregate` is used by metrics only."""

    entity: str
    key: str
    aggregate: str = "last"


class Arithmetic(msgspec.Struct, frozen=True):
    """`sign` is one of ``+ - * /``."""

    sign: str
    left: Operand
    right: Operand


Operand = Field | Arithmetic | int | float


class Compare(msgspec.Struct, frozen=True):
    """`value` is text or a number; times are microseconds since 1970."""

    field: Field
    operator: str
    value: str | int | float


class Relation(msgspec.Struct, frozen=True):
    """Two numbers that are reckoned from what the thing has."""

    left: Operand
    operator: str
    right: Operand


class OneOf(msgspec.Struct, frozen=True):
    field: Field
    values: tuple[str, ...]
    negated: bool


class IsNull(msgspec.Struct, frozen=True):
    field: Field
    negated: bool


class Not(msgspec.Struct, frozen=True):
    part: Node


class And(msgspec.Struct, frozen=True):
    parts: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True):
    parts: tuple[Node, ...]


Node = Compare | Relation | OneOf | IsNull | Not | And | Or


class Order(msgspec.Struct, frozen=True):
    field: Field
    descending: bool


def fields_of(found: Node | Operand) -> frozenset[Field]:
    """All fields that a filter or a number is made of.

    >>> sorted(each.key for each in fields_of(Relation(Field("metric", "a"), "<", Arithmetic("*", 2, Field("metric", "b")))))
    ['a', 'b']
    """
    match found:
        case Field():
            return frozenset({found})
        case Arithmetic(left=left, right=right) | Relation(left=left, right=right):
            return fields_of(left) | fields_of(right)
        case And(parts) | Or(parts):
            return frozenset().union(*map(fields_of, parts))
        case Not(part):
            return fields_of(part)
        case Compare(field=field) | OneOf(field=field) | IsNull(field=field):
            return frozenset({field})
        case _:
            return frozenset()
