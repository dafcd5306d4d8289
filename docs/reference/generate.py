"""Writes the pages of the reference that come from the code: `python docs/reference/generate.py`.

A test compares the pages with what this would write, so they are never older than the code.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import everloop
from everloop.cli.main import cli
from everloop.governance.operations import Operation, operations_of
from everloop.workspace.workspace import ROOMS, room_class

HERE = Path(__file__).parent

NOTE = "<!-- Made by generate.py from the code; a test compares them. Edit the code, then run it again. -->\n"

ON_COMMANDS = """\
Every command takes `--json` and prints one JSON object then, and `--help`. `everloop --debug COMMAND` shows the
traceback of an error, `everloop --version` the version. [Exit codes and errors](errors.md) · [references](references.md)
"""

ON_PYTHON = """\
`import everloop as ev`. Names are imported when they are first used. Rooms are attributes of `ev.workspace()`, with the
[operations](operations.md) and the methods listed below them.
"""

ON_OPERATIONS = """\
An operation is a method of a room and, on a server, `POST /api/v1/<room>/<operation>` with its parameters as one JSON
object. `/openapi.json` describes parameters and results in full. Roles: `viewer` may read, `engineer` may read and
write, `owner` may do all.
"""

HANDLES = {
    "Run": "everloop.tracking.run:Run",
    "RunList": "everloop.tracking.frames:RunList",
    "Dataset": "everloop.data.dataset:Dataset",
    "ModelVersion": "everloop.registry.version:ModelVersion",
    "Step": "everloop.pipelines.steps:Step",
    "PredictionServer": "everloop.serving.process:PredictionServer",
}
"""Classes that a user meets as the answer of a call."""

RULES = ("decide", "enough", "verdict", "nearest", "from_dict")
"""Functions beside the declarations that Everloop itself decides by."""


def pages() -> dict[str, str]:
    """Each generated page by its file name."""
    return {
        "commands.md": _commands(),
        "python.md": _python(),
        "operations.md": _operations(),
        "../adr/README.md": _decisions(),
    }


# Commands


def _commands() -> str:
    parts = [
        NOTE,
        "# Commands\n",
        ON_COMMANDS,
    ]
    for path, command, context in walk(cli, "everloop", None):
        if command is cli:
            continue
        level = "#" * path.count(" ")
        parts.append(f"{level}# {path.removeprefix('everloop ')}\n")
        parts.append(_sentence(command.help or "") + "\n")
        if isinstance(command, click.Group):
            continue
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        parts.append(f"```text\n{usage}\n```\n")
        records = [
            record
            for parameter in command.params
            if isinstance(parameter, click.Option)
            and parameter.name not in ("help", "as_json", "debug")
            and not parameter.hidden
            and (record := parameter.get_help_record(context)) is not None
        ]
        if records:
            rows = [f"| `{names}` | {_cell(text)} |" for names, text in records]
            parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def walk(
    command: click.Command, path: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command below one, with its full name: groups before their members."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from walk(member, f"{path} {name}", context)


# Python


def _python() -> str:
    parts = [
        NOTE,
        "# Python\n",
        ON_PYTHON,
        "## Names\n",
    ]
    modules: list[tuple[str, ModuleType]] = []
    for name in sorted(set(everloop.__all__)):
        found = getattr(everloop, name)
        if isinstance(found, ModuleType) and name in everloop._NAMES and ":" in everloop._NAMES[name]:
            found = _at(everloop._NAMES[name])
        if isinstance(found, ModuleType):
            modules.append((name, found))
        elif isinstance(found, str):
            parts.append(f"**`ev.{name}`**: the version, as text.\n")
        else:
            parts.append(_entry(f"ev.{name}", found))
    for name, module in modules:
        parts.append(f"## ev.{name}\n")
        parts.append(_first(module) + "\n")
        for member, found in sorted(vars(module).items()):
            if member.startswith("_") or getattr(found, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(found) and not member.startswith(RULES):
                parts.append(_entry(f"ev.{name}.{member}", found))
            elif inspect.isclass(found) and issubclass(found, Exception):
                parts.append(f"**`ev.{name}.{member}`**: code `{found.code}`.\n")  # type: ignore[attr-defined]
    parts.append("# What calls give back\n")
    for name, place in HANDLES.items():
        kind = _at(place)
        parts.append(f"## {name}\n")
        parts.append(_first(kind) + "\n")
        parts += _members(kind)
    parts.append("# Rooms\n")
    parts.append("Methods of the rooms that are no operations: they run where the caller is.\n")
    for name in ROOMS:
        kind = room_class(name)
        skip = set(operations_of(kind))
        listed = _members(kind, skip=skip)
        if listed:
            parts.append(f"## ev.workspace().{name}\n")
            parts += listed
    return "\n".join(parts)


def _members(kind: type, skip: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    entries = []
    for member, found in vars(kind).items():
        if member.startswith("_") or member in skip:
            continue
        if isinstance(found, property):
            told = _first(found.fget)
            entries.append(f"**`.{member}`**" + (f": {told}" if told else "") + "\n")
        elif inspect.isfunction(found):
            entries.append(_entry(f".{member}", found, bound=True))
    return entries


def _entry(name: str, found: Any, *, bound: bool = False) -> str:
    return f"**`{name}{_signature(found, bound)}`**\n\n{_first(found)}\n".replace("\n\n\n", "\n")


def _signature(found: Any, bound: bool) -> str:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [
        each.replace(
            annotation=_Words(_type(each.annotation)) if each.annotation is not each.empty else each.empty,
            default=each.default if each.default is each.empty else _Words(_value(each.default)),
        )
        for each in signature.parameters.values()
    ]
    returns = signature.return_annotation
    shown = signature.replace(
        parameters=parameters[1:] if bound else parameters,
        return_annotation=returns if returns is signature.empty else _Words(_type(returns)),
    )
    return str(shown)


class _Words:
    """Shown in a signature as it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text.strip("'\""))


def _value(default: Any) -> str:
    text = repr(str(default) if isinstance(default, str) else default)
    return "…" if "<" in text else text


# Operations


def _operations() -> str:
    parts = [
        NOTE,
        "# Operations\n",
        ON_OPERATIONS,
    ]
    for name in ROOMS:
        parts.append(f"## {name}\n")
        rows = [
            f"| `{each}` | {described.permission} | {_parameters(described)} | {_cell(_sentence(described.doc))} |"
            for each, described in operations_of(room_class(name)).items()
        ]
        parts.append(
            "\n".join(["| operation | asks for | parameters | what it does |", "|---|---|---|---|", *rows])
            + "\n"
        )
    return "\n".join(parts)


def _parameters(described: Operation) -> str:
    return ", ".join(f"`{field}`" for field in described.request.__struct_fields__)


# Decisions


def _decisions() -> str:
    parts = [
        NOTE.replace(
            "generate.py from the code", "../reference/generate.py from the files beside it"
        ).replace("Edit the code, then run", "Write a decision, then run"),
        "# Decisions\n",
        "A decision is written once: context, decision, consequences. A later one supersedes it; none is edited afterwards.\n",
    ]
    for page in sorted((HERE.parent / "adr").glob("[0-9]*.md")):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        parts.append(f"- [{title}]({page.name})")
    return "\n".join(parts) + "\n"


# Words


def _at(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _first(found: Any) -> str:
    return _sentence(inspect.getdoc(found) or "")


def _sentence(text: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text).replace("\b", "").split("\n\n")[0].split()).replace("``", "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for file, content in pages().items():
        (HERE / file).write_text(content, encoding="utf-8")
