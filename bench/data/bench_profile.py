"""Profiles: a million rows of twenty columns, an appended version, and what a profile takes of memory, beside DuckDB's SUMMARIZE.

    python bench/data/bench_profile.py [--rows 1000000] [--rounds 3] [--small]

    profile     everything at once: types, null and NaN, ranks, histograms, frequent and distinct values, correlations, lengths,
                dates, duplicate rows, likely personal data; kept with the version
    appended    the profile of a version with a tenth more rows in a file of its own, once that of the version before is kept
    kept        the same profile asked for again
    summarize   DuckDB over the same file: count, null share, minimum, maximum, mean, deviation, three quartiles, distinct
    shifts      two profiled versions compared

Each round is a process of its own; imports are not counted. `wall` and `processor` are seconds, `memory` how much more the
process had at most than before, in MB (Linux only); the middle of the rounds. `ratio` is of wall times in the same round.
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

WORKS = ("profile", "kept", "appended", "shifts", "summarize")


def table(rows: int, seed: int) -> pa.Table:
    """Nine floats (one with NaN), five integers, a boolean, a time, and four texts: few, some, all different, long with nulls."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": np.arange(rows) + seed * rows}
    columns |= {f"x{n}": rng.normal(n, 1 + n, rows) for n in range(9)}
    columns["x0"][rng.random(rows) < 0.02] = np.nan
    columns |= {f"i{n}": rng.integers(0, 10 ** (n + 1), rows) for n in range(4)}
    columns["late"] = rng.random(rows) < 0.3
    steps = np.cumsum(rng.integers(0, 60_000_000, rows)).astype("timedelta64[us]")
    columns["time"] = np.datetime64("2020-01-01", "us") + steps
    columns["carrier"] = np.array(["AA", "UA", "DL", "B6"])[rng.integers(0, 4, rows)].tolist()
    columns["city"] = [f"city {n}" for n in rng.integers(0, 3000, rows)]
    columns["mail"] = [f"user{n}@example.com" for n in rng.permutation(rows)]
    words = rng.integers(0, rows // 2 + 1, rows)
    columns["note"] = [None if n % 10 == 0 else f"some words and {n}" * (1 + n % 3) for n in words]
    return pa.table(columns)


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
        data.add(folder / "first.parquet", "t", file="first.parquet")
        data.add(folder / "more.parquet", "t", append=True, file="more.parquet")


def measured(folder: Path) -> dict[str, list[float]]:
    """One round in this process: wall seconds, processor seconds and memory of each work."""
    import duckdb

    from everloop.data.profiles import profiling, summaries  # noqa: F401  (imports are not what is measured)
    from everloop.workspace.local import LocalWorkspace

    found: dict[str, list[float]] = {}

    def timed(name: str, work: Any) -> None:
        before = highest(anew=True)
        used, began = time.process_time(), time.perf_counter()
        work()
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        found[name] = [wall, cpu, highest() - before]

    with LocalWorkspace(folder / "workspace") as workspace:
        data = workspace.data
        timed("profile", lambda: data.profile("t@v1"))
        timed("kept", lambda: data.profile("t@v1"))
        timed("appended", lambda: data.profile("t@v2"))
        timed("shifts", lambda: data.compare_profiles("t@v1", "t@v2"))
    query = f"summarize from '{folder / 'first.parquet'}'"
    timed("summarize", lambda: duckdb.sql(query).fetchall())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
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
        from everloop.data.tables.parquet import WRITING

        pq.write_table(table(rows, 1), folder / "first.parquet", **WRITING)
        pq.write_table(table(rows // 10, 2), folder / "more.parquet", **WRITING)
        size = (folder / "first.parquet").stat().st_size
        print(f"{rows:,} rows x 20 columns, {size / 1e6:.0f} MB of Parquet, {rounds} rounds\n")
        found = []
        for _ in range(rounds):
            for step in ("--prepare", "--round"):
                command = [sys.executable, __file__, step, place]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            shutil.rmtree(folder / "workspace")
    print(f"{'work':<14}{'wall':>8}{'processor':>11}{'memory':>9}{'ratio':>8}  to")
    for work in WORKS:
        wall, used, memory = (statistics.median(each[work][at] for each in found) for at in range(3))
        ratio = statistics.median(each[work][0] / each["summarize"][0] for each in found)
        told = "" if work != "profile" else f"{ratio:>8.2f}  summarize"
        print(f"{work:<14}{wall:>8.3f}{used:>11.3f}{memory:>9.0f}{told}")


if __name__ == "__main__":
    main()
