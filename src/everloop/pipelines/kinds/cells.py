"""The cells of a notebook: reading them, running them one after another, and keeping what they show.

Plain Python is run, without a kernel and without IPython, so the same notebook means the same everywhere. Of IPython's own
commands, those that only set up the screen are left out; the others are refused by name.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from everloop.errors import Failed, InvalidDefinition

PARAMETERS = "parameters"
"""The tag of the cell whose assignments are the notebook's parameters."""
INJECTED = "injected-parameters"
_WITHOUT_EFFECT = re.compile(r"\s*%(?:matplotlib|load_ext|autoreload|config|pylab)\b.*")
_COMMAND = re.compile(r"\s*(?:[%!][^\n]*|\?{1,2}\w[^\n]*|[\w.]+\?{1,2}\s*$)")

Json = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A cell of code. `number`: counted from 1 among those of code, as people see it when they run all of them."""

    number: int
    position: int
    text: str
    tags: frozenset[str]
    tree: ast.Module


@dataclass
class Notebook:
    """A notebook as it is stored, and its cells of code."""

    name: str
    content: Json
    cells: list[Cell] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters and their values as they are written."""
        found: dict[str, str] = {}
        for cell in self.cells:
            for node in cell.tree.body if PARAMETERS in cell.tags else ():
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [node.target]
                    if isinstance(node, ast.AnnAssign)
                    else []
                )
                value = getattr(node, "value", None)
                for each in targets:
                    if isinstance(each, ast.Name) and value is not None:
                        found[each.id] = ast.unparse(value)
        return found

    @property
    def text(self) -> str:
        """All cells as one Python text."""
        return "\n\n".join(cell.text for cell in self.cells)


def read_notebook(path: Path) -> Notebook:
    """Read a notebook. Raises InvalidDefinition with cell and line for what is no notebook or cannot be run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stored = content["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidDefinition(f"{path} is no notebook", hint="save it as .ipynb, format 4") from None
    notebook = Notebook(path.name, content)
    for position, each in enumerate(stored):
        if each.get("cell_type") == "code":
            number = len(notebook.cells) + 1
            text = _python(_text(each), f"{path.name}, cell {number}")
            tags = frozenset(each.get("metadata", {}).get("tags", ()))
            notebook.cells.append(
                Cell(number, position, text, tags, _parsed(text, f"{path.name}, cell {number}"))
            )
    return notebook


def stripped(content: bytes) -> bytes:
    """A notebook without what running it has left in it: outputs, counts, metadata but for tags.

    >>> cell = {"cell_type": "code", "source": ["1 + 1"], "outputs": [{}], "execution_count": 3, "metadata": {"b": 1}}
    >>> json.loads(stripped(json.dumps({"cells": [cell]}).encode()))["cells"]
    [{'cell_type': 'code', 'source': ['1 + 1'], 'outputs': [], 'execution_count': None, 'metadata': {}}]
    """
    notebook = json.loads(content)
    for each in notebook["cells"]:
        each["metadata"] = {key: value for key, value in each.get("metadata", {}).items() if key == "tags"}
        if each.get("cell_type") == "code":
            each.update(outputs=[], execution_count=None)
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


class Execution:
    """A notebook that is being run. `executed` is the notebook with what its cells have shown so far."""

    def __init__(self, notebook: Notebook, given: dict[str, Any]) -> None:
        self.executed: Json = json.loads(stripped(json.dumps(notebook.content).encode()))
        self._notebook, self._given = notebook, given
        self._shift = 0
        self._outputs: list[Json] = []
        self.names: dict[str, Any] = {"__name__": "__main__", "display": self._display}

    def run(self) -> dict[str, Any]:
        """Run all cells; returns the names they have left. Raises Failed with cell and line."""
        if self._given and not any(PARAMETERS in cell.tags for cell in self._notebook.cells):
            self._inject(0)
        for cell in self._notebook.cells:
            self._run(cell)
            if PARAMETERS in cell.tags and self._given:
                self._inject(cell.position + 1)
        return self.names

    def _inject(self, position: int) -> None:
        """Set what is given, and say so in a cell of its own."""
        self.names.update(self._given)
        lines = [f"{name} = {_short(value)}" for name, value in self._given.items()]
        cell: Json = {
            "cell_type": "code",
            "execution_count": None,
            "id": INJECTED,
            "metadata": {"tags": [INJECTED]},
            "outputs": [],
            "source": "\n".join(lines),
        }
        if self.executed.get("nbformat_minor", 0) < 5:
            del cell["id"]
        self.executed["cells"].insert(position + self._shift, cell)
        self._shift += 1

    def _run(self, cell: Cell) -> None:
        shown = self.executed["cells"][cell.position + self._shift]
        self._outputs = shown["outputs"]
        shown["execution_count"] = cell.number
        file = f"<{self._notebook.name}, cell {cell.number}>"
        linecache.cache[file] = (len(cell.text), None, cell.text.splitlines(keepends=True), file)
        body, last = list(cell.tree.body), None
        if body and isinstance(end := body[-1], ast.Expr):
            last = ast.Expression(end.value)
            body.pop()
        try:
            with _heard(self._say):
                exec(compile(ast.Module(body, []), file, "exec", dont_inherit=True), self.names)
                if last is not None:
                    value = eval(compile(last, file, "eval", dont_inherit=True), self.names)
                    if value is not None:
                        self._outputs.append(
                            _shown(value, "execute_result") | {"execution_count": cell.number}
                        )
                self._figures()
        except Exception as error:
            line = next(
                (
                    each.lineno
                    for each in reversed(traceback.extract_tb(error.__traceback__))
                    if each.filename == file
                ),
                1,
            )
            said = f"{type(error).__name__}: {error}"
            self._outputs.append(
                {
                    "output_type": "error",
                    "ename": type(error).__name__,
                    "evalue": str(error),
                    "traceback": traceback.format_exception(error)[1:],
                }
            )
            raise Failed(f"{self._notebook.name}, cell {cell.number}, line {line}: {said}") from error

    def _say(self, stream: str, text: str) -> None:
        before = self._outputs[-1] if self._outputs else {}
        if before.get("output_type") == "stream" and before["name"] == stream:
            before["text"] += text
        else:
            self._outputs.append({"output_type": "stream", "name": stream, "text": text})

    def _display(self, *values: Any) -> None:
        self._outputs += [_shown(each, "display_data") for each in values]

    def _figures(self) -> None:
        """Figures of matplotlib that a cell has drawn are shown and closed, as notebooks do."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            drawn = io.BytesIO()
            pyplot.figure(number).savefig(drawn, format="png")
            image = base64.b64encode(drawn.getvalue()).decode()
            self._outputs.append(
                {"output_type": "display_data", "metadata": {}, "data": {"image/png": image}}
            )
        pyplot.close("all")


