"""Twenty checks of a table from Parquet: Everloop beside the bare DuckDB query, pandera on pandas and, where it is, on polars.

    make peers; python bench/data/bench_checks.py [--rows 10000000] [--rounds 3] [--small]

The table: four normal numbers, three whole ones, an id, a text of four values, a share. The checks: nothing missing (10),
ranges (8), a set, an id that never comes twice. `version` is `data check` of a version in a store, whose bytes were verified when
they were taken out of it; `first` takes them out too. `table` is the same without the store. The bare query counts the same and
nothing else. Each is a process of its own, imports count on no side; figures are medians of the rounds, taken in turns.
Goal: 1.2 times the bare query, 1 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".venv-peers-data" / "bin" / "python"

MAKE = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
path, rows, step = sys.argv[1], int(sys.argv[2]), 1_000_000
rng, writer = np.random.default_rng(0), None
for first in range(0, rows, step):
    n = min(step, rows - first)
    columns = {f"x{i}": rng.normal(size=n) for i in range(4)} | {f"i{i}": rng.integers(0, 1000, n) for i in range(3)}
    columns |= {"id": np.arange(first, first + n), "p": rng.random(n)}
    columns |= {"cat": np.array(["a", "b", "c", "d"])[rng.integers(0, 4, n)]}
    table = pa.table(columns)
    writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
    writer.write_table(table)
writer.close()
"""

TIMED = """
import json, resource, sys, time
def timed(work):
    began, used = time.perf_counter(), time.process_time()
    passed = work()
    assert passed, "the data is good"
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))
path = sys.argv[1]
XS, IS = [f"x{i}" for i in range(4)], [f"i{i}" for i in range(3)]
NAMES = [*XS, *IS, "id", "cat", "p"]
"""

BARE = """
import duckdb
con = duckdb.connect()
con.execute("set enable_progress_bar = false")  # it would go to standard output
parts = [f"count(*) filter ({name} is null)" for name in NAMES]
parts += [f"count(*) filter (not {x} between -10 and 10)" for x in XS]
parts += [f"count(*) filter (not {i} between 0 and 999)" for i in IS]
parts += ["count(*) filter (not p between 0 and 1)", "count(*) filter (cat not in ('a', 'b', 'c', 'd'))"]
parts += ["count(id) - count(distinct id)"]
timed(lambda: sum(con.sql(f"select {', '.join(parts)} from read_parquet('{path}')").fetchall()[0]) == 0)
"""

CHECKS = """
import everloop as ev
check = ev.check
listed = [check.not_null(name) for name in NAMES]
listed += [check.in_range(x, -10, 10) for x in XS] + [check.in_range(i, 0, 999) for i in IS]
listed += [check.in_range("p", 0, 1), check.in_set("cat", ["a", "b", "c", "d"]), check.unique("id")]
assert len(listed) == 20
"""

TABLE = """
import pyarrow.dataset as pds
from datetime import UTC, datetime
from everloop.data.checks.checking import Examination
from everloop.data.tables.scanning import connection
def work():
    with connection() as con:
        now = datetime.now(UTC)
        return Examination(con, pds.dataset(path), listed, fetch=None, now=now).report("", "").passed
timed(work)
"""

VERSION = """
import os
os.environ["EVERLOOP_WORKSPACE"] = os.path.dirname(path)
import everloop.data.checks.checking, everloop.data.dataset
ev.workspace().data
timed(lambda: ev.data("bench").check(listed).passed)
"""

FIRST = """
import os, shutil
shutil.rmtree(os.path.join(os.path.dirname(path), ".everloop", "cache"), ignore_errors=True)
"""

PANDAS = """
import pandas, pandera.pandas as pandera
column, check = pandera.Column, pandera.Check
columns = {x: column(float, check.in_range(-10, 10)) for x in XS}
columns |= {i: column("int64", check.in_range(0, 999)) for i in IS}
columns |= {"id": column("int64", unique=True), "p": column(float, check.in_range(0, 1))}
columns |= {"cat": column(str, check.isin(["a", "b", "c", "d"]))}
schema = pandera.DataFrameSchema(columns)
timed(lambda: len(schema.validate(pandas.read_parquet(path), lazy=True)) > 0)
"""

POLARS = """
import polars, pandera.polars as pandera
column, check = pandera.Column, pandera.Check
columns = {x: column(float, check.in_range(-10, 10)) for x in XS}
columns |= {i: column(int, check.in_range(0, 999)) for i in IS}
columns |= {"id": column(int, unique=True), "p": column(float, check.in_range(0, 1))}
columns |= {"cat": column(str, check.isin(["a", "b", "c", "d"]))}
schema = pandera.DataFrameSchema(columns)
timed(lambda: len(schema.validate(polars.read_parquet(path), lazy=True)) > 0)
"""

ADD = """
import sys, os
os.environ["EVERLOOP_WORKSPACE"] = os.path.dirname(sys.argv[1])
import everloop as ev
ev.workspace().data.add(sys.argv[1], "bench")
"""


def run(python: str | Path, code: str, *arguments: str) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run([str(python), "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="500,000 rows, to see that it runs")
    given = parser.parse_args()
    rows = 500_000 if given.small else given.rows
    sides: dict[str, tuple[str | Path, str]] = {
        "bare DuckDB query": (sys.executable, TIMED + BARE),
        "everloop, table": (sys.executable, TIMED + CHECKS + TABLE),
        "everloop, version": (sys.executable, TIMED + CHECKS + VERSION),
        "the same, first": (sys.executable, TIMED + CHECKS + FIRST + VERSION),
    }
    if PEERS.exists():
        sides["pandera, pandas"] = (PEERS, TIMED + PANDAS)
        sides["pandera, polars"] = (PEERS, TIMED + POLARS)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bench.parquet")
        run(sys.executable, MAKE, path, str(rows))
        run(sys.executable, ADD, path)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, (python, code) in sides.items():
                found[name].append(json.loads(run(python, code, path)))
        size = Path(path).stat().st_size
    print(f"{rows:,} rows x 10 from Parquet ({size / 1e6:.0f} MB), 20 checks, median of {given.rounds}")
    print(f"{'':20} {'seconds':>8} {'CPU s':>8} {'peak MB':>8} {'x bare':>7}")
    bare = statistics.median(each["seconds"] for each in found["bare DuckDB query"])
    for name, each in found.items():
        seconds, cpu, peak = (
            statistics.median(one[key] for one in each) for key in ("seconds", "cpu", "peak")
        )
        print(f"{name:20} {seconds:8.2f} {cpu:8.2f} {peak:8.0f} {seconds / bare:7.2f}")


if __name__ == "__main__":
    main()
