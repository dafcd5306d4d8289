"""What translators of checks share: names that do not clash, values that JSON can hold, patterns of Python's dialect."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any, Literal

import msgspec

from everloop.domain.checks import AnyCheck, Severity, Suite, Untranslated, kinds
from everloop.domain.checks import declaring as check
from everloop.errors import EverloopError

Dialect = Literal["re2", "python"]

TYPES: dict[str, str | tuple[str, ...]] = {
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    **dict.fromkeys(("int", "integer", "bigint", "integertype", "longtype"), "integer"),
    **dict.fromkeys(("float64", "double", "doubletype"), "double"),
    **dict.fromkeys(("float32", "floattype", "real"), "float"),
    "float": "floating",
    **dict.fromkeys(("decimal", "numeric"), "decimal"),
    **dict.fromkeys(
        ("str", "string", "varchar", "text", "utf8", "large_string", "stringtype", "char"), "text"
    ),
    **dict.fromkeys(("bool", "boolean", "booleantype"), "boolean"),
    **dict.fromkeys(("date", "date32", "datetype"), "date"),
    **dict.fromkeys(
        ("datetime64", "datetime", "timestamp"),
        ("timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]"),
    ),
}
"""Names of types in pandas, polars, Arrow, Spark and SQL, in small letters, as what `has_type` knows."""


class CannotSay(EverloopError):
    """A rule that our checks cannot express; the message says why."""


class Translation:
    """Checks as they are found, each with a name of its own."""

    def __init__(self) -> None:
        self.checks: list[AnyCheck] = []
        self._names: set[str] = set()

    def add(self, made: AnyCheck) -> None:
        """Keep a check; one whose name is taken gets a number."""
        name, number = made.name, 2
        while name in self._names:
            name, number = f"{made.name} ({number})", number + 1
        self._names.add(name)
        self.checks.append(msgspec.structs.replace(made, name=name))

    def cannot(self, name: str, source: str, reason: str, severity: Severity = "fail") -> None:
        """Keep a rule as one that nobody has looked at."""
        self.add(Untranslated(name=name, severity=severity, source=source[:2_000], reason=reason))

    def attempt(
        self, name: str, source: str, make: Callable[[], Iterable[AnyCheck]], severity: Severity
    ) -> None:
        """The checks that `make` makes of one rule, or none of them when it cannot."""
        try:
            made = list(make())
        except EverloopError as error:
            self.cannot(name, source, error.message, severity)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:  # not of the form that the other tool writes
            self.cannot(name, source, f"it is not understood ({type(error).__name__}: {error})", severity)
        else:
            for each in made:
                self.add(each)

    def suite(self, name: str, dataset: str) -> Suite:
        return check.checks(name, dataset=dataset, checks=self.checks)


def of_type(column: str, name: str, severity: Severity = "fail") -> kinds.HasType:
    """A check of a type by its name elsewhere. Raises CannotSay for one that is not known."""
    known = TYPES.get(name.lower())
    if known is None:
        raise CannotSay(f"the type {name} has no counterpart")
    return check.has_type(column, known, severity="warn" if severity == "warn" else "fail")


def value(given: Any) -> Any:
    """A value as one of ours: a number, text, or an instant as text. Raises CannotSay for any other."""
    if hasattr(given, "item") and not isinstance(given, bool | int | float | str):  # of numpy
        given = given.item()
    if isinstance(given, datetime):
        return given.isoformat(sep=" ")
    if isinstance(given, date):
        return given.isoformat()
    if isinstance(given, float) and math.isnan(given):
        raise CannotSay("it compares with NaN")
    if given is None or isinstance(given, bool | int | float | str):
        return given
    raise CannotSay(f"it compares with a {type(given).__name__}")


def values(given: Iterable[Any]) -> list[Any]:
    """The values of a set that are there; a missing one among them allows what is never looked at anyway."""
    return [
        value(each)
        for each in given
        if not (each is None or (isinstance(each, float) and math.isnan(each)) or str(each) == "<NA>")
    ]


def pattern(given: str) -> tuple[str, Dialect]:
    """A regular expression of Python's for RE2 where both understand the same, else for Python, which is slower.

    Python's classes such as ``\\d`` know all of Unicode and RE2's do not, and Python's ``$`` also stands before a line end
    that ends the text.

    >>> pattern("^[A-Z]{2}[0-9]+$")
    ('^[A-Z]{2}[0-9]+(?:\\\\n?\\\\z)', 're2')
    >>> pattern(r"\\d+"), pattern("a(?=b)")
    (('\\\\d+', 'python'), ('a(?=b)', 'python'))
    """
    if _PORTABLE.fullmatch(given) is None or re.search(r"\[\[|\[:|\{,|\{\d*,?\d{4}|[*+?}]\+", given):
        return given, "python"
    return (
        (given[:-1] + r"(?:\n?\z)", "re2")
        if given.endswith("$") and not given.endswith(r"\$")
        else (given, "re2")
    )


_PUNCTUATION = r"\\[.\-+*?()\[\]{}|^$/ _@:,#%&=!~'\"<>;`]"
_CLASS = rf"\[\^?(?:{_PUNCTUATION}|[^\]\[\\])+\]"
_PORTABLE = re.compile(rf"\^?(?:{_PUNCTUATION}|{_CLASS}|\(\?:|\((?!\?)|[^\\\[\](^$]|\])*\$?", re.ASCII)
"""Patterns of letters, escaped punctuation, classes, groups and repetitions: the same in both dialects."""


def exclusive(low: bool, high: bool) -> kinds.Exclusive:
    """Which limits do not belong to a range."""
    if low:
        return "both" if high else "low"
    return "high" if high else "none"


def text(sql: Any) -> str:
    """A value as an SQL literal."""
    if sql is None:
        return "null"
    if isinstance(sql, bool | int | float):
        return str(sql).lower() if isinstance(sql, bool) else repr(sql)
    return "'" + str(sql).replace("'", "''") + "'"


def column(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def missing_values(name: str, wanted: Iterable[Any]) -> str:
    """The query for values that do not occur in a column and should."""
    listed = ", ".join(f"({text(each)})" for each in wanted)
    return (
        f"select v as missing from (values {listed}) as t(v)"
        f" where v not in (select {column(name)} from rows where {column(name)} is not null)"
    )
