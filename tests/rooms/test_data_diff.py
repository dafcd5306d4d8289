"""What differs between two versions: files, columns, rows by key and by content, cells, distributions."""

import json
import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.cli.main import main
from everloop.data.differences.comparing import Tables, comparing
from everloop.data.tables.scanning import connection
from everloop.domain.dataset_diffs import DatasetDiff, Renamed
from everloop.errors import InvalidInput
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


def added(workspace: Workspace, *tables: pa.Table, name: str = "t") -> None:
    for table in tables:
        workspace.data.add(table, name)


def diffed(workspace: LocalWorkspace, first: pa.Table, second: pa.Table, **asked: Any) -> DatasetDiff:
    added(workspace, first, second)
    return workspace.data.diff("t@v1", "t@v2", **asked)


class TestAnyWorkspace:
    """The same here and behind a server."""

    def test_rows_by_key_with_their_cells(self, any_workspace: Workspace) -> None:
        first = pa.table({"id": [1, 2, 3, 4], "delay": [5, 6, 7, 8], "carrier": ["AA", "UA", "DL", "B6"]})
        second = pa.table({"id": [5, 4, 3, 2], "delay": [1, 8, 70, 6], "carrier": ["AA", "B6", "XX", "UA"]})
        added(any_workspace, first, second)
        found = any_workspace.data.diff("t@v1", "t@v2", key=["id"])
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)
        assert found.changed_cells == {"delay": 1, "carrier": 1}
        assert found.sample.added == [{"id": 5, "delay": 1, "carrier": "AA"}]
        assert found.sample.removed == [{"id": 1, "delay": 5, "carrier": "AA"}]
        (row,) = found.sample.changed
        assert row.key == {"id": 3}
        assert [(cell.column, cell.before, cell.after) for cell in row.cells] == [
            ("delay", 7, 70),
            ("carrier", "DL", "XX"),
        ]

    def test_rows_by_content(self, any_workspace: Workspace) -> None:
        added(any_workspace, pa.table({"a": [1, 1, 2, 3]}), pa.table({"a": [3, 1, 4, 4]}))
        found = any_workspace.data.diff("t@v1", "t@v2")
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (2, 2, 0)
        assert (found.sample.added, found.sample.removed) == ([{"a": 4}], [{"a": 1}, {"a": 2}])
        assert not found.same


