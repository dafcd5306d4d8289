"""What the work tree of a project has otherwise than a commit, as changes that `impact` takes: functions, not lines."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from everloop.errors import InvalidInput, Unavailable
from everloop.pipelines.code.source import ModuleSource, Unit

TIMEOUT = 30.0


def edits(project: Path, against: str = "HEAD") -> list[str]:
    """The changes of a project's files since a commit, committed since or not: ``train.py::fit`` for each top-level name whose
    behaviour is not the same, the file's name where it is no Python, is new, is gone or cannot be read. Comments and
    formatting are no changes. Paths are relative to `project`. Raises InvalidInput outside a git work tree."""
    commit = _git(project, "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}").strip()
    if not commit:
        raise InvalidInput(f"'{against}' is not a commit of {project}", hint="name one that git knows")
    listed = _git(project, "diff", "--name-only", "--relative", "-z", commit, "--", ".")
    new = _git(project, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    found: dict[str, None] = {}
    for name in [*filter(None, listed.split("\0")), *filter(None, new.split("\0"))]:
        found |= dict.fromkeys(_of_file(project, commit, name))
    return list(found)


def _of_file(project: Path, commit: str, name: str) -> Iterator[str]:
    path = project / name
    if not name.endswith(".py") or not path.is_file():
        yield name
        return
    before = _git(project, "show", f"{commit}:./{name}", missing="")
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


def _git(project: Path, *arguments: str, missing: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except OSError as error:
        raise Unavailable(
            "git is not installed", hint="name what would change, such as train.py::fit"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"git took more than {TIMEOUT:.0f} s", hint="name what would change") from error
    if done.returncode and missing is not None:
        return missing
    if done.returncode == 128 or (done.returncode and "rev-parse" not in arguments):
        raise InvalidInput(
            f"{project} is not in a git work tree, so what changed is not known",
            hint="name what would change, such as train.py::fit",
        )
    return done.stdout
