"""Schemas of pandera (0.20 and newer, of pandas or polars) as checks. Pandera itself is not run, so a schema of pandas may judge
data that pandas could not hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from everloop.domain.checks import AnyCheck, Severity, Suite
from everloop.domain.checks import declaring as check
from everloop.errors import InvalidDefinition
from everloop.exchange.checks.translating import (
    CannotSay,
    Translation,
    column,
    exclusive,
    missing_values,
    of_type,
    pattern,
    value,
    values,
)

_CASTS = {
    "integer": "bigint",
    "floating": "double",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "date": "date",
}


def is_schema(found: object) -> bool:
    """Whether something is a schema of pandera's, by its look: pandera need not be here."""
    kinds = (found if isinstance(found, type) else type(found)).__mro__
    of_pandera = any(each.__module__.startswith("pandera.") for each in kinds)
    return of_pandera and (hasattr(found, "to_schema") or hasattr(found, "columns"))


def suite_of(schema: Any, dataset: str, name: str = "", columns: Sequence[str] | None = None) -> Suite:
    """The checks that a DataFrameSchema or DataFrameModel asks for.

    columns: of the table they are for, where it is known: then columns that may be absent, and patterns of names, are settled.
    What cannot be translated is among the checks, as one that does not pass.
    """
    if isinstance(schema, type):
        try:
            schema = schema.to_schema()  # type: ignore[attr-defined]
        except Exception as error:  # a model may be declared wrongly in ways only pandera knows
            raise InvalidDefinition(f"{schema.__name__} is no usable model: {error}") from error
    made = _Schema(schema, columns).translated()
    return made.suite(name or str(schema.name or dataset).replace(":", "_").replace("@", "_"), dataset)


class _Schema:
    def __init__(self, schema: Any, columns: Sequence[str] | None) -> None:
        self._schema = schema
        self._known = columns
        self._made = Translation()
        # Pandera takes rows that fail away, and goes on.
        self._severity: Severity = "quarantine" if getattr(schema, "drop_invalid_rows", False) else "fail"

    def translated(self) -> Translation:
        schema = self._schema
        expected: list[str] = []
        for key, each in schema.columns.items():
            expected += self._column(str(key), each)
        if schema.strict is True or schema.ordered:
            exact = schema.strict is True
            self._made.add(check.has_columns(*expected, exact=exact, ordered=bool(schema.ordered)))
        if schema.unique:
            listed = [schema.unique] if isinstance(schema.unique, str) else list(schema.unique)
            self._made.add(_no_copies(listed, nullable=True))
        for each in schema.checks or ():
            self._made.cannot(
                f"{_told(each)} of the table",
                repr(each),
                "a check of the whole frame is a function of Python",
                _severity(each, "fail"),
            )
        for attribute, reason in _UNKNOWN.items():
            if getattr(schema, attribute, None):
                self._made.cannot(attribute, repr(getattr(schema, attribute)), reason)
        return self._made

    def _column(self, key: str, each: Any) -> list[str]:
        """Translate a column, or all those whose name matches. Returns the names it takes to be there."""
        if each.regex or not each.required:
            what = "a pattern of names" if each.regex else "it may be absent"
            if self._known is None:
                self._made.cannot(key, repr(each), f"{what}, and the table's columns are not known here")
                return []
            names = [name for name in self._known if (re.match(key, name) if each.regex else name == key)]
            if not names and each.required:
                self._made.cannot(key, repr(each), "no column has such a name")
        else:
            names = [key]
        for name in names:
            self._checks(name, each)
        return names

    def _checks(self, name: str, each: Any) -> None:
        made, source = self._made, repr(each)
        if each.dtype is not None:
            coerced = each.coerce or self._schema.coerce
            made.attempt(
                f"{name}.has_type",
                f"{name}: {each.dtype}",
                partial(_typed, name, each.dtype, coerced, self._severity),
                "fail",
            )
        if not each.nullable:
            made.add(check.not_null(name, severity=self._severity))
        if each.unique:
            made.add(_no_copies([name], nullable=each.nullable, severity=self._severity))
        if getattr(each, "parsers", None) or getattr(each, "default", None) is not None:
            made.cannot(f"{name}.parsers", source, "it changes values before they are checked")
        for rule in each.checks:
            severity = _severity(rule, self._severity)
            made.attempt(
                f"{name}.{_told(rule)}",
                repr(rule),
                partial(_rule, name, rule, each.nullable, severity),
                severity,
            )


_UNKNOWN = {
    "index": "the index of a frame is not kept in a dataset",
    "parsers": "it changes the frame before it is checked",
    "add_missing_columns": "it adds columns before they are checked",
}
"""What a schema may ask that has no place here."""


def _severity(rule: Any, otherwise: Severity) -> Severity:
    return "warn" if getattr(rule, "raise_warning", False) else otherwise


def _told(rule: Any) -> str:
    name = str(getattr(rule, "name", None) or "check")
    return "check" if name == "<lambda>" else name


def _typed(name: str, dtype: Any, coerced: bool, severity: Severity) -> list[AnyCheck]:
    """The check of a type. With coercion pandera only asks whether the values can become that type."""
    said = str(dtype)
    plain = re.sub(r"^arrow_|\[pyarrow\]$|\[python\]$|\[pyarrow_numpy\]$", "", said)
    if plain in ("object", "Object", "Any"):
        return []
    if plain.lower().startswith(("category", "categorical", "enum")):
        categories = getattr(dtype, "categories", None)
        if categories is None:
            return []
        return [check.in_set(name, values(categories), severity=severity, name=f"{name}.categories")]
    zoned = re.fullmatch(r"datetime64\[\w+, .+\]|Datetime\(.*time_zone='.+'.*\)", plain)
    if coerced:
        return _castable(name, plain, bool(zoned), severity)
    if zoned:
        return [check.has_type(name, "instant")]
    return [of_type(name, re.sub(r"[\[(].*", "", plain))]


