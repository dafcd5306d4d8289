"""What a filter means: a thing is looked at and a test is true or false, written as plainly as can be."""

from __future__ import annotations

import math
import operator as operators
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Protocol

from everloop.domain.runs import MetricSummary, param_number
from everloop.domain.search import patterns
from everloop.domain.search.tree import (
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
    Relation,
)
from everloop.domain.times import micros

LARGEST, SMALLEST = 1e60, 1e-60
"""Numbers that are reckoned with lie between these, and at most four are multiplied (`parser.MAX_FACTORS`): so nothing can
overflow or underflow, on which databases disagree."""


class Searchable(Protocol):
    """A thing as the evaluator sees it: texts, times, numbers and lineage by the names of `Field.key`."""

    @property
    def params(self) -> Mapping[str, str]: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def metrics(self) -> Mapping[str, MetricSummary]: ...
    @property
    def texts(self) -> Mapping[str, str | None]: ...
    @property
    def times(self) -> Mapping[str, datetime | None]: ...
    @property
    def numbers(self) -> Mapping[str, float]: ...
    @property
    def lineage(self) -> Mapping[str, Collection[str]]:
        """Kind -> NAME@vN and NAME@ALIAS of all that went in or came out."""
        ...

    @property
    def datasets(self) -> Collection[Mapping[str, str]]:
        """Each with its name, digest and, if any, context."""
        ...


def matches(node: Node, thing: Searchable) -> bool:
    """Whether a thing passes a filter."""
    match node:
        case And(parts):
            return all(matches(part, thing) for part in parts)
        case Or(parts):
            return any(matches(part, thing) for part in parts)
        case Not(part):
            return not matches(part, thing)
        case IsNull(field, negated):
            return _present(field, thing) is negated
        case OneOf(field, values, negated):
            return any((text in values) is not negated for text in _texts(field, thing))
        case Relation(left, operator, right):
            return _related(operator, _reckoned(left, thing), _reckoned(right, thing))
        case Compare(field, operator, value):
            return _compare(field, operator, value, thing)


def like(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """SQL's LIKE without an escape character: ``%`` is any text, ``_`` any one character.

    >>> like("tr%", "tree"), like("t_ee", "tree"), like("TR%", "tree"), like("TR%", "tree", ignore_case=True)
    (True, True, False, True)
    """
    if ignore_case:
        pattern, text = fold(pattern), fold(text)
    parts = (".*" if each == "%" else "." if each == "_" else re.escape(each) for each in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def fold(text: str) -> str:
    """Lower case for the letters A to Z only: the one folding that every database does alike.

    >>> fold("Ärger IN Öl")
    'Ärger in Öl'
    """
    return text.translate(_FOLDED)


def passes_text(text: str, operator: str, value: str) -> bool:
    """A test of a text that is there.

    >>> passes_text("tree", "not like", "tr%"), passes_text("tree", "!=", "linear")
    (False, True)
    """
    if operator.endswith("rlike"):
        return patterns.found(value, text) is not operator.startswith("not")
    if operator.endswith("like"):
        return like(value, text, ignore_case=operator.endswith("ilike")) is not operator.startswith("not")
    return (text == value) is (operator == "=")


def bounded(number: float) -> float:
    """A number as arithmetic has it: NaN where it is too large, 0 where it is too small.

    >>> bounded(1e59), bounded(-1e61), bounded(1e-61)
    (1e+59, nan, 0.0)
    """
    size = abs(number)
    if not size <= LARGEST:
        return math.nan
    return 0.0 if size < SMALLEST else number


_FOLDED = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "=": operators.eq, "!=": operators.ne, ">": operators.gt, ">=": operators.ge, "<": operators.lt, "<=": operators.le,
}  # fmt: skip
_SIGNS: dict[str, Callable[[float, float], float]] = {
    "+": operators.add, "-": operators.sub, "*": operators.mul, "/": operators.truediv,
}  # fmt: skip


def _present(field: Field, thing: Searchable) -> bool:
    match field.entity:
        case "metric":
            return field.key in thing.metrics
        case "time":
            return thing.times.get(field.key) is not None
        case "number":
            return field.key in thing.numbers
        case "lineage":
            return bool(thing.lineage.get(field.key))
        case _:
            return bool(_texts(field, thing))


def _texts(field: Field, thing: Searchable) -> list[str]:
    """The texts of a field: none or one, but for datasets, of which a run has many."""
    match field.entity:
        case "param":
            found = thing.params.get(field.key)
        case "tag":
            found = thing.tags.get(field.key)
        case "dataset":
            return [each[field.key] for each in thing.datasets if field.key in each]
        case _:
            found = thing.texts.get(field.key)
    return [] if found is None else [found]


def _compare(field: Field, operator: str, value: str | int | float, thing: Searchable) -> bool:
    if field.entity == "lineage":
        found = thing.lineage.get(field.key, ())
        hit = any(each == value or each.partition("@")[0] == value for each in found)
        return hit if operator == "=" else bool(found) and not hit
    if field.entity == "time":
        moment = thing.times.get(field.key)
        return moment is not None and _related(operator, micros(moment), value)
    if isinstance(value, str):
        return any(passes_text(text, operator, value) for text in _texts(field, thing))
    return _related(operator, _number(field, thing), value)


def _number(field: Field, thing: Searchable) -> float | None:
    """The number of a field: None where there is none."""
    match field.entity:
        case "metric":
            summary = thing.metrics.get(field.key)
            if summary is None:
                return None
            return float(summary.count) if field.aggregate == "count" else summary.number(field.aggregate)
        case "param":
            text = thing.params.get(field.key)
            return None if text is None else param_number(text)
        case _:
            return thing.numbers.get(field.key)


def _reckoned(operand: Operand, thing: Searchable) -> float | None:
    match operand:
        case Field():
            return _number(operand, thing)
        case Arithmetic(sign, left, right):
            first, second = _term(left, thing), _term(right, thing)
            if first is None or second is None:
                return None
            if sign == "/" and second == 0:
                return math.nan
            return _SIGNS[sign](first, second)
        case _:
            return float(operand)


def _term(operand: Operand, thing: Searchable) -> float | None:
    number = _reckoned(operand, thing)
    return bounded(number) if isinstance(operand, Field) and number is not None else number


def _related(operator: str, left: float | None, right: str | int | float | None) -> bool:
    if left is None or right is None or isinstance(right, str):
        return False
    return _OPERATORS[operator](left, right)
