"""How one run differs from another: code as files and lines, data, environment, parameters, metrics.

Runs on the side of the caller, where the project's repository is: the code of a run is a commit and what was not committed.
"""

import difflib
import math
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from everloop.domain.differences import Change, CodeChange, FileChange, RunDifference, ValueChange, changes
from everloop.domain.runs import Captured, RunDetail
from everloop.errors import EverloopError
from everloop.tracking.capture import Code, Environment

if TYPE_CHECKING:
    from everloop.store.objects import Objects

Kind = TypeVar("Kind", Code, Environment)

LARGEST_DIFFED = 1_000_000
"""Bytes of a file whose lines are compared."""
GIT_SECONDS = 30

_MACHINE = ("python", "implementation", "platform", "cpu", "cpus")
_ATTRIBUTES = ("name", "experiment", "status", "user", "source")


class Committed:
    """The files of commits, from a repository that may not have them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, commit: str) -> bool:
        return self._git("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def changed(self, first: str, second: str) -> list[str]:
        """The paths that differ from one commit to another, below the top of the repository."""
        answer = self._git("diff", "--name-only", "--no-renames", "-z", first, second) or b""
        return [each for each in answer.decode(errors="surrogateescape").split("\0") if each]

    def read(self, commit: str, path: str) -> bytes | None:
        """A file as committed; None where the commit has no such file."""
        return self._git("cat-file", "blob", f"{commit}:{path}")

    def _git(self, *arguments: str) -> bytes | None:
        command = ["git", "-C", str(self._folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


class Tree:
    """The code of one run: a commit's files with the captured ones over them."""

    def __init__(self, code: Code | None, objects: "Objects", committed: Committed) -> None:
        self.commit = code.commit if code is not None else ""
        self.known = code is not None
        self._objects = objects
        self._committed = committed
        self._files = {each.path: each for each in code.files} if code is not None else {}
        self._deleted = set(code.deleted) if code is not None else set()

    @property
    def touched(self) -> set[str]:
        """Paths that are not as committed."""
        return self._files.keys() | self._deleted

    def digest(self, path: str) -> str | None:
        """Of a captured file; equal digests need not be read."""
        return self._files[path].digest if path in self._files else None

    def read(self, path: str) -> bytes | None:
        """A file's content; None where there is none."""
        if path in self._files:
            if self._files[path].size > LARGEST_DIFFED:
                return b"\0"  # as good as binary: its lines are not compared
            return self._objects.read(self._files[path].digest)
        if path in self._deleted or not self.commit:
            return None
        return self._committed.read(self.commit, path)


def difference(one: RunDetail, other: RunDetail, objects: "Objects", repository: Path) -> RunDifference:
    """What differs from `one` to `other`; `repository` is where commits may be found."""
    details = (one, other)
    committed = Committed(repository)
    before, after = (Tree(code_of(each.captured, objects), objects, committed) for each in details)
    places = [environment_of(each.captured, objects) for each in details]
    found = RunDifference(
        a=one.run.reference,
        b=other.run.reference,
        same=False,
        code=code_change(before, after, committed),
        data=changes(*map(_data, details)),
        environment=changes(*map(machine_facts, places)),
        packages=changes(*map(package_versions, places)),
        params=changes(*(each.run.params | _seeds(each) for each in details)),
        metrics=_metrics(one.run.metrics, other.run.metrics),
        tags=changes(one.run.tags, other.run.tags),
        attributes=changes(*({key: str(getattr(each.run, key)) for key in _ATTRIBUTES} for each in details)),
    )
    parts = (found.data, found.environment, found.packages, found.params, found.metrics)
    same_code = found.code.before == found.code.after and not found.code.files
    return msgspec.structs.replace(found, same=same_code and not any(parts))


def code_change(one: Tree, other: Tree, committed: Committed) -> CodeChange:
    """The files that differ between two captured trees."""
    note = ""
    paths = one.touched | other.touched
    if not (one.known and other.known):
        note = "the code of a run was not captured"
    elif one.commit != other.commit:
        absent = [each for each in (one.commit, other.commit) if each and not committed.has(each)]
        if absent:
            note = (
                f"commit {absent[0][:12]} is not in this repository: only what was not committed is compared"
            )
        elif one.commit and other.commit:
            paths |= set(committed.changed(one.commit, other.commit))
    files = [each for path in sorted(paths) if (each := _file_change(path, one, other)) is not None]
    return CodeChange(one.commit, other.commit, files, note)


def _file_change(path: str, one: Tree, other: Tree) -> FileChange | None:
    if one.digest(path) is not None and one.digest(path) == other.digest(path):
        return None
    before, after = one.read(path), other.read(path)
    if before == after and before != b"\0":
        return None
    change: Change = "added" if before is None else "removed" if after is None else "changed"
    texts = [_lines(before), _lines(after)]
    if None in texts:
        return FileChange(path, change, note="binary or large")
    old, new = (each or [] for each in texts)
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    return FileChange(path, change, "".join(_unified(old, new, names)))


def _unified(old: list[str], new: list[str], names: tuple[str, str]) -> Iterable[str]:
    for line in difflib.unified_diff(old, new, *names):
        yield line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def _lines(content: bytes | None) -> list[str] | None:
    """A file as lines; None where it is no text."""
    if content is None:
        return []
    if b"\0" in content or len(content) > LARGEST_DIFFED:
        return None
    try:
        return content.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None


def code_of(captured: Captured, objects: "Objects") -> Code | None:
    """The work tree as it was when a run began, where it was captured and is still kept."""
    return _stored(objects, captured.code, Code)


def environment_of(captured: Captured, objects: "Objects") -> Environment | None:
    """What a run ran on, where it was captured and is still kept."""
    return _stored(objects, captured.environment, Environment)


def _stored(objects: "Objects", digest: str, kind: type[Kind]) -> Kind | None:
    if not digest:
        return None
    try:
        return msgspec.json.decode(objects.read(digest), type=kind)
    except (
        EverloopError,
        msgspec.MsgspecError,
    ):  # the rest reads well without it; `audit verify` names the fault
        return None


def _data(detail: RunDetail) -> dict[str, str]:
    """The versions of all that went into a run, by name."""
    found: dict[str, list[str]] = {}
    for reference in detail.consumed:
        name, _, version = reference.removeprefix("data:").partition("@")
        found.setdefault(name, []).append(version)
    for each in detail.datasets:
        found.setdefault(each.name, []).append(each.digest)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def machine_facts(found: Environment | None) -> dict[str, str]:
    """An environment as names and values, but for its packages."""
    if found is None:
        return {}
    facts = {name: str(getattr(found, name)) for name in _MACHINE}
    return facts | found.threads | found.variables


def package_versions(found: Environment | None) -> dict[str, str]:
    if found is None:
        return {}
    return {name: version for name, _, version in (each.partition("==") for each in found.packages)}


def _seeds(detail: RunDetail) -> dict[str, str]:
    return {f"seed {name}": str(value) for name, value in detail.captured.seeds.items()}


def _metrics(before: Mapping[str, float], after: Mapping[str, float]) -> list[ValueChange]:
    """By text, so that NaN equals NaN; with the difference where there are two numbers."""
    found = changes(*({key: repr(value) for key, value in each.items()} for each in (before, after)))
    return [
        each
        if each.before is None or each.after is None or not math.isfinite(after[each.key] - before[each.key])
        else msgspec.structs.replace(each, delta=after[each.key] - before[each.key])
        for each in found
    ]
