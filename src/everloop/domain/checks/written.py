"""Checks as text: TOML is read and written, Python is written. The functions of `declaring` define what both may say.

name = "flights"
dataset = "flights"

[[check]]
kind = "in_range"
column = "distance"
low = 1
high = 5000
severity = "quarantine"
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from everloop.domain.checks.declaring import KINDS
from everloop.domain.checks.declaring import checks as declare
from everloop.domain.checks.kinds import AnyCheck, Suite, Untranslated
from everloop.errors import EverloopError, InvalidDefinition, nearest

_TOP = ("name", "dataset", "check")


def read_toml(text: str, file: str) -> Suite:
    """The suite that a TOML file declares. Raises InvalidDefinition with the file and the line.

    >>> read_toml('name = "t"\\ndataset = "t"\\n[[check]]\\nkind = "not_null"\\ncolum = "id"', "t.toml")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: t.toml, line 5: not_null has no 'colum'
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidDefinition(f"{file}: {error}", hint="mend the file and try again") from None
    for name in given:
        if name not in _TOP:
            raise InvalidDefinition(
                f"{_place(file, text, None, name)}: a file of checks has no '{name}'",
                hint=nearest(name, _TOP) or "it has name, dataset and [[check]]",
            )
    for name in ("name", "dataset"):
        if not isinstance(given.get(name), str):
            raise InvalidDefinition(f"{file} has no {name}", hint=f'write {name} = "…" at its top')
    listed = given.get("check", [])
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidDefinition(
            f"{_place(file, text, None, 'check')}: check is no list", hint="write [[check]]"
        )
    read = [_read(each, file, text, number) for number, each in enumerate(listed)]
    try:
        return declare(given["name"], dataset=given["dataset"], checks=read)
    except EverloopError as error:
        raise InvalidDefinition(f"{file}: {error.message}", hint=error.hint) from None


def to_toml(suite: Suite) -> str:
    """The suite as a TOML file, which `read_toml` reads back. What could not be translated becomes a comment."""
    lines = [f"name = {_toml(suite.name)}", f"dataset = {_toml(suite.dataset)}"]
    for check in suite.checks:
        if isinstance(check, Untranslated):
            said = f"{check.name}: {check.reason}".splitlines()
            lines += ["", "# not translated: " + " ".join(said)]
            continue
        kind, given = parameters(check)
        lines += ["", "[[check]]", f"kind = {_toml(kind)}"]
        lines += [f"{name} = {_toml(value)}" for name, value in given.items()]
    return "\n".join(lines) + "\n"


def to_python(suite: Suite) -> str:
    """The suite as a definitions module."""
    lines = ["import everloop as ev", "", "check = ev.check", ""]
    variable = re.sub(r"\W|^(?=\d)", "_", suite.name)
    lines += [
        f"{variable} = ev.checks(",
        f"    {suite.name!r},",
        f"    dataset={suite.dataset!r},",
        "    checks=[",
    ]
    for check in suite.checks:
        if isinstance(check, Untranslated):
            lines.append("        # not translated: " + " ".join(f"{check.name}: {check.reason}".split()))
            continue
        kind, given = parameters(check)
        listed = [repr(each) for each in given.pop("columns", [])] if _takes_columns(kind) else []
        said = ", ".join([*listed, *(f"{name}={value!r}" for name, value in given.items())])
        lines.append(f"        check.{kind}({said}),")
    return "\n".join([*lines, "    ],", ")", ""])


def parameters(check: AnyCheck) -> tuple[str, dict[str, Any]]:
    """The function that declares a check, and the arguments that are not its defaults, as TOML can say them.

    >>> from everloop.domain.checks.declaring import freshness
    >>> parameters(freshness("time", "36h"))
    ('freshness', {'column': 'time', 'within': '1d43200s'})
    """
    kind = str(type(check).__struct_config__.tag)
    function, given = KINDS[kind], {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = getattr(check, name)
        if parameter.default is inspect.Parameter.empty or value != parameter.default:
            given[name] = _plain(value)
    unnamed = {name: value for name, value in given.items() if name != "name"}
    named_so = inspect.signature(function).parameters["name"].default is not inspect.Parameter.empty
    if named_so and _declared(kind, unnamed).name == check.name:
        given.pop("name", None)
    return kind, {name: value for name, value in given.items() if value is not None}


def _read(given: Mapping[str, Any], file: str, text: str, number: int) -> AnyCheck:
    kind = given.get("kind")
    if kind not in KINDS:
        said = f"there is no check of kind {kind!r}" if kind else "a check has no kind"
        raise InvalidDefinition(
            f"{_place(file, text, number, 'kind')}: {said}",
            hint=nearest(str(kind), KINDS) or f"kinds are {', '.join(KINDS)}",
        )
    known = inspect.signature(KINDS[kind]).parameters
    for name in given:
        if name not in known and name != "kind":
            raise InvalidDefinition(
                f"{_place(file, text, number, name)}: {kind} has no '{name}'",
                hint=nearest(name, known) or f"it has {', '.join(known)}",
            )
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise InvalidDefinition(
                f"{_place(file, text, number, None)}: {kind} needs {name}", hint=f"it has {', '.join(known)}"
            )
    try:
        check = _declared(kind, {name: value for name, value in given.items() if name != "kind"})
        return msgspec.convert(msgspec.to_builtins(check), type(check))
    except EverloopError as error:
        place = _place(file, text, number, None)
        raise InvalidDefinition(f"{place}: {error.message}", hint=error.hint) from None
    except msgspec.ValidationError as error:
        field = re.search(r"\$\.(\w+)", str(error))
        place = _place(file, text, number, field[1] if field else None)
        raise InvalidDefinition(f"{place}: {kind}: {error}") from None
    except (TypeError, AttributeError, ValueError) as error:  # a value of a type the function does not expect
        raise InvalidDefinition(f"{_place(file, text, number, None)}: {kind}: {error}") from None


def _declared(kind: str, given: Mapping[str, Any]) -> AnyCheck:
    arguments = dict(given)
    if not _takes_columns(kind):
        return KINDS[kind](**arguments)
    columns = arguments.pop("columns", ())
    return KINDS[kind](*([columns] if isinstance(columns, str) else columns), **arguments)


def _takes_columns(kind: str) -> bool:
    return any(
        each.kind is inspect.Parameter.VAR_POSITIONAL
        for each in inspect.signature(KINDS[kind]).parameters.values()
    )


def _place(file: str, text: str, check: int | None, name: str | None) -> str:
    """The file and the line of a key, in a check by its number or before all of them."""
    lines = text.splitlines()
    heads = [at for at, line in enumerate(lines) if re.match(r"\s*\[\[\s*check\s*\]\]", line)]
    if check is not None and check >= len(heads):  # written in another way, as one line perhaps
        return f"{file}, check {check + 1}"
    first = 0 if check is None else heads[check]
    last = next((head for head in heads if head > first), len(lines))
    key = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*[=.\]]""") if name else None
    at = next((at for at in range(first, last) if key and key.match(lines[at])), first)
    return f"{file}, line {at + 1}"


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        parts = ((value.days, "d"), (value.seconds, "s"), (value.microseconds, "us"))
        return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
    if isinstance(value, tuple):
        return list(value)
    return value


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case dict():
            return "{" + ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items()) + "}"
        case Iterable():
            return "[" + ", ".join(map(_toml, value)) + "]"
    raise TypeError(f"TOML has no {type(value).__name__}")
