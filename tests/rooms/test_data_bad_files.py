"""Files that are not what their name's ending says: one sentence with the line, and nothing kept; or kept as bytes, if asked."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everloop as ev
from everloop.cli.main import main
from everloop.data.incoming import stat_index
from everloop.data.tables import file_cache, parquet
from everloop.errors import InvalidInput, Refused
from everloop.store.objects import packs
from everloop.workspace.local import LocalWorkspace

MANY = 300_000
"""Rows of a file that is read in several blocks."""

BAD = {
    "unclosed.csv": (b'a,b\n1,x\n2,"y\n3,z\n', "a quote that is opened in line 3 is never closed"),
    "unclosed_at_the_end.csv": (b'a,b\n1,x\n2,"y', "a quote that is opened in line 3 is never closed"),
    "unclosed_long.csv": (
        b'a,b\n1,"x\n' + b"2,y\n" * MANY,
        "a quote that is opened in line 2 is never closed",
    ),
    "two_unclosed.csv": (b'a,b\n1,"x\n2,"y\n', "line 3: a value goes on after its closing quote"),
    "ragged.csv": (b"a,b\n1,2\n3\n4,5,6\n", "line 3 has 1 field, the header has 2"),
    "ragged_late.csv": (b"a,b\n" + b"1,2\n" * MANY + b"3,4,5\n", f"line {MANY + 2} has 3 fields"),
    "kinds.csv": (
        b"a,b\n" + b"1,2\n" * MANY + b"x,2\n",
        f"line {MANY + 2}: 'x' in the column 'a' is no int64",
    ),
    "latin1.csv": ("a,b\n1,x\n2,é\n".encode("latin-1"), "line 3 is not UTF-8 (byte 0xe9)"),
    "latin1_header.csv": ("a,é\n1,x\n".encode("latin-1"), "line 1 is not UTF-8 (byte 0xe9)"),
    "utf16.csv": ("a,b\n1,2\n".encode("utf-16"), "it is UTF-16"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 3 holds a zero byte: it is no text"),
    "semicolons.csv": (b"a;b\n1;2\n", "its fields are separated by semicolons"),
    "numbers_with_commas.csv": (b"a;b\n1,5;2\n", "its fields are separated by semicolons"),
    "tabs.csv": (b"a\tb\n1\t2\n", "its fields are separated by tabs"),
    "commas.tsv": (b"a,b\n1,2\n", "its fields are separated by commas"),
    "ragged.tsv": (b"a\tb\n1\t2\n3\n", "line 3 has 1 field, the header has 2"),
    "bars.csv": (b"a|b\n1|2\n", "its fields are separated by vertical bars"),
    "empty.csv": (b"", "it is empty"),
    "blank.csv": (b"\n\n", "it is empty"),
    "twice.csv": (b"a,a\n1,2\n", "it has two columns called 'a'"),
    "index.csv": (b",a\n0,1\n", "it has a column without a name"),
    "capital.csv": (b"a,A\n1,2\n", "it has the columns 'a' and 'A', which are one name in SQL"),
    "bad.parquet": (b"PAR1 and then nothing", "is not readable Parquet"),
    "bad.json": (b'{"a": 1,\n "b": }\n', "line 2: "),
    "empty.json": (b"", "it is empty"),
    "bad.jsonl": (b'{"a": 1}\n{"a": \n{"a": 3}\n', "line 2: "),
    "lines.json": (b'{"a": 1}\n{"a" 2}\n', "line 2: "),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_with_the_line_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "add", name, "--name", "given", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"].startswith(name)
    assert said in error["message"]
    assert "--as-file" in error["hint"]
    assert not (tmp_path / ".everloop").exists()
    assert main(["data", "add", name, "--name", "given", "--as-file", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] is None


def test_parquet_that_is_damaged_between_its_ends(workspace: LocalWorkspace, tmp_path: Path) -> None:
    """Its footer is sound, so that its schema and rows can be told."""
    file = tmp_path / "page.parquet"
    pq.write_table(pa.table({"a": range(1000)}), file)
    content = bytearray(file.read_bytes())
    content[4:20] = b"\xff" * 16
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"page\.parquet cannot be read to its end: ") as refused:
        workspace.data.add(file, "given")
    assert "--as-file" in refused.value.hint
    assert workspace.data.datasets() == []
    assert workspace.data.add(file, "given", as_file=True).rows is None


def test_names_that_sql_takes_for_one_another_are_never_mixed_up(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a version can be of a time before they were refused: what was asked of one column was answered with the other."""
    monkeypatch.setattr(parquet, "unfit", lambda names: "")
    for big in (100, 300):
        workspace.data.add(pa.table({"a": [1], "A": [big]}), "old")
    old = ev.data("old")
    for ask in (
        lambda: old.to_arrow(columns=["A"], filter="a = 1"),
        lambda: old.relation(columns=["A"]),
        lambda: workspace.data.diff("old@v1", "old@v2", key=["a"]),
        lambda: workspace.data.check("old", [ev.check.in_range("A", high=1)]),
        lambda: workspace.data.infer("old"),
    ):
        with pytest.raises(InvalidInput, match="'a' and 'A', which are one name in SQL"):
            ask()
    assert old.to_arrow(columns=["A"])["A"].to_pylist() == [300]


