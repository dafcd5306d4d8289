"""Versions: adding, status and checkout against `cp` and DVC, and what a small change of something large costs to keep.

    python bench/data/bench_versions.py [--rounds 3] [--files 20000] [--megabytes 2048] [--small]

    small files   20,000 of 4,096 random bytes, 1,000 a folder: added, added again with nothing changed and with one file
                  changed; status; checked out by copy and by hard link, for the first time and again. `cp -r` and `cp -rl` of
                  the same folder in the same round
    one file      of random bytes: added, and added again, beside `cp` and one pass of SHA-256; and beside the same with the copy
                  brought to stable storage, as what is added always is: `cp` alone ends while most of it is in memory only
    changes       of a Parquet table of about 200 MB (1 % of its rows appended; 1 % inserted in the middle), and of a binary of
                  200 MB (100 pieces, together 1 %, replaced): bytes that the store grows by

Each work is a command of its own, as a user types it, so the start of Python is in every figure; workspace and DVC repository
are made before. `wall` and `processor` are seconds, the middle of the rounds; `ratio` is of wall times in the same round. DVC
runs where `.venv-peers-data` holds it. With --small everything is a hundredth, to see that it works.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EVERLOOP = [str(Path(sys.executable).with_name("everloop"))]
DVC = Path(__file__).parents[2] / ".venv-peers-data" / "bin" / "dvc"
QUIET = {"DVC_NO_ANALYTICS": "1"}
MB = 1_000_000


class Table:
    """Times of works by name, a list of rounds each: wall seconds and processor seconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        used = processor()
        began = time.perf_counter()
        yield
        self.times.setdefault(name, []).append((time.perf_counter() - began, processor() - used))

    def run(self, name: str, *command: str | Path, cwd: Path) -> None:
        with self.time(name):
            done = subprocess.run(
                [str(each) for each in command],
                cwd=cwd,
                capture_output=True,
                text=True,
                env=os.environ | QUIET,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")

    def show(self, beside: Callable[[str], str | None]) -> None:
        print(f"{'work':<44}{'wall':>8}{'processor':>11}{'ratio':>8}  to")
        for name, rounds in self.times.items():
            wall, used = (statistics.median(each) for each in zip(*rounds, strict=True))
            limit = beside(name)
            told = ""
            if limit is not None and limit != name:
                pairs = zip(rounds, self.times[limit], strict=True)
                told = f"{statistics.median(mine[0] / theirs[0] for mine, theirs in pairs):>8.2f}  {limit}"
            print(f"{name:<44}{wall:>8.2f}{used:>11.2f}{told}")
        print()


def make_workspace(project: Path) -> None:
    command = [*EVERLOOP, "data", "list"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def processor() -> float:
    """Processor seconds of this process and of the children it has waited for."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)


def small_files(rounds: int, files: int) -> None:
    table = Table()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            _small_round(table, Path(place), files)
    limits = {
        "dvc": None,
        "everloop: checkout, hard link": "cp -rl",
        "everloop: checkout, hard link, again": "cp -rl",
    }
    table.show(lambda name: limits.get(name, None if name.startswith(("cp", "dvc")) else "cp -r"))


def _small_round(table: Table, place: Path, files: int) -> None:
    source, project = place / "small", place / "project"
    (project / ".everloop").mkdir(parents=True)
    for number in range(files):
        if number % 1000 == 0:
            (source / f"{number // 1000:03d}").mkdir(parents=True)
        (source / f"{number // 1000:03d}" / f"{number:06d}.bin").write_bytes(os.urandom(4096))
    make_workspace(project)
    add = (*EVERLOOP, "data", "add", source, "--name", "small")
    table.run("cp -r", "cp", "-r", source, place / "copy", cwd=place)
    table.run("cp -rl", "cp", "-rl", source, place / "links", cwd=place)
    table.run("everloop: add", *add, cwd=project)
    table.run("everloop: add, nothing changed", *add, cwd=project)
    table.run("everloop: status", *EVERLOOP, "data", "status", source, cwd=project)
    checkout = (*EVERLOOP, "data", "checkout", "small")
    table.run("everloop: checkout, copy", *checkout, place / "out", "--link", "copy", cwd=project)
    table.run("everloop: checkout, hard link", *checkout, place / "first", "--link", "hardlink", cwd=project)
    table.run(
        "everloop: checkout, hard link, again", *checkout, place / "second", "--link", "hardlink", cwd=project
    )
    (source / "000" / "000000.bin").write_bytes(os.urandom(4096))
    table.run("everloop: add, one file changed", *add, cwd=project)
    if DVC.exists():
        _small_dvc(table, place, source)


def _small_dvc(table: Table, place: Path, source: Path) -> None:
    project = place / "dvc"
    project.mkdir()
    for command in (["git", "init", "-q"], [str(DVC), "init", "-q"]):
        subprocess.run(command, cwd=project, check=True, env=os.environ | QUIET)
    shutil.copytree(source, project / "small")
    table.run("dvc: add", DVC, "add", "-q", "small", cwd=project)
    table.run("dvc: add, nothing changed", DVC, "add", "-q", "small", cwd=project)
    table.run("dvc: status", DVC, "status", "-q", cwd=project)
    shutil.rmtree(project / "small")
    table.run("dvc: checkout, copy", DVC, "checkout", "-q", cwd=project)
    subprocess.run([DVC, "config", "cache.type", "hardlink"], cwd=project, check=True, env=os.environ | QUIET)
    shutil.rmtree(project / "small")
    table.run("dvc: checkout, hard link", DVC, "checkout", "-q", cwd=project)


def one_file(rounds: int, megabytes: int) -> None:
    table = Table()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            folder = Path(place)
            project = folder / "project"
            (project / ".everloop").mkdir(parents=True)
            source = folder / "big.bin"
            with source.open("wb") as file:
                for _ in range(megabytes):
                    file.write(os.urandom(1 << 20))
            os.sync()
            make_workspace(project)
            add = (*EVERLOOP, "data", "add", source, "--name", "big")
            with table.time("cp, and SHA-256"):
                subprocess.run(["cp", source, folder / "copy.bin"], check=True)
                with source.open("rb") as file:
                    hashlib.file_digest(file, "sha256")
            (folder / "copy.bin").unlink()
            os.sync()
            with table.time("cp, its sync, and SHA-256"):
                subprocess.run(["cp", source, folder / "copy.bin"], check=True)
                with (folder / "copy.bin").open("rb") as file:
                    os.fsync(file.fileno())
                with source.open("rb") as file:
                    hashlib.file_digest(file, "sha256")
            (folder / "copy.bin").unlink()
            os.sync()
            table.run("everloop: add", *add, cwd=project)
            table.run("everloop: add, nothing changed", *add, cwd=project)
            table.run(
                "everloop: checkout, copy", *EVERLOOP, "data", "checkout", "big", folder / "out", cwd=project
            )
            if DVC.exists():
                _one_dvc(table, folder, source)
    table.show(lambda name: None if name == "cp, and SHA-256" else "cp, and SHA-256")


def _one_dvc(table: Table, folder: Path, source: Path) -> None:
    project = folder / "dvc"
    project.mkdir()
    for command in (["git", "init", "-q"], [str(DVC), "init", "-q"]):
        subprocess.run(command, cwd=project, check=True, env=os.environ | QUIET)
    os.link(source, project / "big.bin")
    table.run("dvc: add", DVC, "add", "-q", "big.bin", cwd=project)


def changes(megabytes: int) -> None:
    print(f"{'change':<44}{'size':>10}{'stored':>10}{'share':>8}")
    random = np.random.default_rng(1)
    rows = megabytes * 25_000
    grown = table_of(random, 0, rows)
    fresh = table_of(random, rows, rows // 100)
    half = rows // 2
    inserted = pa.concat_tables([grown.slice(0, half), fresh, grown.slice(half)])
    _change("Parquet, 1 % of the rows appended", [grown, pa.concat_tables([grown, fresh])])
    _change("Parquet, 1 % of the rows by data add --append", [grown, fresh], append=True)
    _change("Parquet, 1 % of the rows inserted", [grown, inserted])
    content = bytearray(random.bytes(megabytes * MB))
    edited = bytearray(content)
    size = len(content) // 10_000
    for start in range(0, len(content), len(content) // 100):
        edited[start : start + size] = random.bytes(size)
    _change("binary, 100 pieces of together 1 % replaced", [bytes(content), bytes(edited)])
    if DVC.exists():
        print("dvc stores each of them whole again: it knows whole files only")


def table_of(random: np.random.Generator, first: int, rows: int) -> pa.Table:
    ids = np.arange(first, first + rows)
    columns = {"id": ids, "ts": 1_357_000_000 + ids * 7, "user": random.integers(0, 100_000, rows)}
    columns |= {name: random.normal(size=rows).round(6) for name in "abcd"}
    columns["cat"] = random.integers(0, 50, rows)
    return pa.table(columns)


def _change(name: str, versions: Sequence[pa.Table | bytes], *, append: bool = False) -> None:
    from everloop.data.tables.parquet import WRITING
    from everloop.workspace.local import LocalWorkspace

    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        (Path(place) / "project" / ".everloop").mkdir(parents=True)
        ending = "parquet" if isinstance(versions[0], pa.Table) else "bin"
        with LocalWorkspace(Path(place) / "project") as workspace:
            for number, version in enumerate(versions):
                source = Path(place) / f"{number if append else 'data'}.{ending}"
                if isinstance(version, bytes):
                    source.write_bytes(version)
                else:
                    pq.write_table(version, source, **WRITING)
                added = workspace.data.add(source, "changed", append=append)
        share = added.new_bytes / added.bytes
        print(f"{name:<44}{added.bytes / MB:>7.1f} MB{added.new_bytes / MB:>7.2f} MB{share:>8.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=2_048)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    part = 100 if asked.small else 1
    print(f"{asked.files // part:,} files of 4,096 bytes")
    small_files(asked.rounds, asked.files // part)
    print(f"one file of {asked.megabytes // part:,} MB")
    one_file(asked.rounds, max(asked.megabytes // part, 10))
    changes(200 if not asked.small else 20)


if __name__ == "__main__":
    main()
