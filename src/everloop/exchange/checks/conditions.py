"""Conditions of Great Expectations (`row_condition`): which rows a rule is about, as SQL, and checks of those rows only.

Read are the two ways of writing that are Python in form: what pandas' `query` takes (``miles > 3 and city == "Berlin"``) and
``col("miles") > 3``. As in pandas, a comparison with a missing value is false, and that it is unequal is true.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import Any

from everloop.data.tables.scanning import literal
from everloop.domain.checks import AnyCheck, kinds
from everloop.domain.checks import declaring as check
from everloop.exchange.checks.translating import CannotSay, column

PARSERS = ("pandas", "great_expectations", "great_expectations__experimental__")

_COMPARED = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "=", ast.NotEq: "<>"}
_AMONG = {ast.In: "in", ast.NotIn: "not in"}
_MISSING = {"isnull": "is null", "isna": "is null", "notnull": "is not null", "notna": "is not null"}
_MISSING |= {"notNull": "is not null", "isNull": "is null"}
_WORDS = {"&": "and", "|": "or", "~": "not"}


def condition(given: Any, parser: str) -> str:
    """A condition as SQL that is true or false of every row, never null. Raises CannotSay for what is not understood.

    >>> condition('miles > 3 & city == "Berlin"', "pandas")
    '(coalesce("miles" > 3, false) and coalesce("city" = \\'Berlin\\', false))'
    >>> condition('col("city").notNull()', "great_expectations")
    '"city" is not null'
    """
    if not isinstance(given, str) or parser not in PARSERS:
        raise CannotSay(f"its condition is written for {parser or 'another reader'}")
    try:
        tree = ast.parse(_as_python(given), mode="eval")
    except (SyntaxError, tokenize.TokenError):
        raise CannotSay(f"its condition is not understood: {given}") from None
    return _truth(tree.body, given)


def of_rows(made: AnyCheck, where: str) -> AnyCheck:
    """The same check, of the rows where a condition holds. Raises CannotSay for one that is not of single rows."""
    rule = f"case when {where} then ({_rule(made)}) end"
    return check.expression(rule, severity=made.severity, name=made.name, mostly=made.mostly)


def _as_python(given: str) -> str:
    """Quoted columns as calls, and pandas' signs as the words they stand for: in Python they would bind before comparisons."""
    named = re.sub(r"`([^`]+)`", lambda found: f"col({found[1]!r})", given.strip())
    tokens = tokenize.generate_tokens(io.StringIO(named).readline)
    words = [
        (tokenize.NAME, _WORDS[token.string])
        if token.type == tokenize.OP and token.string in _WORDS
        else token[:2]
        for token in tokens
    ]
    return tokenize.untokenize(words).strip()


def _truth(node: ast.expr, given: str) -> str:
    match node:
        case ast.BoolOp(op=op, values=parts):
            return "(" + f" {type(op).__name__.lower()} ".join(_truth(each, given) for each in parts) + ")"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"(not {_truth(operand, given)})"
        case ast.Compare(left=left, ops=signs, comparators=rights):
            lefts = [left, *rights[:-1]]
            found = [_compared(*each, given) for each in zip(lefts, signs, rights, strict=True)]
            return found[0] if len(found) == 1 else f"({' and '.join(found)})"
        case ast.Call(func=ast.Attribute(value=of, attr=name), args=[], keywords=[]) if name in _MISSING:
            return f"{_value(of, given)} {_MISSING[name]}"
    raise CannotSay(f"its condition is not understood: {given}")


def _compared(left: ast.expr, sign: ast.cmpop, right: ast.expr, given: str) -> str:
    if type(sign) in _AMONG and isinstance(right, ast.List | ast.Tuple | ast.Set) and right.elts:
        listed = ", ".join(_value(each, given) for each in right.elts)
        among = f"{_value(left, given)} {_AMONG[type(sign)]} ({listed})"
        return f"coalesce({among}, {'true' if isinstance(sign, ast.NotIn) else 'false'})"
    if type(sign) not in _COMPARED:
        raise CannotSay(f"its condition is not understood: {given}")
    compared = f"{_value(left, given)} {_COMPARED[type(sign)]} {_value(right, given)}"
    return f"coalesce({compared}, {'true' if isinstance(sign, ast.NotEq) else 'false'})"


def _value(node: ast.expr, given: str) -> str:
    match node:
        case ast.Name(id=name):
            return column(name)
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]):
            return column(name)
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return literal(-value)
    raise CannotSay(f"its condition is not understood: {given}")


def _rule(made: AnyCheck) -> str:
    """What a check asks of a row, as SQL; null where it does not look."""
    match made:
        case kinds.NotNull():
            return f"{column(made.column)} is not null"
        case kinds.InRange():
            low = ">" if made.exclusive in ("low", "both") else ">="
            high = "<" if made.exclusive in ("high", "both") else "<="
            ends = [(low, made.low), (high, made.high)]
            told = [f"{column(made.column)} {sign} {literal(end)}" for sign, end in ends if end is not None]
            return " and ".join(told)
        case kinds.InSet(values=values) if values:
            among = "not in" if made.forbidden else "in"
            return f"{column(made.column)} {among} ({', '.join(map(literal, values))})"
        case kinds.Matches(dialect="re2", where="anywhere"):
            found = f"regexp_matches({column(made.column)}::varchar, {literal(made.pattern)})"
            return f"not {found}" if made.forbidden else found
        case kinds.Length():
            length = f"length({column(made.column)}::varchar)"
            return f"{length} >= {made.low}" + (
                f" and {length} <= {made.high}" if made.high is not None else ""
            )
        case kinds.Expression():
            return f"\n{made.sql}\n"
    raise CannotSay("it is about some of the rows only, and looks at more than one of them at a time")
