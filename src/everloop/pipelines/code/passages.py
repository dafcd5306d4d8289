"""The text behind a component of a key, and how it differs between two states of its file."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path

from everloop.pipelines.code.source import ModuleSource, Unit

_HUNK = re.compile(r"^@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


def difference(file: str, part: str, before: bytes | None, after: bytes | None) -> str:
    """What became of a part of a file, as a unified diff with the file's line numbers; empty where its text is the same, or
    cannot be shown.

    part: what binds a name at the top level (``fit``, ``Net``), lies in it (``Net.forward``, ``fit defaults``), or ``""`` for the
    whole file. before, after: the file's content; None where it is not there, or not known. A notebook counts as its code.

    >>> print(difference("train.py", "fit", b"def fit(x):\\n    return x\\n", b"K = 2\\n\\ndef fit(x):\\n    return -x\\n"))
    --- a/train.py
    +++ b/train.py
    @@ -1,2 +3,2 @@
     def fit(x):
    -    return x
    +    return -x
    """
    if before is None and after is None:
        return ""
    try:
        was, now = (_passages(file, part, _text(file, content)) for content in (before, after))
    except (SyntaxError, ValueError, KeyError, TypeError):  # not Python, not a notebook, not text
        return ""
    nothing: Passage = (1, [])
    lines = [line for one, two in zip_longest(was, now, fillvalue=nothing) for line in _hunks(one, two)]
    if not lines:
        return ""
    old = "/dev/null" if before is None else f"a/{file}"
    new = "/dev/null" if after is None else f"b/{file}"
    return "\n".join([f"--- {old}", f"+++ {new}", *lines])


Passage = tuple[int, list[str]]
"""The number of the first line, and the lines."""


def _text(file: str, content: bytes | None) -> str:
    if content is None:
        return ""
    text = content.decode("utf-8-sig")
    if "\0" in text:
        raise ValueError("not a text")
    if Path(file).suffix == ".ipynb":
        cells = (each for each in json.loads(text)["cells"] if each["cell_type"] == "code")
        return "\n\n".join("".join(each["source"]) for each in cells)
    return text


def _passages(file: str, part: str, text: str) -> list[Passage]:
    lines = text.splitlines()
    if not part:
        return [(1, lines)] if lines else []
    module = ModuleSource(Path(file), "", "", text.encode())
    return [_passage(node, lines) for node in _nodes(module, part)]


def _nodes(module: ModuleSource, part: str) -> list[ast.stmt]:
    """The statements that a component's name stands for, in their order; the innermost that the name says."""
    units = [unit for bound in module.bindings.values() for unit in bound]
    stated = [unit for unit in (*units, *module.effects) if unit.label == part]
    if not stated:
        path = re.split(r" around | defaults$| partial$", part)[0].replace("<locals>.", "").split(".")
        inner = next(_inside(module.tree.body, path), None)
        if inner is not None and len(path) > 1:
            return [inner]
        stated = [unit for name in re.split(r", ", path[0]) for unit in module.bindings.get(name, [])]
    distinct: dict[int, Unit] = {id(unit.node): unit for unit in stated}
    return [unit.node for unit in sorted(distinct.values(), key=lambda unit: unit.line)]


def _inside(body: list[ast.stmt], path: list[str]) -> Iterator[ast.stmt]:
    """Functions and classes of a qualified name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name != path[0]:
                continue
            if len(path) == 1:
                yield node
            yield from _inside(node.body, path[1:]) if len(path) > 1 else ()
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _inside(getattr(node, field, []), path)


def _passage(node: ast.stmt, lines: list[str]) -> Passage:
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return first, lines[first - 1 : node.end_lineno]


def _hunks(one: Passage, two: Passage) -> Iterator[str]:
    """The hunks of a diff between two passages, numbered as in their files."""
    for line in list(unified_diff(one[1], two[1], lineterm=""))[2:]:
        found = _HUNK.match(line)
        if found is None:
            yield line
            continue
        old, new = int(found[1]) + one[0] - 1, int(found[3]) + two[0] - 1
        yield f"@@ -{old}{found[2] or ''} +{new}{found[4] or ''} @@"
