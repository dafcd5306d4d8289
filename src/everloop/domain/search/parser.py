"""From text to tree, by recursive descent: one method a rule of the grammar (see the package)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from everloop.domain.search import patterns
from everloop.domain.search.fields import AGGREGATES, DATASET_KEYS, RUNS, SPAN_KEYS, Fields
from everloop.domain.search.meaning import LARGEST, SMALLEST, passes_text
from everloop.domain.search.tokens import Tokens, unquoted
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
    Order,
    Relation,
    fields_of,
)
from everloop.domain.times import micros
from everloop.errors import InvalidInput, nearest

MAX_TESTS = 100
MAX_VALUES = 10_000
MAX_FACTORS = 4
_MAX_DEPTH = 100
_MAX_LEVELS = 20
"""How deep a tree may be: SQLite's parser has a stack of a hundred."""

_COMPARE = ("=", "!=", ">", ">=", "<", "<=")
_EQUAL = ("=", "!=")
_PATTERN = Field("pattern", "")
_LIKE = ("like", "ilike", "rlike", "not like", "not ilike", "not rlike")
_TURNED = {"=": "=", "!=": "!=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_INFINITE = ("inf", "infinity")
_TIMES = "times are compared with = != > >= < <="
_EITHER = {"param", "feedback", "expectation"}
"""Numbers if they are compared with one, else texts."""
_NUMERIC = {"metric", "number", *_EITHER}
_TEXTS = {"tag", "text", "dataset", "metadata", "span", *_EITHER}


def parse_filter(text: str, fields: Fields = RUNS) -> Node | None:
    """The tree of a filter; None for a blank one. Raises InvalidInput with a caret under the place.

    >>> parse_filter("metrics.rmse < 1")
    Compare(field=Field(entity='metric', key='rmse', aggregate='last'), operator='<', value=1)
    >>> parse_filter("metrics.rmse <")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the filter ends too early at column 15: a number is missing
      metrics.rmse <
                    ^
    """
    parser = _Parser(text, "filter", fields)
    if parser.tokens.kind == "end":
        return None
    tree = parser.condition(parser.filter(0))
    parser.tokens.finish("'and', 'or' or the end")
    if _levels(tree) > _MAX_LEVELS:
        raise parser.tokens.error("it is nested too deeply", 0)
    return tree


def parse_order(text: str, fields: Fields = RUNS) -> Order:
    """``metrics.rmse desc``: a field, and a direction that is ``asc`` when none is given.

    >>> parse_order("metrics.rmse DESC")
    Order(field=Field(entity='metric', key='rmse', aggregate='last'), descending=True)
    """
    parser = _Parser(text, "order", fields)
    tokens = parser.tokens
    field = parser.field()
    if field.entity in {"lineage", "dataset", "span"}:
        raise InvalidInput(
            f"nothing can be sorted by {text.strip()}", hint="sort by a metric, parameter, tag or attribute"
        )
    descending = tokens.word() == "desc"
    if descending or tokens.word() == "asc":
        tokens.advance()
    tokens.finish("'asc' or 'desc'")
    return Order(field, descending)


def quoted(text: str) -> str:
    """`text` as a value of a filter, whatever is in it.

    >>> quoted("it's")
    "'it''s'"
    >>> parse_filter("name = " + quoted("it's")).value
    "it's"
    """
    return "'" + text.replace("'", "''") + "'"


class _Parser:
    """Within parentheses both a filter and a number may stand, and only what follows tells them apart: so the rules from
    `filter` down to `test` give either, and whoever needs one of the two asks `condition` or `number_of`."""

    def __init__(self, text: str, what: str, fields: Fields) -> None:
        self.tokens = Tokens(text, what, fields.example)
        self.fields = fields
        self._tests = 0

    # Conditions

    def condition(self, found: Node | Operand) -> Node:
        if isinstance(found, Field | Arithmetic | int | float):
            raise self.no_operator()
        return found

    def filter(self, depth: int) -> Node | Operand:
        if depth > _MAX_DEPTH:
            raise self.tokens.error("it is nested too deeply")
        first = self.conjunction(depth)
        if self.tokens.word() != "or":
            return first
        parts = [self.condition(first)]
        while self.tokens.keyword("or"):
            parts.append(self.condition(self.conjunction(depth)))
        return Or(tuple(parts))

    def conjunction(self, depth: int) -> Node | Operand:
        first = self.negation(depth)
        if self.tokens.word() != "and":
            return first
        parts = [self.condition(first)]
        while self.tokens.keyword("and"):
            parts.append(self.condition(self.negation(depth)))
        return And(tuple(parts))

    def negation(self, depth: int) -> Node | Operand:
        if depth > _MAX_DEPTH:
            raise self.tokens.error("it is nested too deeply")
        if self.tokens.keyword("not"):
            part = self.condition(self.negation(depth + 1))
            return part.part if isinstance(part, Not) else Not(part)
        return self.test(depth)

    def test(self, depth: int) -> Node | Operand:
        tokens, start = self.tokens, self.tokens.column
        left = self.sum(depth)
        if not isinstance(left, Field | Arithmetic | int | float):
            return left
        if depth and tokens.at_symbol(")"):
            return left
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise tokens.error(
                f"it has more than {MAX_TESTS} tests", start, "name values with: in ('a', 'b')"
            )
        if isinstance(left, Field) and tokens.keyword("is"):
            negated = tokens.keyword("not")
            if not tokens.keyword("null"):
                raise tokens.error("expected 'null'")
            return IsNull(left, negated)
        at, operator = tokens.column, self.operator()
        if isinstance(left, Field) and not self.reckons(left, operator):
            if operator.endswith("in"):
                return self.assumed(OneOf(left, self.values(left, at), operator.startswith("not")))
            if left.entity == "time" and tokens.kind == "number":
                return self.millisecond(left, operator, at)
            return self.assumed(Compare(left, operator, self.value(left, operator, at)))
        is_metric = isinstance(left, Field) and left.entity == "metric"
        self.allow(operator, _COMPARE, at, "a metric is a number" if is_metric else "these are numbers")
        right_at = tokens.column
        right = self.number_of(self.sum(depth), right_at, reckoned=isinstance(left, Arithmetic))
        return self.relation(left, operator, right, start)

    def reckons(self, field: Field, operator: str) -> bool:
        """Whether the right side of a test of this field is reckoned. A parameter is a number if it is compared with one."""
        if field.entity not in _EITHER:
            return field.entity in {"metric", "number"}
        if operator.endswith("in"):
            return False
        tokens = self.tokens
        return (
            tokens.kind == "number"
            or tokens.at_symbol("(", "-", "+")
            or (tokens.kind == "word" and tokens.followed_by(".", "("))
        )

    def relation(self, left: Operand, operator: str, right: Operand, start: int) -> Node:
        if isinstance(left, int | float):
            left, operator, right = right, _TURNED[operator], left
        if isinstance(left, Field) and isinstance(right, int | float):
            return Compare(left, operator, right)
        if not fields_of(left) | fields_of(right):
            raise self.tokens.error("no field is compared", start)
        return Relation(left, operator, right)

    def assumed(self, test: Compare | OneOf) -> Node:
        """A tag that counts as having a text where it is absent is tested so."""
        field = test.field
        default = self.fields.assumed.get(field.key) if field.entity == "tag" else None
        if default is None:
            return test
        found = (
            (default in test.values) is not test.negated
            if isinstance(test, OneOf)
            else passes_text(default, test.operator, str(test.value))
        )
        return Or((test, IsNull(field, False))) if found else test

    def operator(self) -> str:
        tokens = self.tokens
        if tokens.at_symbol(*_COMPARE, "<>"):
            operator = "!=" if tokens.token == "<>" else tokens.token
            tokens.advance()
            return operator
        negated = "not " if tokens.keyword("not") else ""
        for each in ("like", "ilike", "rlike", "in"):
            if tokens.keyword(each):
                return negated + each
        raise self.no_operator()

    def no_operator(self) -> InvalidInput:
        tokens = self.tokens
        if tokens.kind == "end" or tokens.at_symbol(")"):
            return tokens.error("an operator is missing, such as =")
        hint = (
            "write one '='"
            if tokens.token == "=="
            else "operators are = != > >= < <= like ilike rlike in is null"
        )
        return tokens.error(f"{tokens.token!r} is not an operator", hint=hint)

    def allow(self, operator: str, allowed: tuple[str, ...], at: int, problem: str, hint: str = "") -> None:
        if operator not in allowed:
            hint = hint or ("compare with = < > instead" if operator.endswith("in") else "")
            raise self.tokens.error(problem, at, hint)

    # Numbers

    def sum(self, depth: int) -> Node | Operand:
        tokens = self.tokens
        start, left = tokens.column, self.product(depth)
        steps = 0
        while tokens.at_symbol("+", "-") or (tokens.kind == "number" and tokens.token[0] in "+-"):
            first = self.number_of(left, start)
            sign = tokens.token[0]
            if tokens.kind == "symbol":
                tokens.advance()
            else:  # "a -1": the sign is the operator
                tokens.end = tokens.column + 1
                tokens.advance()
            at = tokens.column
            left = Arithmetic(sign, first, self.number_of(self.product(depth), at))
            steps = self.counted(steps)
        return left

    def product(self, depth: int) -> Node | Operand:
        tokens = self.tokens
        start, left = tokens.column, self.factor(depth)
        while tokens.at_symbol("*", "/"):
            first, sign = self.number_of(left, start), tokens.token
            tokens.advance()
            at = tokens.column
            left = Arithmetic(sign, first, self.number_of(self.factor(depth), at))
            if _factors(left) > MAX_FACTORS:
                raise tokens.error(f"more than {MAX_FACTORS} numbers are multiplied", at)
        return left

    def counted(self, steps: int) -> int:
        if steps >= _MAX_DEPTH:
            raise self.tokens.error(f"more than {_MAX_DEPTH} numbers are reckoned with")
        return steps + 1

    def factor(self, depth: int) -> Node | Operand:
        tokens = self.tokens
        if depth > _MAX_DEPTH:
            raise tokens.error("it is nested too deeply")
        if tokens.kind == "number":
            return self.number()
        if tokens.word() in _INFINITE:
            tokens.advance()
            return math.inf
        if tokens.word() == "nan":
            raise tokens.error(
                "nothing equals nan", hint="runs with nan are found by: metrics.x != metrics.x"
            )
        if tokens.symbol("-"):
            at = tokens.column
            number = self.number_of(self.factor(depth + 1), at, reckoned=False)
            return -number if isinstance(number, int | float) else Arithmetic("-", 0, number)
        if tokens.symbol("("):
            inner = self.filter(depth + 1)
            if not tokens.symbol(")"):
                raise tokens.error("a ')' is missing")
            return inner
        return self.field()

    def number_of(self, found: Node | Operand, at: int, *, reckoned: bool = True) -> Operand:
        if not isinstance(found, Field | Arithmetic | int | float):
            raise self.tokens.error("a number is needed, this is a condition", at)
        if isinstance(found, int | float) and found and not SMALLEST <= abs(found) <= LARGEST and reckoned:
            raise self.tokens.error(f"numbers are reckoned with between {SMALLEST} and {LARGEST}", at)
        if isinstance(found, Field) and found.entity not in _NUMERIC:
            hint = "reckon with metrics and parameters" if self.fields.entities.get("metric") else ""
            raise self.tokens.error(f"{found.key!r} is not a number", at, hint)
        return found

    def number(self) -> int | float:
        tokens = self.tokens
        token = tokens.token
        value: int | float = int(token) if re.fullmatch(r"[+-]?\d{1,15}", token) else float(token)
        if math.isinf(value):
            raise tokens.error("the number is too large")
        tokens.advance()
        return value

    # Fields

    def field(self) -> Field:
        tokens, fields = self.tokens, self.fields
        start, name = tokens.column, tokens.token
        if tokens.kind == "quoted":
            tokens.advance()
            return self.attribute(unquoted(name), start)
        if tokens.kind != "word":
            raise self.no_field(name)
        tokens.advance()
        if name.lower() in AGGREGATES and "metrics" in fields.entities and tokens.symbol("("):
            inner_start = tokens.column
            inner = self.field()
            if inner.entity != "metric" or inner.aggregate != "last":
                raise tokens.error(f"{name.lower()}(…) is of a metric", inner_start)
            if not tokens.symbol(")"):
                raise tokens.error("a ')' is missing")
            return Field("metric", inner.key, name.lower())
        if not tokens.symbol("."):
            return self.attribute(name, start)
        entity = fields.entities.get(name)
        if entity is None:
            known = ", ".join(dict.fromkeys(f"{each}s." for each in fields.entities.values()))
            hint = nearest(name, fields.entities) or f"write one of: {known}"
            raise tokens.error(f"{name!r} is nothing {fields.thing} has", start, hint)
        start, key = tokens.column, self.key()
        if entity == "attribute":
            return self.attribute(key, start)
        if entity == "tag" and key in fields.tag_names:
            return Field("text", fields.tag_names[key])
        if entity == "dataset" and key not in DATASET_KEYS:
            hint = nearest(key, DATASET_KEYS) or f"one of: {', '.join(DATASET_KEYS)}"
            raise tokens.error(f"a dataset has no {key!r}", start, hint)
        if entity == "span" and not (key in SPAN_KEYS or key.removeprefix("attributes.") not in (key, "")):
            raise tokens.error(f"a span has no {key!r}", start, f"one of: {', '.join(SPAN_KEYS)}")
        return Field(entity, key)

    def no_field(self, name: str) -> InvalidInput:
        tokens = self.tokens
        behind = tokens.text[: tokens.column].rstrip()[-1:]
        what = "a number" if behind and behind in "<>=+-*/" else "a field"
        if tokens.kind == "end":
            return tokens.error(
                f"{what} is missing" + (", such as metrics.rmse" if what == "a field" else "")
            )
        return tokens.error(f"expected {what}, not {name!r}")

    def key(self) -> str:
        """A key after its entity: quoted, or words joined by dots without space."""
        tokens = self.tokens
        if tokens.kind == "quoted":
            key = unquoted(tokens.token)
            tokens.advance()
            return key
        if tokens.kind not in {"word", "number"}:
            raise tokens.error("a name is missing after the '.'")
        return tokens.dotted()

    def attribute(self, name: str, start: int) -> Field:
        found, fields = name.lower(), self.fields
        for entity, known in (("text", fields.texts), ("time", fields.times), ("number", fields.numbers)):
            if found in known:
                return Field(entity, known[found])
        if found in fields.lineage:
            return Field("lineage", found)
        groups = [f"{each}s.KEY" for each in ("metric", "param", "tag") if each in fields.entities.values()]
        hint = nearest(found, fields.attributes) or (
            f"write {', '.join(groups)}, or one of: {', '.join(fields.attributes)}"
        )
        raise self.tokens.error(f"{fields.thing} has no attribute {name!r}", start, hint)

    # Values that are not reckoned

    def values(self, field: Field, at: int) -> tuple[str, ...]:
        tokens = self.tokens
        if field.entity not in _TEXTS:
            raise tokens.error("'in' is for texts", at, "compare with = < > instead")
        if not tokens.symbol("("):
            raise tokens.error("'in' takes a list, such as ('a', 'b')")
        found = [self.string(field)]
        while tokens.symbol(",") and not tokens.at_symbol(")"):  # Python writes a tuple of one as ('a',)
            found.append(self.string(field))
            if len(found) > MAX_VALUES:
                raise tokens.error(f"a list has more than {MAX_VALUES} values")
        if not tokens.symbol(")"):
            raise tokens.error("a ')' is missing")
        return tuple(found)

    def string(self, field: Field) -> str:
        tokens = self.tokens
        if tokens.kind not in {"text", "quoted"} or tokens.token.startswith("`"):
            raise tokens.error(
                "a text in quotes is missing"
                if tokens.kind == "end"
                else f"expected a text in quotes, not {tokens.token!r}"
            )
        text = unquoted(tokens.token)
        tokens.advance()
        if field.entity != "text":
            return text
        text = text.lower() if field.key in self.fields.lower else text
        return self.fields.spelled.get(field.key, {}).get(text, text)

    def value(self, field: Field, operator: str, at: int) -> str | int:
        match field.entity:
            case "time":
                self.allow(operator, _COMPARE, at, _TIMES)
                return self.moment(field)
            case "lineage":
                self.allow(operator, _EQUAL, at, f"{field.key} is compared with = and !=")
                return self.string(field).removeprefix(f"{field.key}:")
            case _:
                if self.tokens.kind in {"text", "quoted"}:
                    hint = (
                        "write the number without quotes to compare numbers"
                        if field.entity in _EITHER
                        else ""
                    )
                    self.allow(
                        operator,
                        (*_EQUAL, *_LIKE),
                        at,
                        "texts are compared with = != like ilike rlike in",
                        hint,
                    )
                return self.pattern() if operator.endswith("rlike") else self.string(field)

    def pattern(self) -> str:
        """A regular expression in quotes, which stands as it is written whatever the field."""
        tokens, start, written = self.tokens, self.tokens.column, self.tokens.token
        pattern = self.string(_PATTERN)
        try:
            patterns.check(pattern)
        except patterns.PatternError as error:
            doubled = pattern.count(written[0], 0, error.at)
            raise tokens.error(
                str(error), start + 1 + error.at + doubled, "see: rlike in the search language"
            ) from None
        return pattern

    def moment(self, field: Field) -> int:
        """An ISO date or time in quotes; without a zone it is UTC."""
        tokens, start = self.tokens, self.tokens.column
        text = self.string(field)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise tokens.error(
                f"{text!r} is not a time", start, "write '2026-01-31' or '2026-01-31T12:00:00Z'"
            ) from None
        return micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    def millisecond(self, field: Field, operator: str, at: int) -> Node:
        """A time compared with milliseconds since 1970, as MLflow has them. Times are kept more exactly than that, and whoever
        was told a millisecond must find what began in it."""
        self.allow(operator, _COMPARE, at, _TIMES)
        number = self.number()
        begin = round(number * 1000)
        end = begin + 1000 if isinstance(number, int) else begin + 1
        match operator:
            case "<" | ">=":
                return Compare(field, operator, begin)
            case "<=" | ">":
                return Compare(field, "<" if operator == "<=" else ">=", end)
            case "=":
                return And((Compare(field, ">=", begin), Compare(field, "<", end)))
            case _:
                return Or((Compare(field, "<", begin), Compare(field, ">=", end)))


def _factors(operand: Operand) -> int:
    """How many numbers are multiplied with or divided by each other at most."""
    match operand:
        case Arithmetic("*" | "/", left, right):
            return _factors(left) + _factors(right)
        case Arithmetic(_, left, right):
            return max(_factors(left), _factors(right))
        case _:
            return 1


def _levels(found: Node | Operand) -> int:
    """How deep conditions lie within each other, and parentheses within sums."""
    match found:
        case And(parts) | Or(parts):
            return 1 + max(map(_levels, parts))
        case Not(part):
            return 1 + _levels(part)
        case Relation(left, _, right):
            return 1 + max(_levels(left), _levels(right))
        case Arithmetic(_, left, right):  # a chain to the left needs no parentheses
            return max(_levels(left), 1 + _levels(right))
        case _:
            return 1
