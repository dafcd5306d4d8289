"""Differences: two versions of a million rows by key and by content, an appended version, and equal versions, beside a bare join.

    python bench/data/bench_diff.py [--rows 1000000] [--columns 10] [--rounds 3] [--small]

    by key      1 % of the cells of one column changed, 500 rows removed, 700 added: counts, cells by column, a sample of rows
    by content  the same two versions as multisets of rows
    appended    by key, a version with a tenth more rows in a file of its own: the file that both have is not read but for its key
    equal       by key, the same files under other names
    bare join   DuckDB over the two files: a full join by key that compares all columns and only counts

Each round is a process of its own; imports are not counted. `wall` and `processor` are seconds, `memory` how much more the
process had at most than before, in MB (Linux only); the middle of the rounds. `ratio` is of wall times in the same round.
Large files are taken out of the store once, before their first scan: a comparison of versions nobody read on this machine yet
is `by key, first`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORKS = ("by key, first", "by key", "by content", "appended", "equal", "bare join")


def write(folder: Path, rows: int, columns: int) -> None:
    """A table, the same with changes, and a tenth more of it."""
    from everloop.data.tables.parquet import WRITING

    rng = np.random.default_rng(1)
    cells: dict[str, Any] = {"id": rng.permutation(rows)}
    cells |= {f"x{n}": rng.normal(n, 1 + n, rows) for n in range(columns - 3)}
    cells["code"] = [f"code {n}" for n in rng.integers(0, 5000, rows)]
    cells["day"] = np.datetime64("2020-01-01") + rng.integers(0, 900, rows)
    first = pa.table(cells)
    moved = cells["x1"].copy()
    moved[rng.choice(rows, rows // 100, replace=False)] += 1
    second = first.set_column(2, "x1", pa.array(moved)).slice(500)
    new = first.slice(0, 700).set_column(0, "id", pa.array(np.arange(rows, rows + 700)))
    more = first.slice(0, rows // 10).set_column(0, "id", pa.array(np.arange(rows, rows + rows // 10)))
    for name, made in {"first": first, "second": pa.concat_tables([second, new]), "more": more}.items():
        pq.write_table(made, folder / f"{name}.parquet", **WRITING)


def highest(*, anew: bool = False) -> float:
    """The most memory this process had since it was last asked `anew`, in MB (`getrusage` would count the parent's too)."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def prepare(folder: Path) -> None:
    """The versions of a round in a new workspace; in a process of its own, for adding takes memory too."""
    from everloop.workspace.local import LocalWorkspace

    with LocalWorkspace(folder / "workspace") as workspace:
        data = workspace.data
        data.add(folder / "first.parquet", "t", file="a.parquet")
        data.add(folder / "second.parquet", "t", file="a.parquet")
        data.add(folder / "first.parquet", "grown", file="a.parquet")
        data.add(folder / "more.parquet", "grown", append=True, file="more.parquet")
        data.add(folder / "first.parquet", "renamed", file="b.parquet")


def measured(folder: Path) -> dict[str, list[float]]:
    """One round in this process: wall seconds, processor seconds and memory of each work."""
    import duckdb

    from everloop.data.differences import comparing, diffing  # noqa: F401  (imports are not what is measured)
    from everloop.workspace.local import LocalWorkspace

    found: dict[str, list[float]] = {}

    def timed(name: str, work: Any) -> Any:
        before = highest(anew=True)
        used, began = time.process_time(), time.perf_counter()
        done = work()
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        found[name] = [wall, cpu, highest() - before]
        return done

    with LocalWorkspace(folder / "workspace") as workspace:
        data = workspace.data
        timed("by key, first", lambda: data.diff("t@v1", "t@v2", key=["id"]))
        seen = timed("by key", lambda: data.diff("t@v1", "t@v2", key=["id"]))
        assert (seen.rows_added, seen.rows_removed) == (700, 500), seen
        seen = timed("by content", lambda: data.diff("t@v1", "t@v2"))
        assert seen.rows_added - seen.rows_removed == 200, seen
        data.diff("grown@v1", "grown@v2", key=["id"])
        seen = timed("appended", lambda: data.diff("grown@v1", "grown@v2", key=["id"]))
        assert seen.rows_removed == 0, seen
        seen = timed("equal", lambda: data.diff("t@v1", "renamed@v1", key=["id"]))
        assert seen.rows_added == 0, seen
    columns = pq.read_schema(folder / "first.parquet").names[1:]
    differs = " or ".join(f"a.{name} is distinct from b.{name}" for name in columns)
    query = f"""select count(*) filter (a.side is null), count(*) filter (b.side is null),
            count(*) filter (a.side is not null and b.side is not null and ({differs}))
        from (select *, 1 as side from '{folder / "first.parquet"}') a
        full join (select *, 1 as side from '{folder / "second.parquet"}') b on a.id = b.id"""
    timed("bare join", lambda: duckdb.sql(query).fetchall())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="20,000 rows, one round: to see that it works")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--round", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.prepare is not None:
        prepare(asked.prepare)
        return
    if asked.round is not None:
        print(json.dumps(measured(asked.round)))
        return
    rows, rounds = (20_000, 1) if asked.small else (asked.rows, asked.rounds)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, rows, asked.columns)
        size = (folder / "first.parquet").stat().st_size
        print(f"{rows:,} rows x {asked.columns} columns, {size / 1e6:.0f} MB of Parquet, {rounds} rounds\n")
        found = []
        for _ in range(rounds):
            for step in ("--prepare", "--round"):
                command = [sys.executable, __file__, step, place]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            shutil.rmtree(folder / "workspace")
    print(f"{'work':<16}{'wall':>8}{'processor':>11}{'memory':>9}{'ratio':>8}  to")
    for work in WORKS:
        wall, used, memory = (statistics.median(each[work][at] for each in found) for at in range(3))
        ratio = statistics.median(each[work][0] / each["bare join"][0] for each in found)
        told = "" if work == "bare join" else f"{ratio:>8.2f}  bare join"
        print(f"{work:<16}{wall:>8.3f}{used:>11.3f}{memory:>9.0f}{told}")


if __name__ == "__main__":
    main()
