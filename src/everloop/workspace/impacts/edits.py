"""What the work tree of a project has otherwise than a commit, as changes that `impact` takes: functions, not lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everloop.errors import InvalidInput
from everloop.pipelines.code.source import ModuleSource, Unit
from everloop.tracking.worktree import git


def edits(project: Path, against: str = "HEAD") -> list[str]:
    """The changes of a project's files since a commit, committed since or not: ``train.py::fit`` for each top-level name whose
    behaviour is not the same, the file's name where it is no Python, is new, is gone or cannot be read. Comments and
    formatting are no changes. Paths are relative to `project`. Raises InvalidInput outside a git work tree."""
    if git(project, "rev-parse", "--is-inside-work-tree") is None:
        raise InvalidInput(
            f"{project} is not in a git work tree, so what changed is not known",
            hint="name what would change, such as train.py::fit",
        )
    commit = _git(project, "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}").strip()
    if not commit:
        raise InvalidInput(f"'{against}' is not a commit of {project}", hint="name one that git knows")
    places = ("--", ".", ":(exclude,glob)**/.everloop/**")
    listed = _git(project, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, *places)
    new = _git(project, "ls-files", "--others", "--exclude-standard", "-z", *places)
    found: dict[str, None] = {}
    for name in [*filter(None, listed.split("\0")), *filter(None, new.split("\0"))]:
        found |= dict.fromkeys(_of_file(project, commit, name))
    return list(found)


def _of_file(project: Path, commit: str, name: str) -> Iterator[str]:
    path = project / name
    if not name.endswith(".py") or not path.is_file():
        yield name
        return
    before = _git(project, "show", f"{commit}:./{name}")
    try:
        was, now = _units(path, before.encode()), _units(path, path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        yield name
        return
    if not before:
        yield name
        return
    for label in sorted(was.keys() | now.keys()):
        if was.get(label) != now.get(label):
            yield f"{name}::{label}" if label else name


def _units(path: Path, text: bytes) -> dict[str, tuple[str, ...]]:
    """Top-level name -> the digests of the statements that bind it; ``""`` for imports and statements that bind nothing."""
    module = ModuleSource(path, path.stem, "", text)
    found: dict[str, list[str]] = {}
    seen: set[int] = set()
    units: list[Unit] = [unit for units in module.bindings.values() for unit in units] + module.effects
    for unit in units:
        if id(unit) not in seen:
            seen.add(id(unit))
            found.setdefault(unit.label if unit.names or unit.changes else "", []).append(unit.digest)
    imports = sorted(
        f"{name} = {each.module} {each.level} {each.chain}"
        for name, imported in module.imports.items()
        for each in imported
    )
    imports += [f"* = {each.module} {each.level}" for each in module.stars]
    found.setdefault("", []).extend(imports)
    return {label: tuple(digests) for label, digests in found.items()}


def _git(project: Path, *arguments: str) -> str:
    answer = git(project, *arguments)
    return "" if answer is None else answer.decode(errors="surrogateescape")
