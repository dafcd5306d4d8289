"""Arithmetic that may be written in data: numbers, columns, ``+ - * / ** ( )``, nothing else. Never `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from everloop.domain.names import shown
from everloop.errors import InvalidInput, nearest

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}

_LONGEST = 500


def checked_expression(text: str, what: str = "the expression") -> ast.expr:
    """The parsed expression, or InvalidInput that names what is not allowed in it.

    >>> checked_expression("__import__('os')")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the expression "__import__('os')" uses more than arithmetic
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidInput(f"{what} {shown(text)} is not arithmetic", hint=_HINT) from None
    for node in ast.walk(tree):
        if not isinstance(
            node, ast.BinOp | ast.UnaryOp | ast.Name | ast.Constant | ast.operator | ast.unaryop | ast.Load
        ):
            raise InvalidInput(f"{what} {shown(text)} uses more than arithmetic", hint=_HINT)
        if isinstance(node, ast.Constant) and (
            isinstance(node.value, bool) or not isinstance(node.value, int | float)
        ):
            raise InvalidInput(f"{what} {shown(text)} uses more than arithmetic", hint=_HINT)
        if isinstance(node, ast.operator) and type(node) not in _BINARY:
            raise InvalidInput(f"{what} {shown(text)} uses more than arithmetic", hint=_HINT)
        if isinstance(node, ast.unaryop) and type(node) not in _UNARY:
            raise InvalidInput(f"{what} {shown(text)} uses more than arithmetic", hint=_HINT)
    return tree


def names_in(text: str) -> list[str]:
    """The names that an expression uses, in order. Raises InvalidInput as `checked_expression`.

    >>> names_in("(temp - low) / (high - low)")
    ['high', 'low', 'temp']
    """
    return sorted({node.id for node in ast.walk(checked_expression(text)) if isinstance(node, ast.Name)})


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression; `values` are numbers or arrays by name.

    >>> evaluate("(temp - 32) * 5 / 9", {"temp": 212})
    100.0
    """
    return _value(checked_expression(text), values)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return float(value) if isinstance(value, int | float) else value
        case ast.Name(id=name):
            if name not in values:
                raise InvalidInput(f"there is no column {shown(name)}", hint=nearest(name, values))
            return values[name]
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, values))
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY[type(sign)](_value(left, values), _value(right, values))
    raise InvalidInput("an expression uses more than arithmetic", hint=_HINT)


_HINT = "use numbers, names of columns and + - * / **, such as (temp - 32) * 5 / 9"
