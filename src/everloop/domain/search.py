"""The search language of runs: what people type into `runs list --where`, parsed, and evaluated the plain way.

    metrics.rmse < 1 and params.model = "tree"
    (params.lr > 0.01 or tags.stage in ('dev', 'test')) and not status = 'failed'
    min(metrics.loss) < .1 and start_time > '2026-01-31' and data = 'flights@v3'

    filter     := and ("or" and)*            and := not ("and" not)*            not := "not" not | "(" filter ")" | test
    test       := field operator value | field ["not"] "in" "(" value, … ")" | field "is" ["not"] "null"
    operator   := = | != | <> | > | >= | < | <= | [not] like | [not] ilike
    field      := [entity "."] key | ("first" | "last" | "min" | "max" | "mean" | "count") "(" metric ")"
    entity     := metric(s) | param(s), parameter(s) | tag(s) | attribute(s), attr, run          none: an attribute, data or model
    value      := number | 'text' | "text"                         a quote within a text is doubled: 'it''s'

It is a superset of MLflow's: every filter that MLflow takes means the same here. Keywords are written in any case; keys that
are not plain words are put in double quotes or backticks. A test of something that a run does not have is false, so
``!=`` does not find runs without the key (``is null`` does), and ``not`` turns it round. NaN is only ever ``!=``. ``like``
heeds case; ``ilike`` does not, for the letters A to Z.

`tracking.searching` compiles the same tree to SQL, and a property test compares the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from everloop.domain.runs import MetricSummary, param_number
from everloop.domain.times import micros
from everloop.errors import InvalidInput, nearest

TEXT_ATTRIBUTES: dict[str, str] = {
    "run_id": "run_id", "name": "name", "run_name": "name", "run name": "name", "user": "user", "user_id": "user",
    "status": "status", "source": "source", "version": "version", "commit": "version", "experiment": "experiment",
    "parent": "parent", "resumed_from": "resumed_from",
}  # fmt: skip
TIME_ATTRIBUTES: dict[str, str] = {
    "start_time": "start_time",
    "created": "start_time",
    "end_time": "end_time",
}
LINEAGE: dict[str, str] = {"data": "data", "model": "model", "feature": "feature"}
"""``data = 'flights@v3'``: runs that consumed or produced this version; a name without a version means any."""
AGGREGATES = ("first", "last", "min", "max", "mean", "count")

_ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
}
_COMPARE = ("=", "!=", ">", ">=", "<", "<=")
_EQUAL = ("=", "!=")
_LIKE = ("like", "ilike", "not like", "not ilike")
_MAX_DEPTH = 100
_MAX_LITERAL = 5_000


class Field(msgspec.Struct, frozen=True):
    """What is tested or sorted by. `entity`: metric, param, tag, text (attribute), time (attribute) or lineage. `aggregate`
    is used by metrics only."""

    entity: str
    key: str
    aggregate: str = "last"


class Compare(msgspec.Struct, frozen=True):
    """`value` is text or a number; times are microseconds since 1970."""

    field: Field
    operator: str
    value: str | int | float


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


Node = Compare | OneOf | IsNull | Not | And | Or


class Order(msgspec.Struct, frozen=True):
    field: Field
    descending: bool


class Searchable(Protocol):
    """A run as the evaluator sees it: texts, times and lineage by the names of `Field.key`."""

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
    def lineage(self) -> Mapping[str, frozenset[str]]: ...


def parse_filter(text: str) -> Node | None:
    """The tree of a filter; None for a blank one. Raises InvalidInput with a caret under the place.

    >>> parse_filter("metrics.rmse < 1")
    Compare(field=Field(entity='metric', key='rmse', aggregate='last'), operator='<', value=1)
    >>> parse_filter("metrics.rmse <")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the filter ends too early at column 15: a number is missing
      metrics.rmse <
                    ^
    """
    parser = _Parser(text, "filter")
    if parser.kind == "end":
        return None
    tree = parser.filter(0)
    parser.finish("'and', 'or' or the end")
    return tree


def parse_order(text: str) -> Order:
    """``metrics.rmse desc``: a field, and a direction that is ``asc`` when none is given.

    >>> parse_order("metrics.rmse DESC")
    Order(field=Field(entity='metric', key='rmse', aggregate='last'), descending=True)
    """
    parser = _Parser(text, "order")
    field = parser.field()
    if field.entity == "lineage":
        raise InvalidInput(
            f"runs cannot be sorted by {field.key}", hint="sort by a metric, parameter, tag or attribute"
        )
    descending = parser.word() == "desc"
    if descending or parser.word() == "asc":
        parser.advance()
    parser.finish("'asc' or 'desc'")
    return Order(field, descending)


def matches(node: Node, run: Searchable) -> bool:
    """Whether a run passes a filter: the meaning of the language, written as plainly as can be."""
    match node:
        case And(parts):
            return all(matches(part, run) for part in parts)
        case Or(parts):
            return any(matches(part, run) for part in parts)
        case Not(part):
            return not matches(part, run)
        case IsNull(field, negated):
            return _present(field, run) is negated
        case OneOf(field, values, negated):
            text = _text(field, run)
            return text is not None and (text in values) is not negated
        case Compare(field, operator, value):
            return _compare(field, operator, value, run)


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


def quoted(text: str) -> str:
    """`text` as a value of a filter, whatever is in it.

    >>> quoted("it's")
    "'it''s'"
    >>> parse_filter("name = " + quoted("it's")).value
    "it's"
    """
    return "'" + text.replace("'", "''") + "'"


def _unquoted(token: str) -> str:
    return token[1:-1] if token[0] == "`" else token[1:-1].replace(token[0] * 2, token[0])


_FOLDED = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _present(field: Field, run: Searchable) -> bool:
    match field.entity:
        case "metric":
            return field.key in run.metrics
        case "time":
            return run.times.get(field.key) is not None
        case "lineage":
            return bool(run.lineage.get(field.key))
        case _:
            return _text(field, run) is not None


def _text(field: Field, run: Searchable) -> str | None:
    match field.entity:
        case "param":
            return run.params.get(field.key)
        case "tag":
            return run.tags.get(field.key)
        case _:
            return run.texts.get(field.key)


def _compare(field: Field, operator: str, value: str | int | float, run: Searchable) -> bool:
    if field.entity == "lineage":
        found = run.lineage.get(field.key, frozenset())
        hit = any(each == value or each.partition("@")[0] == value for each in found)
        return hit if operator == "=" else bool(found) and not hit
    if field.entity == "metric":
        summary = run.metrics.get(field.key)
        return summary is not None and _ordered(operator, _aggregate(summary, field.aggregate), value)
    if field.entity == "time":
        moment = run.times.get(field.key)
        return moment is not None and _ordered(operator, micros(moment), value)
    text = _text(field, run)
    if text is None:
        return False
    if isinstance(value, str):
        if operator.endswith("like"):
            return like(value, text, ignore_case=operator.endswith("ilike")) is not operator.startswith("not")
        return (text == value) is (operator == "=")
    number = param_number(text)
    return number is not None and _ordered(operator, number, value)


def _aggregate(summary: MetricSummary, name: str) -> float:
    return float(summary.count) if name == "count" else summary.number(name)


def _ordered(operator: str, left: float, right: str | int | float) -> bool:
    assert not isinstance(right, str)
    return _OPERATORS[operator](left, right)


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<word>\w(?:[\w/\-]*\w)?)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<symbol>!=|<>|>=|<=|==|[=<>(),.])
    | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)


class _Parser:
    """Recursive descent over the tokens. `kind`, `token` and `column` (from 0) are those of the token that is next."""

    def __init__(self, text: str, what: str) -> None:
        self.text, self.what = text, what
        self.column = self.end = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> None:
        self.column = self.end
        found = _TOKEN.match(self.text, self.end)
        if found is not None and found.lastgroup == "space":
            self.column = found.end()
            found = _TOKEN.match(self.text, found.end())
        if found is None:
            self.kind, self.token, self.column, self.end = "end", "", len(self.text), len(self.text)
            return
        self.kind, self.token, self.end = str(found.lastgroup), found[0], found.end()
        if self.kind == "bad":
            if self.token in "'\"`":
                raise self.error("a quote is not closed")
            raise self.error(f"{self.token!r} means nothing here")
        if self.kind in {"text", "quoted"} and len(self.token) > _MAX_LITERAL:
            raise self.error(f"a text has more than {_MAX_LITERAL} characters")

    def word(self) -> str:
        """The next token in lower case if it is a bare word (a keyword, perhaps)."""
        return self.token.lower() if self.kind == "word" else ""

    def error(self, problem: str, column: int | None = None, hint: str = "") -> InvalidInput:
        at = self.column if column is None else column
        head = (
            f"the {self.what} ends too early" if at >= len(self.text) else f"the {self.what} cannot be read"
        )
        start = max(0, at - 60)
        line = self.text[start : at + 60].replace("\n", " ").replace("\t", " ").replace("\r", " ")
        return InvalidInput(
            f"{head} at column {at + 1}: {problem}\n  {line}\n  {' ' * (at - start)}^",
            hint=hint or "for example: metrics.rmse < 1 and params.model = 'tree'",
        )

    def finish(self, expected: str) -> None:
        if self.kind != "end":
            raise self.error(f"expected {expected}, not {self.token!r}")

    def symbol(self, wanted: str) -> bool:
        if self.kind == "symbol" and self.token == wanted:
            self.advance()
            return True
        return False

    def keyword(self, wanted: str) -> bool:
        if self.word() == wanted:
            self.advance()
            return True
        return False

    def filter(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self.error("it is nested too deeply")
        parts = [self.conjunction(depth)]
        while self.keyword("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def conjunction(self, depth: int) -> Node:
        parts = [self.negation(depth)]
        while self.keyword("and"):
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negation(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self.error("it is nested too deeply")
        if self.keyword("not"):
            return Not(self.negation(depth + 1))
        if self.symbol("("):
            inner = self.filter(depth + 1)
            if not self.symbol(")"):
                raise self.error("a ')' is missing")
            return inner
        return self.test()

    def field(self) -> Field:
        start, name = self.column, self.token
        if self.kind == "quoted":
            self.advance()
            return self.attribute(_unquoted(name), start)
        if self.kind != "word":
            raise self.error(
                "a field is missing, such as metrics.rmse"
                if self.kind == "end"
                else f"expected a field, not {name!r}"
            )
        self.advance()
        if name.lower() in AGGREGATES and self.symbol("("):
            inner_start = self.column
            inner = self.field()
            if inner.entity != "metric" or inner.aggregate != "last":
                raise self.error(f"{name.lower()}(…) is of a metric", inner_start)
            if not self.symbol(")"):
                raise self.error("a ')' is missing")
            return Field("metric", inner.key, name.lower())
        if not self.symbol("."):
            return self.attribute(name, start)
        entity = _ENTITIES.get(name)
        if entity is None:
            hint = nearest(name, _ENTITIES) or "write metrics., params., tags. or attributes."
            raise self.error(f"{name!r} is nothing a run has", start, hint)
        if entity == "attribute":
            start, name = self.column, self.key()
            return self.attribute(name, start)
        return Field(entity, self.key())

    def key(self) -> str:
        """A key after its entity: quoted, or words joined by dots without space."""
        if self.kind == "quoted":
            key = _unquoted(self.token)
            self.advance()
            return key
        if self.kind not in {"word", "number"}:
            raise self.error("a name is missing after the '.'")
        start, end = self.column, self.end
        while (found := _TOKEN.match(self.text, end)) and (
            found.lastgroup in {"word", "number"} or found[0] == "."
        ):
            end = found.end()
        self.end = end
        self.advance()
        return self.text[start:end]

    def attribute(self, name: str, start: int) -> Field:
        found = name.lower()
        if found in TEXT_ATTRIBUTES:
            return Field("text", TEXT_ATTRIBUTES[found])
        if found in TIME_ATTRIBUTES:
            return Field("time", TIME_ATTRIBUTES[found])
        if found in LINEAGE:
            return Field("lineage", found)
        known = [*TEXT_ATTRIBUTES, *TIME_ATTRIBUTES, *LINEAGE]
        hint = nearest(found, known) or "write metrics.KEY, params.KEY or tags.KEY, or one of: " + ", ".join(
            known
        )
        raise self.error(f"a run has no attribute {name!r}", start, hint)

    def test(self) -> Node:
        start = self.column
        field = self.field()
        if self.keyword("is"):
            negated = self.keyword("not")
            if not self.keyword("null"):
                raise self.error("expected 'null'")
            return IsNull(field, negated)
        at, operator = self.column, self.operator()
        if operator.endswith("in"):
            return OneOf(field, self.values(field, start, at), operator.startswith("not"))
        return Compare(field, operator, self.value(field, operator, at))

    def operator(self) -> str:
        if self.kind == "symbol" and self.token in (*_COMPARE, "<>"):
            operator = "!=" if self.token == "<>" else self.token
            self.advance()
            return operator
        negated = "not " if self.keyword("not") else ""
        for each in ("like", "ilike", "in"):
            if self.keyword(each):
                return negated + each
        if self.kind == "end":
            raise self.error("an operator is missing, such as =")
        hint = "write one '='" if self.token == "==" else "operators are = != > >= < <= like ilike in is null"
        raise self.error(f"{self.token!r} is not an operator", hint=hint)

    def values(self, field: Field, start: int, at: int) -> tuple[str, ...]:
        if field.entity not in {"param", "tag", "text"}:
            raise self.error("'in' is for texts", at, "compare with = < > instead")
        if not self.symbol("("):
            raise self.error("'in' takes a list, such as ('a', 'b')")
        found = [self.string(field)]
        while self.symbol(","):
            found.append(self.string(field))
        if not self.symbol(")"):
            raise self.error("a ')' is missing")
        return tuple(found)

    def string(self, field: Field) -> str:
        if self.kind not in {"text", "quoted"} or self.token.startswith("`"):
            raise self.error(
                "a text in quotes is missing"
                if self.kind == "end"
                else f"expected a text in quotes, not {self.token!r}"
            )
        text = _unquoted(self.token)
        self.advance()
        return text.lower() if field.key == "status" and field.entity == "text" else text

    def value(self, field: Field, operator: str, at: int) -> str | int | float:
        match field.entity:
            case "metric":
                self.allow(operator, _COMPARE, at, "a metric is a number")
                return self.number("a number")
            case "time":
                self.allow(operator, _COMPARE, at, "times are compared with = != > >= < <=")
                return self.moment()
            case "lineage":
                self.allow(operator, _EQUAL, at, f"{field.key} is compared with = and !=")
                return self.string(field).removeprefix(f"{field.key}:")
            case "param" if self.kind == "number":
                self.allow(operator, _COMPARE, at, "write the number in quotes to compare it as text")
                return self.number("a number")
            case _:
                if self.kind in {"text", "quoted"}:
                    hint = (
                        "write the number without quotes to compare numbers"
                        if field.entity == "param"
                        else ""
                    )
                    self.allow(
                        operator, (*_EQUAL, *_LIKE), at, "texts are compared with = != like ilike in", hint
                    )
                return self.string(field)

    def allow(self, operator: str, allowed: tuple[str, ...], at: int, problem: str, hint: str = "") -> None:
        if operator not in allowed:
            raise self.error(problem, at, hint)

    def number(self, wanted: str) -> int | float:
        if self.kind != "number":
            raise self.error(
                f"{wanted} is missing" if self.kind == "end" else f"expected {wanted}, not {self.token!r}"
            )
        token = self.token
        value: int | float = int(token) if re.fullmatch(r"[+-]?\d{1,15}", token) else float(token)
        if math.isinf(value):
            raise self.error("the number is too large")
        self.advance()
        return value

    def moment(self) -> int:
        """Milliseconds since 1970 as a number (as MLflow has it), or an ISO date or time in quotes; without a zone it is UTC."""
        if self.kind == "number":
            return round(self.number("a time") * 1000)
        start = self.column
        text = self.string(Field("time", ""))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self.error(
                f"{text!r} is not a time", start, "write '2026-01-31' or '2026-01-31T12:00:00Z'"
            ) from None
        return micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
