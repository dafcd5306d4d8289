"""What differs between two runs: code, data, environment, parameters, metrics."""

from __future__ import annotations

from collections.abc import Mapping
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
    and machine; `packages`: what was installed; `seeds` are among the parameters' own list as ``seed NAME``."""

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
