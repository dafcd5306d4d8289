"""What a step depends on outside of its code: files that it opens or names, folders that it lists, environment variables."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from everloop.domain.canonical import digest_of
from everloop.pipelines import opened_files
from everloop.pipelines.opened_files import asked, unchanged, watched
from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.store.schema.pipelines import step_results
from everloop.workspace.local import LocalWorkspace

FLOW = """
    import os
    from pathlib import Path

    from everloop.pipelines.steps import pipeline, step

    HERE = Path(__file__).parent

    @step
    def opens():
        (HERE / "own.txt").write_text("x")
        return (HERE / "own.txt").read_text() + (HERE / "rates.json").read_text()

    @step
    def lists():
        return sorted(path.name for path in (HERE / "tables").glob("*.csv"))

    @step
    def tries():
        try:
            return (HERE / "override.json").read_text()
        except FileNotFoundError:
            return "nothing"

    @step
    def names():
        import pyarrow.parquet as pq
        return pq.read_table(HERE / "tables" / "big.parquet").num_rows

    @step
    def queries():
        import duckdb
        return duckdb.sql("select count(*) from 'tables/big.parquet'").fetchall()[0][0]

    @step
    def packed():
        import pkgutil
        return pkgutil.get_data("outside_lazy", "packed.bin").decode()

    @step
    def asks():
        return [os.environ.get("OUTSIDE_RATE", "1"), os.environ.get("OUTSIDE_TOKEN")]

    @step
    def late():
        import outside_lazy
        return outside_lazy.TABLE.rate

    @step
    def tables(folder):
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq
        return pq.read_table(os.path.join(folder, "part.parquet")).num_rows + ds.dataset(folder).count_rows()

    @step
    def in_sql(folder):
        import duckdb
        with duckdb.connect() as con:
            return con.execute(f"select sum(x) from '{folder}/*.parquet'").fetchall()[0][0]

    @step
    def looks():
        (HERE / "made.txt").exists() or (HERE / "made.txt").write_text("x")
        return [(HERE / "flag").exists(), os.path.isdir(HERE / "more")]

    @pipeline
    def computed(folder):
        return [tables(folder), in_sql(folder), looks()]

    @pipeline
    def main():
        return [opens(), lists(), tries(), names(), queries(), packed(), asks(), late()]
    """
LAZY = """
    from pathlib import Path

    class Table:
        def __init__(self, text):
            self.rate = int(text)

    TABLE = Table((Path(__file__).parent / "rate.txt").read_text())
    """


@pytest.fixture
def folder(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    made = workspace.project
    (made / "tables").mkdir(parents=True)
    (made / "outside_flow.py").write_text(textwrap.dedent(FLOW))
    (made / "outside_lazy.py").write_text(textwrap.dedent(LAZY))
    (made / "rates.json").write_text("1")
    (made / "rate.txt").write_text("1")
    (made / "packed.bin").write_text("1")
    (made / "tables" / "a.csv").touch()
    pq.write_table(pa.table({"x": [1]}), made / "tables" / "big.parquet")
    monkeypatch.delenv("OUTSIDE_RATE", raising=False)
    monkeypatch.chdir(made)  # which is what a query's names are relative to
    yield made
    _forget()


def _forget() -> None:
    for name in ("outside_flow", "outside_lazy"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def _run(
    workspace: LocalWorkspace, dry_run: bool = False, name: str = "main", force: bool = False, **params: str
) -> PipelineRun:
    _forget()
    return workspace.room(Pipelines).run(
        f"outside_flow.py:{name}", params, executor="inline", dry_run=dry_run, force=force
    )


def test_a_step_is_executed_again_when_a_file_or_variable_it_used_changed_and_says_which(
    workspace: LocalWorkspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(workspace).value()[:3] == ["x1", ["a.csv"], "nothing"]
    assert _run(workspace).executed == 0

    monkeypatch.setenv("OUTSIDE_TOKEN", "who I am")  # secrets are no part of what a step computes
    (folder / "unrelated.json").write_text("2")
    assert _run(workspace).executed == 0

    (folder / "rates.json").write_text("2")
    (folder / "tables" / "b.csv").touch()
    (folder / "override.json").write_text("3")
    (folder / "rate.txt").write_text("4")
    (folder / "packed.bin").write_text("6")
    pq.write_table(pa.table({"x": [1, 2]}), folder / "tables" / "big.parquet")
    monkeypatch.setenv("OUTSIDE_RATE", "5")
    planned = {each.name: each.reason for each in _run(workspace, dry_run=True).steps}
    assert planned == {
        "opens": "would run: file rates.json changed",
        "lists": "would run: file tables/ changed",
        "tries": "would run: file override.json changed",
        "names": "would run: file tables/big.parquet changed",
        "queries": "would run: file tables/big.parquet changed",
        "packed": "would run: file packed.bin changed; file rate.txt changed",  # it imports outside_lazy
        "asks": "would run: environment variable OUTSIDE_RATE changed",
        "late": "would run: file rate.txt changed",
    }
    assert _run(workspace).value() == ["x2", ["a.csv", "b.csv"], "3", 2, 2, "6", ["5", "who I am"], 4]

    (folder / "rates.json").write_text("1")  # going back finds the first result
    assert [each.name for each in _run(workspace).steps if each.status == "executed"] == []


def test_a_result_whose_reads_were_not_seen_goes_once_the_step_is_computed_anew(
    workspace: LocalWorkspace, folder: Path
) -> None:
    _run(workspace)
    with workspace.ledger.transaction("test") as tx:  # as if nothing had told of the files that were read
        tx.execute(sa.update(step_results).values(reads=[], reads_digest=digest_of(())))
    (folder / "rates.json").write_text("2")
    assert _run(workspace).executed == 0
    assert _run(workspace, force=True).value()[0] == "x2"
    (folder / "rates.json").write_text("3")
    again = _run(workspace)
    assert {each.name: each.reason for each in again.steps if each.status == "executed"} == {
        "opens": "file rates.json changed"
    }
    assert again.value()[0] == "x3"


def test_files_that_libraries_open_in_c_and_files_that_are_not_there_count(
    workspace: LocalWorkspace, folder: Path
) -> None:
    def executed() -> dict[str, str]:
        return {each.name: each.reason for each in done().steps if each.status == "executed"}

    def done() -> PipelineRun:
        return _run(workspace, name="computed", folder="parts")

    stat = os.stat
    (folder / "parts").mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / "parts/part.parquet")
    assert done().value() == [2, 1, [False, False]]
    assert os.stat is stat
    assert executed() == {}

    pq.write_table(pa.table({"x": [1, 2]}), folder / "parts/part.parquet")
    assert executed() == dict.fromkeys(("tables", "in_sql"), "file parts/part.parquet changed")
    pq.write_table(pa.table({"x": [4]}), folder / "parts/new.parquet")
    assert executed() == dict.fromkeys(("tables", "in_sql"), "file parts/ changed")
    (folder / "flag").touch()
    assert executed() == {"looks": "file flag changed"}
    (folder / "more").mkdir()
    assert executed() == {"looks": "file more changed"}
    assert done().value() == [5, 7, [True, True]]


def test_what_is_written_hidden_or_the_systems_is_no_input(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("x")
    (tmp_path / "in.txt").write_text("1")
    (tmp_path / "rows.db").touch()
    with watched(tmp_path) as seen:
        sqlite3.connect(tmp_path / "rows.db").close()
        sqlite3.connect(":memory:").close()
        Path("/etc/hostname").exists() and Path("/etc/hostname").read_text()
        (tmp_path / ".cache" / "x").read_text()
        (tmp_path / "out.txt").write_text("x")
        (tmp_path / "out.txt").read_text()
        (tmp_path / "in.txt").read_text()
        list(tmp_path.iterdir())  # what was written stands in it, so the listing is no input either
    database, reference = sorted(seen.references(), reverse=True)
    assert (asked(database), asked(reference)) == ("file:rows.db", "file:in.txt")
    assert unchanged(reference, tmp_path)
    (tmp_path / "in.txt").write_text("2")
    assert not unchanged(reference, tmp_path)
    (tmp_path / "in.txt").unlink()
    assert not unchanged(reference, tmp_path)


def test_databases_and_arrow_files_opened_in_c_are_seen_and_what_is_written_there_is_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("1,2\n")
    (tmp_path / "in.arrow").write_bytes(b"x")
    (tmp_path / "in.txt").write_bytes(b"x")
    duckdb.connect("rows.duckdb").close()
    with watched(tmp_path) as seen:
        duckdb.connect("rows.duckdb", read_only=True).close()
        duckdb.connect("made.duckdb").close()
        duckdb.connect().table_function("read_csv", ["rows.csv"]).fetchall()
        pa.memory_map("in.arrow").close()
        pa.input_stream("in.txt").close()
        with pa.OSFile("out.arrow", "wb") as file:
            file.write(b"x")
        with pa.OSFile("out.arrow") as file:
            assert isinstance(file, pa.OSFile)
    names = ["in.arrow", "in.txt", "rows.csv", "rows.duckdb"]
    assert sorted(map(asked, seen.references())) == [f"file:{each}" for each in names]


def test_looking_for_packages_is_no_reading_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries ask for versions when they are first imported: all folders of code are listed then, also the project's."""
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with watched(tmp_path) as seen:
        assert importlib.metadata.version("numpy")
        assert not importlib.metadata.entry_points(group="of nobody")
    assert seen.references() == []


