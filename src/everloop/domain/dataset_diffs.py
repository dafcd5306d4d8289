"""What differs between two dataset versions: files, then columns, then rows and cells, then distributions."""

from __future__ import annotations

from typing import Any

import msgspec

from everloop.domain.datasets import ColumnChange, Manifest
from everloop.domain.profiles import ProfileComparison


class Renamed(msgspec.Struct, frozen=True):
    """A file with the same content under another path."""

    before: str
    after: str


class FileDiff(msgspec.Struct, frozen=True):
    """Paths that are only in the second, only in the first, in both with other content, or renamed."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    renamed: list[Renamed]


class CellChange(msgspec.Struct, frozen=True):
    """A cell of a row that is on both sides."""

    column: str
    before: Any
    after: Any


class ChangedRow(msgspec.Struct, frozen=True):
    """A row that both have under one key, and its cells that differ."""

    key: dict[str, Any]
    cells: list[CellChange]


class RowSample(msgspec.Struct, frozen=True):
    """The first few rows of each kind, in the order of the key. Numbers that are none are told as text: ``NaN``, ``Infinity``."""

    added: list[dict[str, Any]] = []
    removed: list[dict[str, Any]] = []
    changed: list[ChangedRow] = []


class DatasetDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from version `first` to `second`; for two tables also columns and rows (None where either is no table).

    added, removed, changed, renamed: files. columns: those whose type differs or that only one has; `reordered` when the others
    stand in another order, which is no difference of rows.

    Rows are compared in the columns that both have. Missing values are values here: null equals null and NaN equals NaN, but not
    each other. Where a column's type changed, two kinds of numbers are compared as numbers, anything else by its text.

    - Without a key, rows are equal when all their cells are, and repeated rows count as often as they occur; a changed row is one
      removed and one added.
    - With a key, `rows_changed` counts keys on both sides with another cell, `changed_cells` how many rows changed in each
      column. A null in the key is a value like others. A key under which rows differ must not repeat on either side.

    rows_in_both: rows in files that both have, which were not read.
    distributions: what shifted in the columns that changed, where profiles were asked for or are there already.
    """

    first: str
    second: str
    added: list[str]
    removed: list[str]
    changed: list[str]
    renamed: list[Renamed] = []
    columns: list[ColumnChange] = []
    reordered: bool = False
    key: list[str] = []
    rows_added: int | None = None
    rows_removed: int | None = None
    rows_changed: int | None = None
    rows_in_both: int | None = None
    changed_cells: dict[str, int] = {}
    sample: RowSample = RowSample()
    distributions: ProfileComparison | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs, not even the names of files or the order of columns."""
        files = self.added or self.removed or self.changed or self.renamed
        rows = self.rows_added or self.rows_removed or self.rows_changed
        return not (files or self.columns or self.reordered or rows)


def _contents(manifest: Manifest) -> dict[str, tuple[str, bool]]:
    """What stands at each path: equal values, equal things."""
    contents = {file.path: (file.digest, file.executable) for file in manifest.files}
    contents |= {link.path: (f"-> {link.target}", False) for link in manifest.links}
    return contents | {f"{path}/": (f"{path}/", False) for path in manifest.folders}


def diff_files(first: Manifest, second: Manifest) -> FileDiff:
    """What differs by path and digest, whether a file may be run, and what links point to; nothing is read. The path of a folder
    with nothing in it ends in a slash.

    >>> from everloop.domain.datasets import FileEntry
    >>> a = Manifest.of([FileEntry("w", "5" * 64, 1), FileEntry("x", "1" * 64, 1), FileEntry("y", "2" * 64, 1)])
    >>> b = Manifest.of([FileEntry("v", "5" * 64, 1), FileEntry("y", "3" * 64, 1), FileEntry("z", "4" * 64, 1)])
    >>> diff_files(a, b)
    FileDiff(added=['z'], removed=['x'], changed=['y'], renamed=[Renamed(before='w', after='v')])
    """
    before, after = _contents(first), _contents(second)
    gone: dict[tuple[str, bool], list[str]] = {}
    for path, digest in before.items():
        if path not in after:
            gone.setdefault(digest, []).append(path)
    added, renamed = [], []
    for path, digest in after.items():
        if path in before:
            continue
        if gone.get(digest):
            renamed.append(Renamed(gone[digest].pop(0), path))
        else:
            added.append(path)
    return FileDiff(
        added=sorted(added),
        removed=sorted(path for paths in gone.values() for path in paths),
        changed=sorted(path for path, digest in after.items() if before.get(path, digest) != digest),
        renamed=renamed,
    )
