"""Versions read without a checkout: only what is needed is fetched, everything is checked, and fsspec finds them by name."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

import everloop as ev
from everloop.client.ambient import using
from everloop.client.files import EverloopFileSystem
from everloop.domain.consumption import collecting
from everloop.errors import Corrupted
from everloop.store.objects.s3 import S3Bucket
from everloop.workspace.local import LocalWorkspace

COLUMNS = [f"x{number}" for number in range(10)]


def wide(rows: int = 300_000) -> pa.Table:
    random = np.random.default_rng(7)
    return pa.table({"id": np.arange(rows)} | {name: random.normal(size=rows) for name in COLUMNS})


@pytest.fixture
def on_s3(tmp_path: Path, s3_address: str) -> Iterator[LocalWorkspace]:
    project = tmp_path / "project"
    project.mkdir()
    text = f'name = "p"\nprofile = "team"\n[profiles.team]\nobjects = "{s3_address}"\n'
    (project / "everloop.toml").write_text(text)
    with LocalWorkspace(project) as workspace, using(workspace):
        yield workspace


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each answer of the S3 server to a read."""
    sizes: list[int] = []
    get = S3Bucket.get

    def counted(self: S3Bucket, key: str, offset: int, length: int) -> bytes | None:
        data = get(self, key, offset, length)
        sizes.append(len(data or b""))
        return data

    monkeypatch.setattr(S3Bucket, "get", counted)
    return sizes


class TestFromS3:
    def test_a_column_costs_its_bytes(self, on_s3: LocalWorkspace, fetched: list[int]) -> None:
        table = wide()
        size = on_s3.data.add(table, "wide").bytes
        dataset = ev.data("wide")
        fetched.clear()
        assert dataset.to_arrow(columns=["x3"]).equals(table.select(["x3"]))
        assert sum(fetched) < 0.15 * size
        assert len(fetched) < 20, "in few requests"
        fetched.clear()
        some = dataset.to_arrow(columns=["id"], filter="x7 > 3")
        assert some.equals(table.filter(pds.field("x7") > 3).select(["id"]))
        assert sum(fetched) < 0.35 * size
        fetched.clear()
        some = dataset.to_arrow(columns=["id"], filter=pds.field("x7") > 3)
        assert some.equals(table.filter(pds.field("x7") > 3).select(["id"]))
        assert dataset.relation(columns=["x1"]).aggregate("count(x1)").fetchall() == [(table.num_rows,)]
        assert sum(fetched) < 0.45 * size

    def test_the_whole_table_is_fetched_once(self, on_s3: LocalWorkspace, fetched: list[int]) -> None:
        table = wide()
        size = on_s3.data.add(table, "wide").bytes
        fetched.clear()
        assert ev.data("wide").to_arrow().equals(table)
        assert size <= sum(fetched) < 1.1 * size
        fetched.clear()
        assert ev.data("wide").relation().aggregate("sum(id)").fetchall() == [(sum(range(table.num_rows)),)]
        assert ev.data("wide").to_arrow(columns=["x1"]).equals(table.select(["x1"]))
        assert sum(fetched) < 10_000, "it rests on this machine now"

    def test_a_piece_of_a_file_costs_a_piece(
        self, on_s3: LocalWorkspace, tmp_path: Path, fetched: list[int]
    ) -> None:
        content = os.urandom(20_000_000)
        (tmp_path / "big.bin").write_bytes(content)
        on_s3.data.add(tmp_path / "big.bin", "big")
        fetched.clear()
        with ev.data("big").open() as stream:
            stream.seek(10_000_000)
            assert stream.read(1000) == content[10_000_000:10_001_000]
        assert sum(fetched) < 1_000_000

    def test_many_small_files_come_in_few_requests(
        self, on_s3: LocalWorkspace, tmp_path: Path, fetched: list[int]
    ) -> None:
        (tmp_path / "small").mkdir()
        for number in range(500):
            (tmp_path / "small" / f"{number}.bin").write_bytes(os.urandom(2000))
        on_s3.data.add(tmp_path / "small", "small")
        fetched.clear()
        on_s3.data.checkout("small", tmp_path / "out")
        assert len(fetched) < 10
        for number in range(500):
            name = f"{number}.bin"
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()