def test_what_another_thread_opens_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").touch()
    opened = opened_files.Opened(tmp_path)
    content = opened_files._content

    def slow(path: Path) -> str:
        opened.note("open", (str(tmp_path / f"of a thread {path.name}"), "r", 0))
        opened.note("os.listdir", (str(tmp_path / f"of a thread {path.name}"),))
        return content(path)

    monkeypatch.setattr(opened_files, "_content", slow)
    monkeypatch.setattr(opened_files, "_system_folders", lambda: ("/nowhere/",))
    for name in ("a", "b"):
        opened.note("open", (str(tmp_path / f"{name}.txt"), "r", 0))
    assert [each.partition("@")[0] for each in opened.references()][:2] == ["file:a.txt", "file:b.txt"]


def test_of_python_started_as_a_program_what_it_imports_from_beside_counts(tmp_path: Path) -> None:
    for name, text in {
        "tool.py": "import near, json\nprint(near.number)",
        "near.py": "from further import number",
        "further.py": "number = 1",
        "aside.py": "number = 2",
        "package/__init__.py": "",
        "package/__main__.py": "from . import inner",
        "package/inner.py": "print(2)",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with watched(tmp_path) as files:
        shown = [
            subprocess.run([sys.executable, *given], cwd=tmp_path, capture_output=True, check=True).stdout
            for given in (["tool.py"], ["-m", "package"])
        ]
    assert shown == [b"1\n", b"2\n"]
    read = {asked(each).removeprefix("file:") for each in files.references() if asked(each).endswith(".py")}
    assert {"tool.py", "near.py", "further.py", "package/__main__.py", "package/inner.py"} <= read
    assert "aside.py" not in read
