"""What differs from one version to another. Files that are equal by their digests are not read."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain import partitions
from everloop.domain.dataset_diffs import DatasetDiff, diff_files
from everloop.domain.datasets import FileEntry, diff_columns
from everloop.errors import InvalidInput
from everloop.governance.rooms import Room

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset
    from everloop.data.tables.file_contents import FileContents
    from everloop.domain.profiles import Profile, ProfileComparison

SAMPLE = 10
"""Rows of each kind that are shown."""


class Differences(Room):
    """Comparing versions, which happens where the caller is."""

    name = "data"

    if TYPE_CHECKING:  # of `Data`, which this is a part of

        @property
        def contents(self) -> FileContents: ...
        def dataset(self, reference: str) -> Dataset: ...
        def kept_profile(self, reference: str) -> Profile | None: ...
        def compare_profiles(
            self, first: str, second: str, columns: Sequence[str] | None = None
        ) -> ProfileComparison: ...

    def diff(
        self,
        first: str,
        second: str,
        key: Sequence[str] = (),
        *,
        sample: int = SAMPLE,
        distributions: bool | None = None,
    ) -> DatasetDiff:
        """What differs from `first` to `second`: files, columns, rows by `key` or by content, distributions of what changed.

        sample: rows of each kind that are shown. distributions: True makes the profiles they need, False leaves them out; when it
        is not said, they are told if both profiles are there. Raises InvalidInput when the key repeats where rows differ.
        """
        key = [key] if isinstance(key, str) else list(key)
        a, b = self.dataset(first), self.dataset(second)
        files = diff_files(a.manifest, b.manifest)
        result = DatasetDiff(
            first=a.reference,
            second=b.reference,
            added=files.added,
            removed=files.removed,
            changed=files.changed,
            renamed=files.renamed,
            key=key,
        )
        if a.rows is None or b.rows is None:
            if key:
                raise InvalidInput(
                    "rows can be compared by key when both versions are tables", hint="leave the key out"
                )
            return result
        return self._with_distributions(self._diff_tables(result, a, b, key, sample), a, b, distributions)

    def _diff_tables(
        self, result: DatasetDiff, a: "Dataset", b: "Dataset", key: Sequence[str], sample: int
    ) -> DatasetDiff:
        from everloop.data.differences.comparing import Tables, comparing
        from everloop.data.tables.scanning import scan

        names = [[column.name for column in each.schema] for each in (a, b)]
        shared = [name for name in names[0] if name in names[1]]
        if not shared:
            raise InvalidInput(f"{a.reference} and {b.reference} share no column")
        absent = [name for name in key if name not in shared]
        if absent:
            raise InvalidInput(
                f"both versions need the key column '{absent[0]}'",
                hint=f"shared columns are {', '.join(shared[:30])}",
            )
        result = msgspec.structs.replace(
            result,
            columns=diff_columns(a.schema, b.schema),
            reordered=shared != [name for name in names[1] if name in shared],
        )
        mine, theirs, both = apart(a.files(), b.files())
        kept = scan(self.contents, both) if both else None
        in_both = kept.count_rows() if kept is not None else 0
        if not (mine or theirs):
            return msgspec.structs.replace(
                result, rows_added=0, rows_removed=0, rows_changed=0, rows_in_both=in_both
            )
        first, second = (scan(self.contents, files) if files else None for files in (mine, theirs))
        with comparing(self.context.folder / "spill") as con:
            tables = Tables(con, first, second, kept)
            rows = tables.by_key(key, sample) if key else tables.by_content(sample)
        return msgspec.structs.replace(
            result,
            rows_added=rows.added,
            rows_removed=rows.removed,
            rows_changed=rows.changed,
            rows_in_both=in_both,
            changed_cells=rows.cells,
            sample=rows.sample,
        )

    def _with_distributions(
        self, found: DatasetDiff, a: "Dataset", b: "Dataset", asked: bool | None
    ) -> DatasetDiff:
        moved = found.rows_added or found.rows_removed
        columns = {column.name for column in a.schema} & {column.name for column in b.schema}
        changed: list[str] = sorted(columns if moved else found.changed_cells)
        there = asked or all(self.kept_profile(each.reference) for each in (a, b))
        if asked is False or not changed or not there:
            return found
        compared = self.compare_profiles(a.reference, b.reference, changed)
        return msgspec.structs.replace(found, distributions=compared)


def apart(
    first: Sequence[FileEntry], second: Sequence[FileEntry]
) -> tuple[list[FileEntry], list[FileEntry], list[FileEntry]]:
    """Files of the first alone, of the second alone, and those that both have, under whatever name: their rows are equal. Folders
    that spell columns (``month=1/``) belong to the rows.

    >>> january, february = FileEntry("01.csv", "1" * 64, 9), FileEntry("02.csv", "2" * 64, 9)
    >>> [len(files) for files in apart([january], [FileEntry("renamed.csv", "1" * 64, 9), february])]
    [0, 1, 1]
    """

    def content(file: FileEntry) -> Any:
        return file.digest, tuple(sorted(partitions.values_of(file.path).items()))

    left = Counter(map(content, second))
    mine, both = [], []
    for file in first:
        if left[content(file)]:
            left[content(file)] -= 1
            both.append(file)
        else:
            mine.append(file)
    theirs = []
    for file in second:
        if left[content(file)]:
            left[content(file)] -= 1
            theirs.append(file)
    return mine, theirs, both
