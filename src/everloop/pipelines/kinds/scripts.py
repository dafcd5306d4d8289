"""The project's files that a command names, and those that they name in turn: all of them count for what the command does."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from everloop.domain.canonical import sha256
from everloop.domain.pipelines import Component
from everloop.errors import InvalidDefinition
from everloop.pipelines.code.described import Description
from everloop.pipelines.code.source import ModuleSource, read_module

_WORD = re.compile(r"[\w./+-]+")
_SHELL = frozenset({".sh", ".bash", ".zsh"})
LARGEST_SCRIPT = 1024 * 1024


def named_files(text: str, folders: list[Path]) -> dict[str, Path]:
    """Words of a command that are files in one of these folders, and those that shell scripts among them name, from there or from
    their own folder (``"$(dirname "$0")/rates.txt"``): path -> file."""
    found: dict[str, Path] = {}
    waiting = [(text, "")]
    while waiting:
        text, script = waiting.pop()
        for word in _WORD.findall(text):
            named = [word]
            if script:  # what stands before the first / may be the value of something
                named += [
                    os.path.join(os.path.dirname(script), each) for each in (word, word.partition("/")[2])
                ]
            for name in dict.fromkeys(os.path.normpath(each) for each in named if each):
                path = None if name in found or name.startswith(("/", "..")) else _existing(name, folders)
                if path is None:
                    continue
                found[name] = path
                if _is_shell(path):
                    waiting.append((path.read_text(encoding="utf-8", errors="replace"), name))
    return found


def describe_files(files: dict[str, Path], root: Path) -> Description:
    """What a command depends on through these files: Python is followed through its imports, anything else counts as it is."""
    components, modules = [], []
    for word, path in sorted(files.items()):
        if path.suffix == ".py":
            script = path.resolve()
            modules += list(with_those_beside(_module(script, script.stem, ""), script.parent))
        else:
            components.append(Component("script", word, sha256(path.read_bytes())))
    return Description(tuple(components), modules=tuple({each.path: each for each in modules}.values()))


def _existing(word: str, folders: list[Path]) -> Path | None:
    return next((folder / word for folder in folders if (folder / word).is_file()), None)


def _is_shell(path: Path) -> bool:
    if path.stat().st_size > LARGEST_SCRIPT:
        return False
    if path.suffix in _SHELL:
        return True
    with path.open("rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"sh" in first


def with_those_beside(module: ModuleSource, folder: Path) -> Iterator[ModuleSource]:
    """A Python text and the modules in its folder that it imports: to Python, that folder comes first."""
    waiting, seen = [module], {module.path}
    while waiting:
        module = waiting.pop()
        yield module
        for each in _imported(module):
            inner = folder / each.replace(".", "/")
            for beside in (inner.with_name(f"{inner.name}.py"), inner / "__init__.py"):
                if beside.is_file() and beside not in seen:
                    seen.add(beside)
                    package = each if beside.name == "__init__.py" else each.rpartition(".")[0]
                    waiting.append(_module(beside, each, package))


def imported_beside(script: Path) -> list[Path]:
    """The modules in a script's folder that it imports, and those that they import; none where it cannot be read."""
    try:
        found = list(with_those_beside(_module(script, script.stem, ""), script.parent))
    except (OSError, ValueError, InvalidDefinition):
        return []
    return [each.path for each in found if each.path != script]


def _module(path: Path, name: str, package: str) -> ModuleSource:
    try:
        return read_module(path, name, package)
    except SyntaxError as error:
        raise InvalidDefinition(f"{path}, line {error.lineno}: {error.msg}", hint="mend the file") from None


def _imported(module: ModuleSource) -> Iterator[str]:
    """Modules that a file imports anywhere, with the packages above them and what may be a module within them."""
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.resolve(node.level, node.module or "")
            names = [base, *(f"{base}.{each.name}".lstrip(".") for each in node.names)]
        for name in filter(None, names):
            parts = name.split(".")
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))
