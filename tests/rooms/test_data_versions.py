"""Versions of datasets as a user meets them: added, appended, read back, compared, removed."""

import os
import socket
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

import everloop as ev
from everloop.data.incoming import adding
from everloop.data.incoming.folders import Found
from everloop.domain.consumption import collecting
from everloop.errors import Conflict, Corrupted, InvalidInput, NotFound
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


def months(first: int, count: int = 1, rows: int = 100) -> pa.Table:
    numbers = list(range(first * rows, (first + count) * rows))
    return pa.table({"id": numbers, "month": [n // rows for n in numbers], "delay": [n / 7 for n in numbers]})


def event_actions(workspace: Workspace) -> list[str]:
    return [event.action for event in workspace.governance.log(limit=1000)]


class TestAnyWorkspace:
    """The same here and behind a server."""

    def test_a_table_comes_back_as_it_was(self, any_workspace: Workspace) -> None:
        added = any_workspace.data.add(months(0), "flights", message="January")
        assert (added.reference, added.rows, added.files, added.unchanged) == (
            "data:flights@v1",
            100,
            1,
            False,
        )
        assert [column.name for column in added.columns] == ["id", "month", "delay"]
        assert any_workspace.data.dataset("flights").to_arrow().equals(months(0))
        assert any_workspace.data.dataset("data:flights@v1").record.message == "January"

    def test_appending_keeps_what_was_there(self, any_workspace: Workspace) -> None:
        any_workspace.data.add(months(0), "flights")
        added = any_workspace.data.add(months(1), "flights", append=True)
        assert (added.reference, added.rows, added.files, added.parent) == (
            "data:flights@v2",
            200,
            2,
            "data:flights@v1",
        )
        assert any_workspace.data.dataset("flights").to_arrow().equals(months(0, 2).combine_chunks())
        assert any_workspace.data.dataset("flights@v1").rows == 100
        assert [each.reference for each in any_workspace.data.log("flights")] == [
            "data:flights@v2",
            "data:flights@v1",
        ]

    def test_an_append_has_the_columns_of_the_dataset(self, any_workspace: Workspace, tmp_path: Path) -> None:
        def appended(table: pa.Table, name: str = "t") -> list[dict[str, Any]]:
            any_workspace.data.add(table, name, append=True)
            rows: list[dict[str, Any]] = any_workspace.data.dataset(name).to_arrow().to_pylist()
            return rows

        first = {"k": ["a"], "x": [1.5], "n": [1]}
        any_workspace.data.add(pa.table(first), "t")
        # What holds less is kept in the types there are, and the content is what it would be in these.
        fits = pa.table({"n": pa.array([2], pa.int8()), "k": pa.array(["b"]).dictionary_encode(), "x": [2]})
        assert appended(fits)[1] == {"k": "b", "x": 2.0, "n": 2}
        assert appended(pa.table({"k": ["c"], "x": pa.nulls(1), "n": [3]}))[2]["x"] is None
        whole = pa.table({"k": ["c", "a", "b"], "x": [None, 1.5, 2.0], "n": [3, 1, 2]})
        added = any_workspace.data.add(whole, "whole")
        assert any_workspace.data.dataset("t").record.content == added.content
        for wrong, told in (
            ({**first, "n": [1.5]}, "n: int64 → double"),
            ({**first, "x": [2**53 + 1]}, "x: double → int64"),
            ({**first, "k": [1]}, "k: string → int64"),
            ({**first, "z": [1]}, "z: absent → int64"),
            ({"k": ["a"], "n": [1]}, "x: double → absent"),
        ):
            with pytest.raises(InvalidInput, match=told):
                appended(pa.table(wrong))
        assert any_workspace.data.dataset("t").record.version == 3
        # A table on top of a file of the user's: kept in another format, and read as one.
        (tmp_path / "a.csv").write_text("k,x,n\na,1.5,1\n")
        any_workspace.data.add(tmp_path / "a.csv", "csv")
        assert appended(fits, "csv") == [
            first_row := {"k": "a", "x": 1.5, "n": 1},
            {"k": "b", "x": 2.0, "n": 2},
        ]
        with duckdb.connect() as con:
            assert len(any_workspace.data.dataset("csv").relation(con).fetchall()) == 2
        assert any_workspace.data.dataset("csv@v1").to_arrow().to_pylist() == [first_row]
        assert [each.rows for each in any_workspace.data.profile("csv").columns] == [2, 2, 2]

    def test_a_folder_goes_in_and_comes_out(self, any_workspace: Workspace, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        (folder / "sub").mkdir(parents=True)
        (folder / "rows.jsonl").write_text('{"a": 1}\n')
        (folder / "sub" / "big.bin").write_bytes(os.urandom(400_000))
        assert any_workspace.data.add(folder, "files").files == 2
        assert any_workspace.data.add(folder, "files").unchanged
        (folder / "rows.jsonl").write_text('{"a": 2}\n')
        assert any_workspace.data.add(folder, "files").version == 2
        for link in ("copy", "hardlink"):
            out = tmp_path / link
            any_workspace.data.checkout("files@v1", out, link=link, only=["*.jsonl"])
            assert [path.name for path in out.iterdir()] == ["rows.jsonl"]
            any_workspace.data.checkout("files@v2", out, link=link)
            assert (out / "rows.jsonl").read_text() == '{"a": 2}\n'
            assert (out / "sub" / "big.bin").read_bytes() == (folder / "sub" / "big.bin").read_bytes()
            assert any_workspace.data.status(out).clean

    def test_a_wrong_name_gets_the_nearest(self, any_workspace: Workspace) -> None:
        any_workspace.data.add(months(0), "flights")
        with pytest.raises(NotFound) as wrong:
            any_workspace.data.dataset("fligths")
        assert wrong.value.hint == "did you mean 'flights'?"
        with pytest.raises(NotFound, match="no version 7") as wrong:
            any_workspace.data.version("flights@v7")
        assert "data:flights@v1" in wrong.value.hint


class TestAdding:
    def test_the_same_content_is_the_same_version(self, workspace: LocalWorkspace) -> None:
        first = workspace.data.add(months(0), "flights")
        before = event_actions(workspace)
        again = workspace.data.add(months(0), "flights")
        assert (again.reference, again.unchanged, again.new_bytes) == (first.reference, True, 0)
        assert event_actions(workspace) == before

    def test_content_of_another_dataset_is_stored_once(self, workspace: LocalWorkspace) -> None:
        first = workspace.data.add(months(0), "flights")
        second = workspace.data.add(months(0), "copies")
        assert first.new_bytes > 0
        assert (second.new_bytes, second.unchanged) == (0, False)

    def test_an_append_stores_about_what_is_new(self, workspace: LocalWorkspace) -> None:
        year = workspace.data.add(months(0, 11, rows=20_000), "flights")
        month = workspace.data.add(months(11, 1, rows=20_000), "flights", append=True)
        assert month.new_bytes < 0.15 * year.new_bytes

    def test_a_file_appended_again_is_there_once(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights", file="2013-01.parquet")
        workspace.data.add(months(1), "flights", append=True, file="2013-02.parquet")
        again = workspace.data.add(months(0), "flights", append=True, file="2013-01.parquet")
        assert (again.reference, again.unchanged, again.rows) == ("data:flights@v2", True, 200)

    def test_a_file_is_not_replaced_by_an_append(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights", file="2013-01.parquet")
        with pytest.raises(Conflict, match="other content"):
            workspace.data.add(months(1), "flights", append=True, file="2013-01.parquet")
        assert workspace.data.version("flights").version == 1

    def test_a_table_with_other_columns_is_not_appended(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights")
        other = months(1).rename_columns(["id", "month", "late"])
        with pytest.raises(InvalidInput, match="delay: double → absent, late: absent → double"):
            workspace.data.add(other, "flights", append=True)

    def test_anything_that_speaks_arrow_is_a_table(self, workspace: LocalWorkspace) -> None:
        with duckdb.connect() as con:
            added = workspace.data.add(con.sql("select range as id from range(5)"), "numbers")
        assert (added.rows, added.columns[0].type) == (5, "int64")
        reader = pa.RecordBatchReader.from_batches(months(0).schema, months(0).to_batches())
        assert workspace.data.add(reader, "flights").rows == 100

    def test_zero_rows_are_a_table(self, workspace: LocalWorkspace) -> None:
        added = workspace.data.add(months(0).slice(0, 0), "flights")
        assert (added.rows, len(added.columns)) == (0, 3)
        assert workspace.data.dataset("flights").to_arrow().num_rows == 0

    def test_a_folder_of_files(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        (folder / "é").mkdir(parents=True)
        (folder / "é" / "ü ☂.bin").write_bytes(os.urandom(300_000))
        (folder / "a.txt").write_text("hello")
        added = workspace.data.add(folder, "photos")
        assert (added.files, added.bytes, added.rows) == (2, 300_005, None)
        dataset = ev.data("photos")
        assert [file.path for file in dataset.files()] == ["a.txt", "é/ü ☂.bin"]
        assert dataset.open("a.txt").read() == b"hello"
        with dataset.open("é/ü ☂.bin") as stream:
            assert stream.seek(299_990)
            assert stream.read() == (folder / "é" / "ü ☂.bin").read_bytes()[-10:]
        with pytest.raises(NotFound, match=r"no file 'b\.txt'"):
            dataset.open("b.txt")
        with pytest.raises(InvalidInput, match="not one table"):
            dataset.to_arrow()

    @pytest.mark.parametrize(("files", "size"), [(3, 1 << 20), (1_000, 2_500), (1, 1)])
    def test_small_files_are_stored_a_few_at_a_time(
        self,
        workspace: LocalWorkspace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        files: int,
        size: int,
    ) -> None:
        monkeypatch.setattr(adding, "TOGETHER", files)
        monkeypatch.setattr(adding, "TOGETHER_BYTES", size)
        (tmp_path / "d").mkdir()
        contents = {f"{number}.bin": os.urandom(1_000) for number in range(10)}
        for name, content in contents.items():
            (tmp_path / "d" / name).write_bytes(content)
        workspace.data.add(tmp_path / "d", "d")
        assert {file.path: ev.data("d").open(file.path).read() for file in ev.data("d").files()} == contents

    def test_csv_files_are_a_table_too(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "airports.csv").write_text("faa,alt\nJFK,13\nLGA,22\n")
        added = workspace.data.add(tmp_path / "airports.csv", "airports")
        assert added.rows == 2
        assert ev.data("airports").to_arrow(filter="alt > 20").to_pydict() == {"faa": ["LGA"], "alt": [22]}

    def test_the_run_that_made_it_is_its_producer(self, workspace: LocalWorkspace) -> None:
        added = workspace.data.add(months(0), "flights", producer="run:019b76daa80070008000000000000000")
        assert (added.producer, added.reference, "produced") in workspace.ledger.edges_of(
            added.reference, upward=True
        )

    def test_all_its_objects_are_held(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights")
        report = workspace.governance.verify()
        assert report.ok
        assert report.objects == 2
        held = {digest for digest, holder, _ in workspace.ledger.held_objects()}
        assert held == set(workspace.objects.digests())


class TestBadInput:
    """Each gets its sentence, and nothing is added."""

    @pytest.fixture(autouse=True)
    def nothing_added(self, workspace: LocalWorkspace) -> object:
        yield
        assert workspace.data.datasets() == []
        assert workspace.governance.verify().ok

    def refused(self, workspace: LocalWorkspace, source: object, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            workspace.data.add(source, "d")

    def test_a_missing_path(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        self.refused(workspace, tmp_path / "no", NotFound, "there is no file or folder")

    def test_an_empty_folder(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "sub").mkdir()
        self.refused(workspace, tmp_path / "d", InvalidInput, "d has no files")

    def test_links_and_special_files(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        folder = tmp_path / "d"
        folder.mkdir()
        (folder / "file").touch()
        for target in ("/etc/passwd", "../other", "sub/../../other", "x\udcffy"):
            (folder / "link").symlink_to(target)
            self.refused(workspace, folder, InvalidInput, "the symbolic link 'link' ")
            (folder / "link").unlink()
        os.mkfifo(folder / "pipe")
        self.refused(workspace, folder, InvalidInput, "pipe is a named pipe")
        (folder / "pipe").unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            os.chdir(folder)
            listening.bind("socket")
            self.refused(workspace, folder, InvalidInput, "socket is a socket")

    @pytest.mark.parametrize(
        ("name", "match"), [(b"\xff", "not UTF-8"), (b"a\nb", "control characters"), (b"a\\b", "backslash")]
    )
    def test_names_that_not_every_computer_can_hold(
        self, workspace: LocalWorkspace, tmp_path: Path, name: bytes, match: str
    ) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / os.fsdecode(name)).touch()
        self.refused(workspace, tmp_path / "d", InvalidInput, match)

    def test_names_that_some_computers_take_for_one(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        for name in ("Data.txt", "data.txt"):
            (tmp_path / "d" / name).write_text(name)
        self.refused(workspace, tmp_path / "d", InvalidInput, "one name on some computers")

    @pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1 cut"])
    def test_parquet_that_cannot_be_read(
        self, workspace: LocalWorkspace, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "t.parquet").write_bytes(content)
        self.refused(workspace, tmp_path / "t.parquet", InvalidInput, "t.parquet is not readable Parquet")

    def test_half_a_parquet(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        pq.write_table(months(0), tmp_path / "t.parquet")
        whole = (tmp_path / "t.parquet").read_bytes()
        (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
        self.refused(workspace, tmp_path / "t.parquet", InvalidInput, "not readable Parquet")

    def test_a_file_that_changes_meanwhile(
        self, workspace: LocalWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "log.txt"
        path.write_text("one")
        read = adding.read_small

        def writes(file: Found) -> bytes:
            content = read(file)
            path.write_text("two!")
            return content

        monkeypatch.setattr(adding, "read_small", writes)
        self.refused(workspace, path, Conflict, "changed while it was being added")

    def test_something_that_is_no_table(self, workspace: LocalWorkspace) -> None:
        self.refused(workspace, {"a": 1}, InvalidInput, "a dict cannot be added")
        self.refused(
            workspace, pa.table([[1], [2]], names=["a", "a"]), InvalidInput, "two columns called 'a'"
        )

    def test_a_name_that_may_name_nothing(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(InvalidInput, match="contains '@'"):
            workspace.data.add(months(0), "a@b")


class TestReading:
    def test_columns_and_filters(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0, 3), "flights")
        dataset = ev.data("flights")
        assert dataset.to_arrow(columns=["delay"]).column_names == ["delay"]
        by_sql = dataset.to_arrow(columns=["id"], filter="month = 1 and delay > 20")
        by_arrow = dataset.to_arrow(
            columns=["id"], filter=(pds.field("month") == 1) & (pds.field("delay") > 20)
        )
        assert by_sql.equals(by_arrow)
        assert by_sql.num_rows == 59
        with duckdb.connect() as con:
            assert dataset.relation(con).aggregate("count(*), sum(id)").fetchall() == [(300, 300 * 299 / 2)]

    def test_wrong_columns_and_filters_are_named(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights")
        with pytest.raises(InvalidInput, match="no column 'dealy'") as wrong:
            ev.data("flights").to_arrow(columns=["dealy"])
        assert "'delay'" in wrong.value.hint
        with pytest.raises(InvalidInput, match="the filter 'delay >'"):
            ev.data("flights").to_arrow(filter="delay >")

    def test_reading_is_noted(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights")
        with collecting() as seen:
            ev.data("flights").record  # noqa: B018  (looking at the record reads no data)
            assert not seen
            ev.data("flights").to_arrow()
        assert list(seen) == ["data:flights@v1"]

    def test_a_flipped_byte_is_found(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "f.bin").write_bytes(os.urandom(1_000_000))
        workspace.data.add(tmp_path / "f.bin", "f")
        pack = next((workspace.folder / "objects" / "packs").rglob("*.pack"))
        content = bytearray(pack.read_bytes())
        content[500_000] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(content)
        with pytest.raises(Corrupted):
            ev.data("f").open().read()


class TestDiff:
    def test_files_and_rows(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights", file="1.parquet")
        workspace.data.add(months(1), "flights", append=True, file="2.parquet")
        diff = ev.data("flights@v1").diff("flights@v2")
        assert (diff.added, diff.removed, diff.changed) == (["2.parquet"], [], [])
        assert (diff.rows_added, diff.rows_removed, diff.rows_changed) == (100, 0, 0)

    def test_rows_by_content_and_by_key(self, workspace: LocalWorkspace) -> None:
        old = pa.table({"id": [1, 2, 3, 4], "x": [1.0, None, 3.0, 4.0]})
        new = pa.table({"id": [2, 3, 4, 5, 6], "x": [None, 3.5, 4.0, 5.0, 6.0]})
        workspace.data.add(old, "t", file="t.parquet")
        workspace.data.add(new, "t", file="t.parquet")
        by_content = workspace.data.diff("t@v1", "t@v2")
        assert (by_content.changed, by_content.rows_added, by_content.rows_removed) == (["t.parquet"], 3, 2)
        by_key = workspace.data.diff("t@v1", "t@v2", key=["id"])
        assert (by_key.rows_added, by_key.rows_removed, by_key.rows_changed) == (2, 1, 1)

    def test_repeated_rows_are_counted(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(pa.table({"x": [1, 1, 2]}), "t")
        workspace.data.add(pa.table({"x": [1, 2, 2]}), "t")
        diff = workspace.data.diff("t@v1", "t@v2")
        assert (diff.rows_added, diff.rows_removed) == (1, 1)
        with pytest.raises(InvalidInput, match="the key x repeats"):
            workspace.data.diff("t@v1", "t@v2", key=["x"])

    def test_columns(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(pa.table({"id": [1], "x": [1]}), "t")
        workspace.data.add(pa.table({"id": [1], "y": ["a"]}), "t")
        diff = workspace.data.diff("t@v1", "t@v2", key=["id"])
        assert [(change.name, change.before, change.after) for change in diff.columns] == [
            ("x", "int64", None),
            ("y", None, "string"),
        ]
        assert (diff.rows_added, diff.rows_removed, diff.rows_changed) == (0, 0, 0)


class TestRemoving:
    def test_a_version_goes_and_its_number_is_not_used_again(self, workspace: LocalWorkspace) -> None:
        for month in range(3):
            workspace.data.add(months(month), "flights")
        workspace.data.remove("flights@v3")
        assert workspace.data.version("flights").version == 2
        with pytest.raises(NotFound, match="was removed"):
            ev.data("flights@v3")
        assert workspace.data.version("flights@v3").removed is not None
        assert workspace.data.add(months(5), "flights").version == 4

    def test_what_a_run_consumed_stays_unless_forced(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(months(0), "flights")
        with workspace.ledger.transaction("ann") as tx:
            tx.edge("data:flights@v1", "run:019b76daa80070008000000000000000", "consumed")
        with pytest.raises(Conflict, match="went into run:"):
            workspace.data.remove("flights")
        workspace.data.remove("flights", force=True)
        assert workspace.data.datasets() == []