class TestOnThisMachine:
    def test_a_file_that_was_written_to_is_not_believed(self, workspace: LocalWorkspace) -> None:
        table = wide()
        workspace.data.add(table, "wide")
        assert ev.data("wide").to_arrow().equals(table)
        (kept,) = [path for path in (workspace.folder / "cache" / "files").rglob("*") if path.is_file()]
        assert kept.stat().st_mode & 0o222 == 0
        kept.chmod(0o644)
        with kept.open("r+b") as file:
            file.seek(1000)
            file.write(b"damage")
        assert ev.data("wide").to_arrow().equals(table)

    def test_the_cache_may_be_deleted(self, workspace: LocalWorkspace) -> None:
        table = wide()
        workspace.data.add(table, "wide")
        assert ev.data("wide").to_arrow().equals(table)
        index = workspace.folder / "cache" / "files.sqlite"
        index.write_bytes(b"no database")
        assert ev.data("wide").to_arrow().equals(table)
        sound = index.read_bytes()
        index.write_bytes(sound[:4096] + bytes(len(sound) - 4096))  # it opens, and cannot be asked
        assert ev.data("wide").to_arrow().equals(table)
        workspace.data.remove("wide")
        workspace.data.gc(grace=0.0)
        assert not [path for path in (workspace.folder / "cache" / "files").rglob("*") if path.is_file()]

    def test_without_room_for_it_the_table_is_held_in_memory(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = wide()
        workspace.data.add(table, "wide")

        def full(source: str, target: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "rename", full)
        assert ev.data("wide").to_arrow().equals(table)
        assert [
            path
            for path in (workspace.folder / "cache").rglob("*")
            if path.is_file() and path.stat().st_size > 10**6
        ] == []

    def test_damage_in_the_store_is_not_handed_out(self, workspace: LocalWorkspace) -> None:
        workspace.data.add(wide(), "wide")
        (pack,) = (workspace.folder / "objects" / "packs").iterdir()
        damaged = bytearray(pack.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(damaged)
        with pytest.raises(Corrupted):
            ev.data("wide").to_arrow()


class TestFileSystem:
    @pytest.fixture(autouse=True)
    def datasets(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        for name in ("2013/01.parquet", "2013/02.parquet", "2014/01.parquet"):
            path = tmp_path / "lake" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"a": [1, 2], "b": [name, name]}), path)
        workspace.data.add(tmp_path / "lake", "team/lake")
        (tmp_path / "note.txt").write_text("one\ntwo\n")
        workspace.data.add(tmp_path / "note.txt", "note")
        workspace.data.add(pa.table({"a": [1]}), "note")
        fsspec.register_implementation("everloop", EverloopFileSystem, clobber=True)

    def test_pandas_reads_files_and_versions(self) -> None:
        with collecting() as seen:
            frame = pd.read_parquet("everloop://team/lake@v1/2013/01.parquet")
        assert frame["a"].tolist() == [1, 2]
        assert list(seen) == ["data:team/lake@v1"]
        assert len(pd.read_parquet("everloop://team/lake")) == 6

    def test_it_lists_and_finds(self) -> None:
        files = fsspec.filesystem("everloop")
        assert files.ls("", detail=False) == ["note", "team"]
        assert files.ls("team", detail=False) == ["team/lake"]
        assert files.ls("everloop://team/lake@v1", detail=False) == ["team/lake@v1/2013", "team/lake@v1/2014"]
        assert files.glob("team/lake@v1/*/01.parquet") == [
            "team/lake@v1/2013/01.parquet",
            "team/lake@v1/2014/01.parquet",
        ]
        assert len(files.find("team/lake")) == 3
        assert files.info("note@v1/note.txt")["size"] == 8
        assert files.isdir("team/lake@v1/2013")
        assert not files.exists("team/lake@v1/2015")
        assert not files.exists("note@v9")
        with fsspec.open("everloop://note@v1/note.txt", "rt") as text:
            assert text.readlines() == ["one\n", "two\n"]
        assert files.cat_file("note@v1/note.txt", start=4, end=7) == b"two"

    def test_it_is_never_written(self) -> None:
        with pytest.raises(PermissionError, match="cannot be written"):
            fsspec.filesystem("everloop").open("note@v1/note.txt", "wb")
        with pytest.raises(FileNotFoundError):
            fsspec.filesystem("everloop").open("note@v1/nothing.txt")

    def test_another_workspace_by_its_place(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        with LocalWorkspace(tmp_path / "other") as other, using(other):
            files = fsspec.filesystem("everloop", workspace=str(workspace.project))
            assert files.ls("", detail=False) == ["note", "team"]

    def test_the_package_says_so(self) -> None:
        declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        assert declared["project"]["entry-points"]["fsspec.specs"] == {
            "everloop": f"{EverloopFileSystem.__module__}:{EverloopFileSystem.__name__}"
        }