def test_one_bad_file_keeps_its_whole_folder_out(workspace: LocalWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").write_text("a,b\n1,2\n")
    (folder / "b.csv").write_text("a,b\n1\n")
    with pytest.raises(InvalidInput, match=r"b\.csv cannot be read as a table: line 2 has 1 field"):
        workspace.data.add(folder, "given")
    assert workspace.data.datasets() == []


@pytest.mark.parametrize("header", ["a,b\n", "a,b", "\ufeffa,b\r\n"])
def test_a_header_alone_is_a_table_without_rows(
    workspace: LocalWorkspace, tmp_path: Path, header: str
) -> None:
    (tmp_path / "h.csv").write_text(header, encoding="utf-8", newline="")
    added = workspace.data.add(tmp_path / "h.csv", "header", checks=[ev.check.not_null("a")])
    assert (added.rows, [each.name for each in added.columns]) == (0, ["a", "b"])
    assert ev.data("header").to_arrow().to_pydict() == {"a": [], "b": []}
    with pytest.raises(Refused):
        workspace.data.add(tmp_path / "h.csv", "header", checks=[ev.check.row_count(1)])


def test_what_is_unusual_but_right_is_read(workspace: LocalWorkspace, tmp_path: Path) -> None:
    long = "word " * 60_000
    rows = 'a,b\n\n1,"x\ny, z"\n2,"says ""so"""\n3,5" pipe\n' + f'4,"{long}"\n'
    (tmp_path / "odd.csv").write_text(rows)
    workspace.data.add(tmp_path / "odd.csv", "odd")
    assert ev.data("odd").to_arrow()["b"].to_pylist() == ["x\ny, z", 'says "so"', '5" pipe', long]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("returns.csv", "a,b\r1,x\r2,y\r"),
        ("returns_unended.csv", "a,b\r1,x\r2,y"),
        ("marked.csv", "\ufeffa,b\r\n1,x\r\n2,y\r\n"),
        ("marked.json", '\ufeff[{"a": 1, "b": "x"},\n{"a": 2, "b": "y"}]'),
        ("marked.jsonl", '\ufeff{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'),
    ],
)
def test_ends_of_lines_and_marks_of_other_systems_are_read(
    workspace: LocalWorkspace, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert workspace.data.add(tmp_path / name, "given").rows == 2
    assert ev.data("given").to_arrow().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert ev.data("given").to_arrow("b").to_pydict() == {"b": ["x", "y"]}, "one column by its name"


def test_values_of_several_lines_are_read_and_checked_whatever_the_size(
    workspace: LocalWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "text.csv").write_text("a,b\n" + '1,"one\ntwo\nthree"\n' * MANY)
    added = workspace.data.add(tmp_path / "text.csv", "text", checks=[ev.check.not_null("b")])
    assert added.rows == MANY
    assert ev.data("text").to_arrow()["b"].unique().to_pylist() == ["one\ntwo\nthree"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", '{"depth": 3}'),
        ("numbers.json", "[1, 2]"),
        ("mixed.json", '[{"a": 1}, 2]'),
        ("kinds.jsonl", '{"a": 1}\n{"a": "x"}\n'),
        ("none.jsonl", ""),
        ("capitals.jsonl", '{"a": 1, "A": 2}\n'),
    ],
)
def test_json_that_is_no_table_is_kept(
    workspace: LocalWorkspace, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert workspace.data.add(tmp_path / name, "given").rows is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.jsonl", '{"a": 1, "b": "x"}\n\n{"b": "y"}\n'),
        ("lines.json", '{"a": 1, "b": "x"}\n{"b": "y"}\n'),
        ("list.json", '[\n {"a": 1,\n  "b": "x"},\n {"b": "y"}\n]'),
    ],
)
def test_json_rows_are_a_table(workspace: LocalWorkspace, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    added = workspace.data.add(tmp_path / name, "given", checks=[ev.check.not_null("b")])
    assert (added.rows, [each.type for each in added.columns]) == (2, ["int64", "string"])
    assert ev.data("given").to_arrow().to_pydict() == {"a": [1, None], "b": ["x", "y"]}


def test_a_table_in_memory_is_no_file(workspace: LocalWorkspace) -> None:
    import pyarrow as pa

    with pytest.raises(InvalidInput, match="no file"):
        workspace.data.add(pa.table({"a": [1]}), "given", as_file=True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "cannot be written or read: Read-only file system"),
        (errno.EACCES, "cannot be written or read: Permission denied"),
    ],
)
@pytest.mark.parametrize("place", ["packs", "index", "cache"])
def test_a_store_that_cannot_be_written_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".everloop").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.bin").write_bytes(b"a" * 1000)
    assert main(["data", "add", "d", "--name", "before", "--json"]) == 0
    (tmp_path / "d" / "a.bin").write_bytes(b"b" * 1000)
    capsys.readouterr()

    def refuses(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if place == "packs":
        monkeypatch.setattr(packs.PackFile, "extend", refuses)
    elif place == "index":
        monkeypatch.setattr(stat_index.Path, "touch", refuses)
    else:
        monkeypatch.setattr(file_cache.os, "rename", refuses)
    command = ["add", "d", "--name", "given"]
    if place == "cache":
        command = ["checkout", "before", "out", "--link", "hardlink"]
    assert main(["data", *command, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in error["message"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".everloop", "d"]
    capsys.readouterr()
    assert main(["data", "list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["datasets"]] == ["before"]
    assert main(["data", *command, "--json"]) == 0


def test_a_table_with_tabs(workspace: LocalWorkspace, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('id\tsaid\n1\t"a, b\tc"\n2\td\n')
    assert workspace.data.add(tmp_path / "t.tsv", "t", checks=[ev.check.not_null("id")]).rows == 2
    assert ev.data("t").to_arrow().to_pydict() == {"id": [1, 2], "said": ["a, b\tc", "d"]}
    (tmp_path / "only.tsv").write_text("id\tsaid")
    assert [column.name for column in workspace.data.add(tmp_path / "only.tsv", "only").columns] == [
        "id",
        "said",
    ]


def test_times_of_json_that_say_a_zone_keep_it(workspace: LocalWorkspace, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"at": "2026-01-01T00:00:00Z", "there": "2026-01-01T02:00:00+02:00", "day": "2026-01-01", "both": "2026-01-01T00:00"}\n'
        '{"at": null, "there": "2026-01-02T00:00:00Z", "day": "2026-01-02", "both": "2026-01-01T00:00:00Z"}\n'
    )
    added = workspace.data.add(tmp_path / "t.jsonl", "t")
    assert {column.name: column.type for column in added.columns} == {
        "at": "timestamp[s, tz=UTC]",
        "there": "timestamp[s, tz=UTC]",
        "day": "timestamp[s]",
        "both": "string",
    }
    read = ev.data("t").to_arrow()
    assert read["at"][0].as_py() == read["there"][0].as_py()
