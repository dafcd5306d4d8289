"""Whatever comes in: queries, addresses, references, partitions, Arrow files; and the digest of rows they share."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import everloop as ev
from everloop.cli.main import main
from everloop.data.incoming import queries
from everloop.data.incoming.spooling import Spool
from everloop.data.tables.row_digests import row_digest
from everloop.errors import Conflict, InvalidInput, NotFound, Unavailable
from everloop.workspace.local import LocalWorkspace

ROWS = pa.table({"id": [1, 2, 3], "x": [0.5, None, 2.0], "name": ["a", "b", None]})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as con:
        con.execute("create table orders (id integer, x real, name text)")
        con.executemany(
            "insert into orders values (?, ?, ?)", list(zip(*ROWS.to_pydict().values(), strict=True))
        )
    con.close()
    return path


class TestQueries:
    def test_sqlite(self, workspace: LocalWorkspace, shop: Path) -> None:
        added = workspace.data.add(
            ev.query("select * from orders order by id", f"sqlite:///{shop}"), "orders"
        )
        assert added.rows == 3
        assert added.origin is not None
        assert added.origin.query == "select * from orders order by id"
        assert ev.data("orders").to_arrow().equals(ROWS)
        again = workspace.data.add(
            ev.query("select * from orders order by id", f"sqlite:///{shop}"), "orders"
        )
        assert again.unchanged

    def test_duckdb(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        with duckdb.connect(str(tmp_path / "x.duckdb")) as con:
            con.execute("create table t as select range as id, range::varchar as name from range(7)")
        added = workspace.data.add(ev.query("from t where id > 4", f"duckdb:///{tmp_path / 'x.duckdb'}"), "t")
        assert (added.rows, [column.type for column in added.columns]) == (2, ["int64", "string"])

    def test_files_need_no_database(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        pq.write_table(ROWS, tmp_path / "rows.parquet")
        workspace.data.add(ev.query(f"select sum(x) as total from '{tmp_path}/rows.parquet'"), "total")
        assert ev.data("total").to_arrow().to_pydict() == {"total": [2.5]}

    def test_a_column_of_several_kinds(self, workspace: LocalWorkspace, shop: Path) -> None:
        with sqlite3.connect(shop) as con:
            con.execute("create table odd (a, b)")
            con.execute("insert into odd values (1, 1), (2.5, 'x')")
        con.close()
        workspace.data.add(ev.query("select a from odd", f"sqlite:///{shop}"), "numbers")
        assert ev.data("numbers").to_arrow().to_pydict() == {"a": [1.0, 2.5]}
        with pytest.raises(InvalidInput, match="column 'b' of the query holds int and str"):
            workspace.data.add(ev.query("select b from odd", f"sqlite:///{shop}"), "odd")

    def test_no_rows_have_columns(self, workspace: LocalWorkspace, shop: Path) -> None:
        added = workspace.data.add(ev.query("select * from orders where id > 9", f"sqlite:///{shop}"), "none")
        assert (added.rows, [column.name for column in added.columns]) == (0, ["id", "x", "name"])

    @pytest.mark.parametrize(
        ("sql", "source", "error", "says"),
        [
            ("select * from missing_one", "sqlite:///shop.db", InvalidInput, "no such table: missing_one"),
            ("delete from orders", "sqlite:///shop.db", InvalidInput, "readonly|gives no rows"),
            ("select 1", "sqlite:///other.db", NotFound, "there is no database other.db"),
            ("select 1", "mongodb://host/db", InvalidInput, "is no database that can be asked"),
            ("select nothing", "", InvalidInput, "the query: "),
            ("", "", InvalidInput, "the query is empty"),
            (
                "select 1",
                "postgresql://ann:secret@127.0.0.1:1/db",
                Unavailable,
                "postgresql://ann@127.0.0.1:1/db: ",
            ),
        ],
    )
    def test_what_cannot_be_asked_is_one_sentence(
        self,
        workspace: LocalWorkspace,
        shop: Path,
        monkeypatch: pytest.MonkeyPatch,
        sql: str,
        source: str,
        error: type[Exception],
        says: str,
    ) -> None:
        monkeypatch.chdir(shop.parent)
        with pytest.raises(error, match=says) as said:
            workspace.data.add(ev.query(sql, source), "q")
        assert "secret" not in str(said.value)
        assert workspace.data.datasets() == []

    def test_postgres(self, workspace: LocalWorkspace, postgres_url: str) -> None:
        url = postgres_url.replace("postgresql+psycopg://", "postgresql://")
        sql = "select 1 as id, 1.50::numeric(8, 2) as price, timestamptz '2013-01-01 12:00+02' as at, array['a'] as tags"
        workspace.data.add(ev.query(sql, url), "orders")
        (row,) = ev.data("orders").to_arrow().to_pylist()
        assert (row["id"], str(row["price"]), row["tags"]) == (1, "1.50", ["a"])
        assert row["at"] == dt.datetime(2013, 1, 1, 10, tzinfo=dt.UTC)
        with pytest.raises(InvalidInput, match="the query: "):
            workspace.data.add(ev.query("create table t (a int)", url), "t")

    @pytest.mark.parametrize("database", ["duckdb", "sqlite", "postgres"])
    def test_an_answer_is_never_whole_in_memory(
        self,
        workspace: LocalWorkspace,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        database: str,
    ) -> None:
        """Its batches are small, what they became is the table that adding it whole makes, and nothing of it stays allocated."""
        rows, most = 20_000, 2_048
        numbers = "with recursive n(id) as (select 0 union all select id + 1 from n where id < 19999)"
        sql = f"{numbers} select id, case when id > 9000 then id / 2.0 end as half from n"
        source = ""
        if database == "sqlite":
            sqlite3.connect(tmp_path / "empty.db").execute("create table t (a)").connection.close()
            source = f"sqlite:///{tmp_path / 'empty.db'}"
        elif database == "postgres":
            source = request.getfixturevalue("postgres_url").replace("postgresql+psycopg://", "postgresql://")
            sql = sql.replace("id / 2.0", "(id / 2.0)::float8")
        else:
            sql = "select range as id, case when range > 9000 then range / 2.0 end as half from range(20000)"
        seen: list[int] = []
        allocated: list[int] = []
        keep = Spool.add

        def looked_at(spool: Spool, batch: pa.RecordBatch) -> None:
            seen.append(batch.num_rows)
            keep(spool, batch)
            allocated.append(pa.total_allocated_bytes())

        monkeypatch.setattr(queries, "ROWS", most)
        monkeypatch.setattr(Spool, "add", looked_at)
        before = pa.total_allocated_bytes()
        added = workspace.data.add(ev.query(sql, source), "halves")
        assert (sum(seen), max(seen)) == (rows, most)
        whole = pa.table(
            {"id": range(rows), "half": [at / 2 if at > 9000 else None for at in range(rows)]},
        )
        assert max(allocated) - before < whole.nbytes / 2
        assert ev.data("halves").to_arrow().equals(whole)
        assert added.content == row_digest(whole)
        assert workspace.data.add(whole, "halves").unchanged

    def test_a_row_that_cannot_be_computed_is_named_late_as_well(self, workspace: LocalWorkspace) -> None:
        sql = "select (case when range = 150000 then 'x' else '1' end)::int as a from range(200000)"
        with pytest.raises(InvalidInput, match=r"the query: .*Could not convert string 'x' to INT32"):
            workspace.data.add(ev.query(sql), "late")
        assert workspace.data.datasets() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.lists(st.none(), max_size=3)
        | st.lists(st.integers(-(2**40), 2**40), max_size=3)
        | st.lists(st.floats(allow_nan=False) | st.none(), max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_batches_that_become_wider_are_one_table(tmp_path: Path, columns: list[list[float | None]]) -> None:
    batches = [pa.record_batch({"a": pa.array(each)}) for each in columns]
    whole = pa.concat_tables(
        [pa.Table.from_batches([each]) for each in batches], promote_options="permissive"
    )
    with closing(Spool(tmp_path)) as spool:
        for each in batches:
            spool.add(each)
        assert spool.table().equals(whole)


class TestAddresses:
    @pytest.fixture(autouse=True)
    def memory(self) -> Any:
        import fsspec

        files = fsspec.filesystem("memory")
        files.store.clear()
        files.pipe("/lake/2013/a.csv", b"a,b\n1,2\n")
        files.pipe("/lake/2013/b.csv", b"a,b\n3,4\n")
        return files

    def test_a_folder_and_a_file(self, workspace: LocalWorkspace) -> None:
        added = workspace.data.add("memory://lake/2013", "lake")
        assert (added.files, added.rows) == (2, 2)
        assert added.origin is not None
        assert added.origin.source == "memory://lake/2013"
        assert [file.path for file in ev.data("lake").files()] == ["a.csv", "b.csv"]
        assert workspace.data.add("memory://lake/2013/a.csv", "one").rows == 1
        assert (
            sorted(each.name for each in workspace.folder.iterdir() if each.name.startswith("fetched")) == []
        )

    def test_what_a_killed_process_had_fetched_goes(self, workspace: LocalWorkspace) -> None:
        for name, age in (("fetched-old", 2), ("fetched-young", 0)):
            (workspace.folder / name).mkdir(parents=True)
            then = workspace.clock().timestamp() - age * 24 * 3600
            os.utime(workspace.folder / name, (then, then))
        workspace.data.add("memory://lake/2013", "lake")
        assert [path.name for path in workspace.folder.glob("fetched-*")] == ["fetched-young"]

    def test_nothing_there(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(NotFound, match="there is nothing at memory://lake/2014"):
            workspace.data.add("memory://lake/2014", "lake")
        with pytest.raises(InvalidInput, match="Protocol not known"):
            workspace.data.add("nonsense://x", "lake")

    def test_one_that_changes_meanwhile(
        self, workspace: LocalWorkspace, memory: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from everloop.data.incoming import addresses

        fetch = addresses.fetch

        def fetched(file: Any, target: Path) -> None:
            fetch(file, target)
            memory.pipe("/lake/2013/a.csv", b"a,b\n1,2\n5,6\n")

        monkeypatch.setattr(addresses, "fetch", fetched)
        with pytest.raises(Conflict, match=r"memory:/+lake/2013/a\.csv changed while it was being added"):
            workspace.data.add("memory://lake/2013", "lake")
        assert workspace.data.datasets() == []

    def test_by_reference(self, workspace: LocalWorkspace, memory: Any) -> None:
        added = workspace.data.add("memory://lake/2013", "lake", reference=True)
        assert added.rows == 2
        assert set(workspace.objects.digests()) == {added.digest}, "only the list of files is stored"
        assert ev.data("lake").to_arrow().to_pydict() == {"a": [1, 3], "b": [2, 4]}
        with ev.data("lake").open("a.csv") as stream:
            assert stream.read() == b"a,b\n1,2\n"
        memory.pipe("/lake/2013/b.csv", b"a,b\n3,5\n")
        workspace.data.add("memory://lake/2013/b.csv", "other")
        (workspace.folder / "cache" / "files.sqlite").unlink()
        for kept in (workspace.folder / "cache" / "files").rglob("*"):
            if kept.is_file():
                kept.unlink()
        with pytest.raises(Conflict, match=r"memory:/+lake/2013/b\.csv is not what it was"):
            ev.data("lake").to_arrow()


class TestReferences:
    def test_bytes_stay_where_they_are(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        pq.write_table(ROWS, tmp_path / "rows.parquet")
        added = workspace.data.add(tmp_path / "rows.parquet", "rows", reference=True)
        assert set(workspace.objects.digests()) == {added.digest}
        (file,) = ev.data("rows").files()
        assert file.source == (tmp_path / "rows.parquet").as_uri()
        assert ev.data("rows").to_arrow().equals(ROWS)
        assert workspace.governance.verify().ok
        done = workspace.data.checkout("rows", tmp_path / "out")
        assert (tmp_path / "out" / "rows.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
        assert done.files == 1

    def test_a_source_that_changed_is_refused(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        path = tmp_path / "rows.csv"
        path.write_text("a\n1\n")
        workspace.data.add(path, "rows", reference=True)
        assert ev.data("rows").to_arrow().to_pydict() == {"a": [1]}
        before = path.stat()
        path.write_text("a\n2\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(Conflict, match=r"rows\.csv is not what it was"):
            ev.data("rows").to_arrow()
        path.unlink()
        with pytest.raises(NotFound, match=r"rows\.csv, which the version refers to, is not there"):
            ev.data("rows").open("rows.csv")
        path.write_text("a\n1\n")
        assert ev.data("rows").to_arrow().to_pydict() == {"a": [1]}

    def test_a_table_in_memory_cannot_be_referred_to(self, workspace: LocalWorkspace) -> None:
        with pytest.raises(InvalidInput, match="only files can be added by reference"):
            workspace.data.add(ROWS, "rows", reference=True)


class TestPartitions:
    @pytest.fixture
    def lake(self, tmp_path: Path) -> Path:
        for month in (1, 2):
            for carrier in ("AA", "B 6"):
                folder = tmp_path / "lake" / f"month={month}" / f"carrier={carrier.replace(' ', '%20')}"
                folder.mkdir(parents=True)
                pq.write_table(pa.table({"delay": [month, len(carrier)]}), folder / "part.parquet")
        return tmp_path / "lake"

    def test_folders_are_columns(self, workspace: LocalWorkspace, lake: Path) -> None:
        added = workspace.data.add(lake, "lake", checks=[ev.check.in_range("month", 1, 12)])
        assert added.rows == 8
        assert [(each.name, each.type) for each in added.columns] == [
            ("delay", "int64"),
            ("month", "int64"),
            ("carrier", "string"),
        ]
        some = ev.data("lake").to_arrow(columns=["delay", "carrier"], filter="month = 2 and carrier = 'B 6'")
        assert some.to_pydict() == {"delay": [2, 3], "carrier": ["B 6", "B 6"]}
        assert ev.data("lake").relation().aggregate("sum(month)").fetchall() == [(12,)]

    def test_more_of_them(self, workspace: LocalWorkspace, lake: Path, tmp_path: Path) -> None:
        workspace.data.add(lake, "lake")
        more = tmp_path / "more" / "month=3" / "carrier=AA"
        more.mkdir(parents=True)
        pq.write_table(pa.table({"delay": [9]}), more / "part.parquet")
        added = workspace.data.add(tmp_path / "more", "lake", append=True)
        assert (added.rows, added.files) == (9, 5)
        (lake / "month=3" / "carrier=AA").mkdir(parents=True)
        pq.write_table(pa.table({"delay": [9]}), lake / "month=3" / "carrier=AA" / "part.parquet")
        assert workspace.data.add(lake, "whole").content == added.content

    def test_a_column_twice(self, workspace: LocalWorkspace, lake: Path) -> None:
        for path in lake.rglob("*.parquet"):
            pq.write_table(pa.table({"month": [1]}), path)
        with pytest.raises(InvalidInput, match="column 'month' is in the files and in the names"):
            workspace.data.add(lake, "lake")


class TestArrowFiles:
    def test_feather_and_ipc(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        pyarrow.feather.write_feather(ROWS, tmp_path / "rows.feather")
        with pa.ipc.new_file(tmp_path / "rows.arrow", ROWS.schema) as writer:
            writer.write_table(ROWS)
        for name in ("stream.arrow", "rows.arrows"):
            with pa.ipc.new_stream(tmp_path / name, ROWS.schema) as writer:
                writer.write_table(ROWS)
        for name in ("rows.feather", "rows.arrow", "stream.arrow", "rows.arrows"):
            added = workspace.data.add(tmp_path / name, name, checks=[ev.check.not_null("id")])
            assert added.rows == 3
            assert ev.data(name).to_arrow(columns=["name"], filter="id >= 2").to_pydict() == {
                "name": ["b", None]
            }

    @pytest.mark.parametrize("content", [b"", b"ARROW1 and then nothing"])
    def test_half_a_file(self, workspace: LocalWorkspace, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "half.arrow").write_bytes(content)
        with pytest.raises(InvalidInput, match=r"half\.arrow is not readable Arrow"):
            workspace.data.add(tmp_path / "half.arrow", "half")

    def test_streams_beside_files(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "lake").mkdir()
        with pa.ipc.new_stream(tmp_path / "lake" / "1.arrow", ROWS.schema) as writer:
            writer.write_table(ROWS)
        with pa.ipc.new_file(tmp_path / "lake" / "2.arrow", ROWS.schema) as writer:
            writer.write_table(ROWS)
        assert workspace.data.add(tmp_path / "lake", "lake").rows == 6
        assert ev.data("lake").to_arrow().equals(pa.concat_tables([ROWS, ROWS]))
        whole = (tmp_path / "lake" / "1.arrow").read_bytes()
        (tmp_path / "half.arrow").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InvalidInput, match=r"half\.arrow is not readable Arrow"):
            workspace.data.add(tmp_path / "half.arrow", "half")


def test_wide_and_empty_tables(workspace: LocalWorkspace, tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(2_000)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    added = workspace.data.add(tmp_path / "wide.csv", "wide", checks=[ev.check.in_range("c1999", 0, 1)])
    assert (len(added.columns), added.rows) == (2_000, 1)
    pq.write_table(ROWS.slice(0, 0), tmp_path / "empty.parquet")
    assert workspace.data.add(tmp_path / "empty.parquet", "empty").rows == 0
    assert ev.data("empty").to_arrow().schema == ROWS.schema


class TestContent:
    """The digest of rows is the same in any order and layout."""

    def test_any_order_and_layout(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        whole = workspace.data.add(ROWS, "whole")
        turned = workspace.data.add(ROWS.take([2, 0, 1]).select(["name", "id", "x"]), "turned")
        (tmp_path / "parts").mkdir()
        pq.write_table(ROWS.slice(1), tmp_path / "parts" / "a.parquet")
        pq.write_table(ROWS.slice(0, 1), tmp_path / "parts" / "b.parquet")
        parts = workspace.data.add(tmp_path / "parts", "parts")
        pa.csv.write_csv(ROWS.slice(0, 2), tmp_path / "rows.csv")
        workspace.data.add(ROWS.slice(0, 1), "grown")
        grown = workspace.data.add(ROWS.slice(1), "grown", append=True)
        assert whole.content is not None
        assert {turned.content, parts.content, grown.content} == {whole.content}
        assert workspace.data.add(ROWS.slice(1), "other").content != whole.content
        assert (
            workspace.data.add(pa.concat_tables([ROWS, ROWS.slice(0, 1)]), "twice").content != whole.content
        )
        assert (
            workspace.data.add(ROWS.set_column(0, "id", ROWS["id"].cast("int32")), "typed").content
            != whole.content
        )

    def test_rows_that_were_turned_away_do_not_count(self, workspace: LocalWorkspace) -> None:
        checks = [ev.check.not_null("name", severity="quarantine")]
        assert workspace.data.add(ROWS, "checked", checks=checks).content == (
            workspace.data.add(ROWS.slice(0, 2), "good").content
        )

    def test_files_have_none(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(b"a")
        assert workspace.data.add(tmp_path / "a.bin", "a").content is None


def test_commands(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(shop.parent)
    (shop.parent / ".everloop").mkdir()

    def run(*arguments: str) -> tuple[int, Any]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    say: Callable[..., tuple[int, Any]] = run
    code, added = say(
        "data", "add", "--query", "select * from orders", "--from", "sqlite:///shop.db", "--name", "orders"
    )
    assert (code, added["rows"], added["origin"]["source"]) == (0, 3, "sqlite:///shop.db")
    assert say("data", "add", "--name", "orders")[0] == 2
    assert say("data", "add", "x.csv", "--query", "select 1", "--name", "orders")[0] == 2
    assert say("data", "add", "x.csv", "--from", "sqlite:///shop.db", "--name", "orders")[0] == 2
    (shop.parent / "x.csv").write_text("a\n1\n")
    code, added = say("data", "add", "x.csv", "--name", "x", "--reference")
    assert (code, added["new_bytes"] < 300) == (0, True)
