"""What differs between two runs: code, data, environment, parameters, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Change = Literal["added", "removed", "changed"]


class FileChange(msgspec.Struct, frozen=True):
    """A file that is not the same. `diff`: unified, empty where there is nothing to read, which `note` explains."""

    path: str
    change: Change
    diff: str = ""
    note: str = ""


class CodeChange(msgspec.Struct, frozen=True):
    """`before` and `after` are commits; `note` says what could not be compared."""

    before: str
    after: str
    files: list[FileChange]
    note: str = ""


class ValueChange(msgspec.Struct, frozen=True):
    """Something with a name that one run has and the other has not, or has otherwise. `delta`: of numbers, after minus before."""

    key: str
    before: str | None
    after: str | None
    delta: float | None = None

    @property
    def change(self) -> Change:
        return "added" if self.before is None else "removed" if self.after is None else "changed"


class RunDifference(msgspec.Struct, frozen=True):
    """How run `b` differs from run `a`; what is the same is left out. `data`: versions of datasets by name; `environment`: Python
    and machine; `packages`: what was installed; `seeds` are among the parameters' own list as ``seed NAME``. `cause`: what moved
    the metrics, in one sentence (`cause_of`)."""

    a: str
    b: str
    same: bool
    code: CodeChange
    data: list[ValueChange]
    environment: list[ValueChange]
    packages: list[ValueChange]
    params: list[ValueChange]
    metrics: list[ValueChange]
    tags: list[ValueChange]
    attributes: list[ValueChange]
    kind: str = "run"
    cause: str = ""


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[ValueChange]:
    """The entries that are not the same, by key.

    >>> changes({"lr": "0.1", "seed": "1"}, {"lr": "0.2", "seed": "1", "depth": "3"})
    [ValueChange(key='depth', before=None, after='3', delta=None), ValueChange(key='lr', before='0.1', after='0.2', delta=None)]
    """
    return [
        ValueChange(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def cause_of(found: RunDifference, code: Sequence[str] = ()) -> str:
    """What moved and what can have moved it, as one sentence. `code`: what changed in the code as words, where more is known than
    the names of files.

    >>> nothing = RunDifference("run:a", "run:b", False, CodeChange("c1", "c1", []), [], [], [], [], [], [], [])
    >>> moved = ValueChange("rmse", "0.31", "0.298", -0.012)
    >>> found = msgspec.structs.replace(nothing, metrics=[moved], data=[ValueChange("flights", "v3", "v4")])
    >>> cause_of(found)
    'rmse moved -0.012 (0.31 -> 0.298): data flights v3 -> v4; code, parameters, packages and machine same'
    >>> cause_of(msgspec.structs.replace(nothing, metrics=[moved]))[-49:]
    'same, so something in it is random and not seeded'
    >>> cause_of(nothing)
    'no metric moved: code, data, parameters, packages and machine same'
    """
    parts = {
        "code": list(code) or _changed_files(found.code),
        "data": [_became(each) for each in found.data],
        "parameters": [_became(each) for each in found.params],
        "packages": [_became(each) for each in found.packages],
        "machine": [_became(each) for each in found.environment],
    }
    other = [f"{name} {_few(words)}" for name, words in parts.items() if words]
    same = [name for name, words in parts.items() if not words]
    if found.code.note and not parts["code"]:
        same.remove("code")
        other.append(found.code.note)
    moved = sorted((each for each in found.metrics if each.delta), key=_share, reverse=True)
    told = "no metric moved"
    if moved:
        first = moved[0]
        told = f"{first.key} moved {first.delta:+.4g} ({first.before} -> {first.after})"
        told += f", as did {len(moved) - 1} more" if len(moved) > 1 else ""
    told = f"{told}: {'; '.join([*other, f'{_and(same)} same'] if same else other)}"
    return f"{told}, so something in it is random and not seeded" if moved and not other else told


def _share(moved: ValueChange) -> float:
    """How far a number moved, as a share of what it was."""
    try:
        before = abs(float(moved.before or ""))
    except ValueError:
        before = 0.0
    return abs(moved.delta or 0.0) / before if before else abs(moved.delta or 0.0)


def _became(each: ValueChange) -> str:
    return f"{each.key} {each.before or 'none'} -> {each.after or 'none'}"


def _changed_files(code: CodeChange) -> list[str]:
    if code.files:
        return [f"{each.path} {each.change}" for each in code.files]
    return []


def _few(words: Sequence[str], most: int = 3) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