class TestFiles:
    def test_a_renamed_file_is_neither_added_nor_removed(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        folder = tmp_path / "d"
        folder.mkdir()
        for name, text in {"a.txt": "one", "b.txt": "two", "c.txt": "three"}.items():
            (folder / name).write_text(text)
        workspace.data.add(folder, "d")
        (folder / "a.txt").rename(folder / "z.txt")
        (folder / "b.txt").write_text("2")
        (folder / "c.txt").unlink()
        (folder / "n.txt").write_text("new")
        workspace.data.add(folder, "d")
        found = workspace.data.diff("d@v1", "d@v2")
        assert (found.added, found.removed, found.changed) == (["n.txt"], ["c.txt"], ["b.txt"])
        assert found.renamed == [Renamed("a.txt", "z.txt")]
        assert found.rows_added is None

    def test_equal_files_are_not_read(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for month in range(3):
            table = pa.table({"id": range(month * 10, month * 10 + 10)})
            workspace.data.add(table, "t", append=True, file=f"{month}.parquet")
        read: list[Any] = []
        by_content = Tables.by_content
        monkeypatch.setattr(
            Tables,
            "by_content",
            lambda self, n: read.append(self._one("select count(*) from second")) or by_content(self, n),
        )
        found = workspace.data.diff("t@v2", "t@v3")
        assert (found.rows_added, found.rows_in_both, read) == (10, 20, [(10,)])
        same = workspace.data.diff("t@v3", "t@v3", key=["id"])
        assert same.same
        assert (same.rows_added, same.rows_in_both) == (0, 30)

    def test_the_same_file_in_another_partition_is_other_rows(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        for version, month in enumerate((1, 2), 1):
            folder = tmp_path / str(version) / f"month={month}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"id": [1, 2]}), folder / "x.parquet")
            workspace.data.add(folder.parent, "t")
        found = workspace.data.diff("t@v1", "t@v2", key=["id"])
        assert (found.rows_changed, found.changed_cells) == (2, {"month": 2})


class TestDefined:
    def test_missing_values_equal_themselves_and_not_each_other(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"id": [1, 2, 3, 4], "x": pa.array([math.nan, None, math.nan, 0.0])})
        second = pa.table({"id": [1, 2, 3, 4], "x": pa.array([math.nan, None, None, -0.0])})
        found = diffed(workspace, first, second, key=["id"])
        assert found.rows_changed == 1
        (row,) = found.sample.changed
        assert [(cell.before, cell.after) for cell in row.cells] == [("NaN", None)]
        by_content = workspace.data.diff("t@v1", "t@v2")
        assert (by_content.rows_added, by_content.rows_removed) == (1, 1)

    def test_a_null_in_the_key_is_a_value(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": [1, None], "v": [1, 2]})
        second = pa.table({"k": [None, 2], "v": [3, 2]})
        found = diffed(workspace, first, second, key=["k"])
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 1, 1)

    def test_a_repeated_key_is_refused_where_rows_differ(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": [1, 1, 2], "v": [1, 2, 3]})
        with pytest.raises(InvalidInput, match=r"key k repeats where rows differ: k = 1"):
            diffed(workspace, first, pa.table({"k": [1, 1, 2], "v": [1, 9, 3]}), key=["k"])

    def test_a_key_that_repeats_alike_on_both_sides_is_no_difference(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": [1, 1, 2], "v": [1, 2, 3]})
        found = diffed(workspace, first, pa.table({"k": [2, 1, 1], "v": [4, 2, 1]}), key=["k"])
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (0, 0, 1)

    def test_a_key_that_repeats_in_a_file_both_have_is_refused_too(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(pa.table({"k": [1, 2]}), "t", file="a.parquet")
        workspace.data.add(pa.table({"k": [2]}), "t", append=True, file="b.parquet")
        with pytest.raises(InvalidInput, match="k = 2"):
            workspace.data.diff("t@v1", "t@v2", key=["k"])

    def test_reordered_columns_are_no_difference_of_rows(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"a": [1, 2], "b": ["x", "y"]})
        found = diffed(workspace, first, first.select(["b", "a"]), key=["a"])
        assert (found.columns, found.reordered) == ([], True)
        assert (found.rows_added, found.rows_removed, found.rows_changed) == (0, 0, 0)
        assert not found.same

    def test_a_column_whose_type_changed(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": [1, 2, 3], "n": pa.array([1, 2, 3], pa.int64()), "t": [1, 2, 3]})
        second = pa.table({"k": [1, 2, 3], "n": pa.array([1.0, 2.5, 3.0]), "t": ["1", "2", "drei"]})
        found = diffed(workspace, first, second, key=["k"])
        assert [(each.name, each.before, each.after) for each in found.columns] == [
            ("n", "int64", "double"),
            ("t", "int64", "string"),
        ]
        assert found.changed_cells == {"n": 1, "t": 1}

    def test_columns_that_only_one_has_change_no_row(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": [1], "old": [1]})
        found = diffed(workspace, first, pa.table({"k": [1], "new": [1]}), key=["k"])
        assert [each.name for each in found.columns] == ["old", "new"]
        assert found.rows_changed == 0

    def test_names_of_columns_are_only_names(self, workspace: LocalWorkspace) -> None:
        names = ["h", "g", "side", "often", "more", "c0", 'quo"te', "select", "k"]
        first = pa.table({name: [1, 2] for name in names})
        second = first.set_column(0, "h", pa.array([1, 3]))
        found = diffed(workspace, first, second, key=["often", "k"])
        assert found.changed_cells == {"h": 1}
        assert workspace.data.diff("t@v1", "t@v2").rows_added == 1

    def test_nested_and_timed_cells(self, workspace: LocalWorkspace) -> None:
        moment = datetime(2013, 1, 1, tzinfo=UTC)
        first = pa.table({"k": [1, 2], "l": [[1], [2]], "s": [{"a": 1}, {"a": 2}], "t": [moment, moment]})
        second = first.set_column(1, "l", pa.array([[1], [2, None]]))
        found = diffed(workspace, first, second, key=["k"])
        assert found.changed_cells == {"l": 1}
        at_noon = first.set_column(3, "t", pa.array([moment, moment.replace(hour=12)]))
        workspace.data.add(at_noon, "t")
        (row,) = workspace.data.diff("t@v1", "t@v3", key=["k"]).sample.changed
        assert row.cells[0].after == moment.replace(hour=12)
        workspace.data.add(first.slice(0, 1), "t")
        assert workspace.data.diff("t@v1", "t@v4", key=["k"]).sample.removed[0]["t"] == moment

    def test_numbers_of_16_bits_and_a_key_of_one_column(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"code": ["a", "b"], "half": pa.array([1.5, 2.5], pa.float16())})
        second = first.set_column(1, "half", pa.array([1.5, 2.0], pa.float16()))
        assert diffed(workspace, first, second, key="code").changed_cells == {"half": 1}
        assert workspace.data.diff("t@v1", "t@v2").rows_added == 1
        dataset = workspace.data.dataset("t@v2")
        assert dataset.relation().aggregate("sum(half)").fetchall() == [(3.5,)]
        assert dataset.to_arrow(filter="half < 2") == first.slice(0, 1)
        assert dataset.check([ev.check.in_range("half", 0, 1.9)]).checks[0].failed_rows == 1

    def test_no_rows(self, workspace: LocalWorkspace) -> None:
        full = pa.table({"k": [1, 2]})
        found = diffed(workspace, full.slice(0, 0), full, key=["k"])
        assert (found.rows_added, found.rows_removed) == (2, 0)

    def test_wrong_keys_are_told(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        first = pa.table({"k": [1], "old": [1]})
        added(workspace, first, pa.table({"k": [1], "new": [1]}))
        with pytest.raises(InvalidInput, match="both versions need the key column 'old'"):
            workspace.data.diff("t@v1", "t@v2", key=["old"])
        with pytest.raises(InvalidInput, match="share no column"):
            added(workspace, pa.table({"z": [1]}))
            workspace.data.diff("t@v1", "t@v3")
        (tmp_path / "notes.txt").write_text("hello")
        workspace.data.add(tmp_path / "notes.txt", "notes")
        with pytest.raises(InvalidInput, match="both versions are tables"):
            workspace.data.diff("notes@v1", "notes@v1", key=["k"])

    def test_what_does_not_fit_into_memory_leaves_nothing_behind(self, workspace: LocalWorkspace) -> None:
        diffed(workspace, pa.table({"k": [1]}), pa.table({"k": [2]}))
        assert list((workspace.folder / "spill").iterdir()) == []


class TestDistributions:
    def test_they_are_told_when_asked_for(self, workspace: LocalWorkspace) -> None:
        first = pa.table({"k": range(2000), "x": [float(n % 50) for n in range(2000)], "y": [1.0] * 2000})
        second = first.set_column(1, "x", pa.array([float(n % 50) + 40 for n in range(2000)]))
        assert diffed(workspace, first, second, key=["k"]).distributions is None
        found = workspace.data.diff("t@v1", "t@v2", key=["k"], distributions=True)
        assert found.distributions is not None
        assert {each.column for each in found.distributions.shifts} == {"x"}
        assert found.distributions.columns == ["x"]
        # The profiles are there now.
        assert workspace.data.diff("t@v1", "t@v2", key=["k"]).distributions == found.distributions
        assert workspace.data.diff("t@v1", "t@v2", key=["k"], distributions=False).distributions is None


values = st.none() | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf])
keys = st.none() | st.integers(0, 6)
tables = st.lists(st.tuples(keys, values, st.sampled_from(["a", "b", None])), max_size=8)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = pa.schema([("k", pa.int64()), ("x", pa.float64()), ("t", pa.string())])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose cells compare as a difference does: NaN equals NaN, and no null."""
    return tuple("NaN" if cell != cell else cell + 0.0 if isinstance(cell, float) else cell for cell in row)


@given(tables, tables, tables)
def test_content_differs_as_multisets(first: list[Any], second: list[Any], both: list[Any]) -> None:
    with connection() as con:
        found = Tables(con, table_of(first), table_of(second), table_of(both)).by_content(100)
    before, after = Counter(map(plain, first)), Counter(map(plain, second))
    assert (found.added, found.removed) == ((after - before).total(), (before - after).total())
    for rows, truth in ((found.sample.added, after - before), (found.sample.removed, before - after)):
        assert sorted(map(repr, map(plain, (tuple(row.values()) for row in rows)))) == sorted(
            repr(tuple("Infinity" if cell == math.inf else cell for cell in row)) for row in truth
        )


@given(tables, tables, tables)
def test_keys_differ_as_a_plain_comparison_says(first: list[Any], second: list[Any], both: list[Any]) -> None:
    def rows_by_key(rows: list[Any]) -> dict[Any, list[tuple[Any, ...]]]:
        found: dict[Any, list[tuple[Any, ...]]] = {}
        for row in map(plain, rows):
            found.setdefault(row[0], []).append(row)
        return {key: sorted(rows, key=repr) for key, rows in found.items()}

    before, after = rows_by_key(first + both), rows_by_key(second + both)
    differing = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    repeated = [key for key in differing if len(before.get(key, [])) > 1 or len(after.get(key, [])) > 1]
    with connection() as con:
        compared = Tables(con, table_of(first), table_of(second), table_of(both))
        if repeated:
            with pytest.raises(InvalidInput, match="repeats where rows differ"):
                compared.by_key(["k"], 100)
            return
        found = compared.by_key(["k"], 100)
    changed = [key for key in differing if key in before and key in after]
    assert found.added == sum(key not in before for key in differing)
    assert found.removed == sum(key not in after for key in differing)
    assert found.changed == len(changed)
    assert {row.key["k"] for row in found.sample.changed} == set(changed)
    cells = Counter(
        name
        for key in changed
        for name, was, now in zip(("k", "x", "t"), before[key][0], after[key][0], strict=True)
        if was != now
    )
    assert found.cells == dict(cells)
    assert found.cells == dict(Counter(cell.column for row in found.sample.changed for cell in row.cells))


def test_a_comparison_spills_instead_of_growing(tmp_path: Path) -> None:
    with comparing(tmp_path / "spill") as con:
        limit, folder = con.sql(
            "select current_setting('memory_limit'), current_setting('temp_directory')"
        ).fetchall()[0]
        assert limit == "1.8 GiB"
        assert Path(folder).parent == tmp_path / "spill"


class TestCommand:
    def test_the_keys_stand_and_the_cells_are_shown(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        workspace.project.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(workspace.project)
        added(
            workspace, pa.table({"k": [1, 2], "v": [1.0, math.nan]}), pa.table({"k": [1, 3], "v": [2.0, 1.0]})
        )
        assert main(["data", "diff", "t@v1", "t@v2", "--key", "k", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {
            "added",
            "removed",
            "changed",
            "rows_added",
            "rows_removed",
            "rows_changed",
            "columns",
        } <= set(found)
        assert found["sample"]["removed"] == [{"k": 2, "v": "NaN"}]
        assert main(["data", "diff", "t@v1", "t@v2", "--key", "k"]) == 0
        shown = capsys.readouterr().out
        assert "rows: 1 added, 1 removed, 1 changed" in shown
        assert "k = 1: v 1.0 → 2.0" in shown
        assert main(["data", "diff", "t@v1", "t@v2", "--distributions", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["distributions"]["first"] == "data:t@v1"