class _Tee(io.TextIOBase):
    """Text goes where it went, and to `say`."""

    def __init__(self, stream: TextIO, name: str, say: Callable[[str, str], None]) -> None:
        self._stream, self._name, self._say = stream, name, say

    def write(self, text: str) -> int:
        self._say(self._name, text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def _heard(say: Callable[[str, str], None]) -> Iterator[None]:
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(out, "stdout", say), _Tee(err, "stderr", say)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def _shown(value: Any, kind: str) -> Json:
    """A value as a notebook shows it."""
    data: Json = {"text/plain": repr(value)}
    for name, mime in (
        ("_repr_html_", "text/html"),
        ("_repr_svg_", "image/svg+xml"),
        ("_repr_markdown_", "text/markdown"),
    ):
        method = getattr(type(value), name, None)
        found = method(value) if callable(method) else None
        if isinstance(found, str):
            data[mime] = found
    return {"output_type": kind, "metadata": {}, "data": data}


def _short(value: Any) -> str:
    text = repr(value)
    return (
        text
        if len(text) <= 200 and "\n" not in text and "<" not in text
        else f"...  # {type(value).__name__}"
    )


def _text(cell: Json) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _python(text: str, where: str) -> str:
    """The cell without commands of IPython that only set up the screen; any other is refused."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if _WITHOUT_EFFECT.fullmatch(line):
            lines[number] = ""
    kept = "\n".join(lines)
    try:
        ast.parse(kept)
    except SyntaxError:
        for number, line in enumerate(lines):
            if _COMMAND.fullmatch(line):
                raise InvalidDefinition(
                    f"{where}, line {number + 1}: '{line.strip()}' is a command of IPython, not Python",
                    hint="write it in Python: notebooks run as plain Python here",
                ) from None
    return kept


def _parsed(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise InvalidDefinition(f"{where}, line {error.lineno}: {error.msg}", hint="mend the cell") from None
