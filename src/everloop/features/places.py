"""Where in a file a view is declared, for errors that are found later."""

from __future__ import annotations

import ast
import re

_NAMED = re.compile(r"(?:feature|on-demand) view '([^']+)'(?:[:,] feature '([^']+)')?")


def line_of(source: str, message: str) -> int | None:
    """The line of the view, or of its feature, that an error speaks of; None when it is not declared in this text.

    >>> source = '''
    ... weather = ev.feature_view("weather", features=[
    ...     "temp", ev.feature("cold", "tmp < 3")])
    ... '''
    >>> line_of(source, "feature view 'weather': feature 'cold': there is no tmp")
    3
    >>> line_of(source, "feature view 'weather': the event time is a date"), line_of(source, "feature view 'other': no")
    (2, None)
    """
    named = _NAMED.search(message)
    if named is None:
        return None
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        if _called(call) in ("feature_view", "on_demand_view") and _text(call.args[:1]) == named[1]:
            parts = (each for each in ast.walk(call) if isinstance(each, ast.expr))
            return next((each.lineno for each in parts if _declares(each, named[2])), call.lineno)
    return None


def _declares(node: ast.expr, feature: str | None) -> bool:
    if feature is None:
        return False
    if isinstance(node, ast.Call) and _called(node) in ("feature", "aggregate"):
        named = [each.value for each in node.keywords if each.arg == "name"] or node.args[:1]
        return _text(named) == feature
    return isinstance(node, ast.Constant) and node.value == feature


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(arguments: list[ast.expr]) -> object:
    return arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