def _castable(name: str, plain: str, zoned: bool, severity: Severity) -> list[AnyCheck]:
    short = re.sub(r"[\[(].*", "", plain).lower()
    kind = "timestamp" if zoned or short.startswith(("datetime", "timestamp")) else short
    if kind in ("str", "string", "utf8"):
        return []
    family = "integer" if "int" in kind else "floating" if "float" in kind else kind.removesuffix("ean")
    cast = _CASTS.get("boolean" if family == "bool" else family)
    if cast is None:
        raise CannotSay(f"it is made to be {plain} before it is checked")
    here = column(name)
    condition = f"{here} is null or try_cast({here} as {cast}) is not null"
    return [check.expression(condition, name=f"{name} can be {plain}", severity=severity)]


def _no_copies(names: Sequence[str], *, nullable: bool, severity: Severity = "fail") -> AnyCheck:
    """No row twice. To pandera two missing values are equal, so where there may be any, it is asked so."""
    if not nullable:
        return check.unique(*names, severity=severity)
    listed = ", ".join(map(column, names))
    return check.query(
        f"select {listed}, count(*) as copies from rows group by all having copies > 1",
        name=f"{'+'.join(names)}.unique",
    )


def _rule(name: str, rule: Any, nullable: bool, severity: Severity) -> list[AnyCheck]:
    kind, said = _told(rule), dict(getattr(rule, "statistics", None) or {})
    if kind not in _RULES:
        raise CannotSay("it is a function of Python")
    if getattr(rule, "groupby", None):
        raise CannotSay("it is made by groups")
    if nullable and not getattr(rule, "ignore_na", True):
        raise CannotSay("it asks missing values too")
    return _RULES[kind](name, said, {"severity": severity, "name": f"{name}.{kind}"})


_Make = Callable[[str, dict[str, Any], dict[str, Any]], list[AnyCheck]]


def _range(name: str, said: dict[str, Any], shared: dict[str, Any]) -> list[AnyCheck]:
    ends = exclusive(not said.get("include_min", True), not said.get("include_max", True))
    return [
        check.in_range(name, value(said["min_value"]), value(said["max_value"]), exclusive=ends, **shared)
    ]


def _lengths(name: str, said: dict[str, Any], shared: dict[str, Any]) -> list[AnyCheck]:
    exactly = said.get("exact_value")
    low, high = (exactly, exactly) if exactly is not None else (said.get("min_value"), said.get("max_value"))
    return [check.length(name, low or 0, high, **shared)]


def _matching(name: str, given: str, where: Any, shared: dict[str, Any]) -> list[AnyCheck]:
    written, dialect = pattern(given)
    return [check.matches(name, written, where=where, dialect=dialect, **shared)]


def _text(given: Any) -> str:
    if hasattr(given, "pattern"):
        if given.flags & ~re.UNICODE:
            raise CannotSay("its pattern has flags")
        given = given.pattern
    if not isinstance(given, str):
        raise CannotSay(f"it looks for a {type(given).__name__}")
    return given


def _exactly(name: str, said: dict[str, Any], shared: dict[str, Any]) -> list[AnyCheck]:
    wanted = sorted(values(said["values"]), key=str)
    severity: check.TableSeverity = "warn" if shared["severity"] == "warn" else "fail"
    other = check.in_set(name, wanted, **shared)
    all_there = check.query(
        missing_values(name, wanted), name=f"{shared['name']}, all of them", severity=severity
    )
    return [other, all_there] if wanted else [other]


_RULES: dict[str, _Make] = {
    "greater_than": lambda n, s, k: [check.in_range(n, low=value(s["min_value"]), exclusive="low", **k)],
    "greater_than_or_equal_to": lambda n, s, k: [check.in_range(n, low=value(s["min_value"]), **k)],
    "less_than": lambda n, s, k: [check.in_range(n, high=value(s["max_value"]), exclusive="high", **k)],
    "less_than_or_equal_to": lambda n, s, k: [check.in_range(n, high=value(s["max_value"]), **k)],
    "in_range": _range,
    "equal_to": lambda n, s, k: [check.in_set(n, [value(s["value"])], **k)],
    "not_equal_to": lambda n, s, k: [check.in_set(n, [value(s["value"])], forbidden=True, **k)],
    "isin": lambda n, s, k: [check.in_set(n, values(s["allowed_values"]), **k)],
    "notin": lambda n, s, k: [check.in_set(n, values(s["forbidden_values"]), forbidden=True, **k)],
    "str_matches": lambda n, s, k: _matching(n, _text(s["pattern"]), "start", k),
    "str_contains": lambda n, s, k: _matching(n, _text(s["pattern"]), "anywhere", k),
    "str_startswith": lambda n, s, k: [check.matches(n, re.escape(_text(s["string"])), where="start", **k)],
    "str_endswith": lambda n, s, k: [
        check.matches(n, re.escape(_text(s["string"])) + r"\z", where="anywhere", **k)
    ],
    "str_length": _lengths,
    "unique_values_eq": _exactly,
}
"""Pandera's own checks by name: what is made of the column, what it says, and the name and severity."""
