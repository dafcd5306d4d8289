"""How long `everloop import mlflow` takes for an mlflow.db with 10,000 runs of 20 metrics with 100 points each (20 M points), 10
parameters and 5 tags. Goal: 60 s.

    python bench/tracking/bench_import.py [--runs 10000] [--keep FOLDER]

The database is made by bulk SQL with the tables of MLflow 3.17.2 (5 GB, which takes minutes; `--keep` keeps it for another time).
Then the whole command is timed, and again over what is there by then.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

METRICS, POINTS = 20, 100
BEGAN = 1_700_000_000_000
TABLES = """
CREATE TABLE experiments (experiment_id INTEGER NOT NULL, name VARCHAR(256) NOT NULL, artifact_location VARCHAR(256),
  lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT, workspace VARCHAR(63) DEFAULT 'default' NOT NULL,
  PRIMARY KEY (experiment_id));
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL, name VARCHAR(250), source_type VARCHAR(20), source_name VARCHAR(500),
  entry_point_name VARCHAR(50), user_id VARCHAR(256), status VARCHAR(9), start_time BIGINT, end_time BIGINT,
  source_version VARCHAR(50), lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200), experiment_id INTEGER,
  deleted_time BIGINT, PRIMARY KEY (run_uuid));
CREATE TABLE params (key VARCHAR(250) NOT NULL, value VARCHAR(8000) NOT NULL, run_uuid VARCHAR(32) NOT NULL,
  PRIMARY KEY (key, run_uuid));
CREATE TABLE tags (key VARCHAR(250) NOT NULL, value VARCHAR(8000), run_uuid VARCHAR(32) NOT NULL, PRIMARY KEY (key, run_uuid));
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL, run_uuid VARCHAR(32) NOT NULL,
  step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
  PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
"""
INDEXES = """
CREATE INDEX index_params_run_uuid ON params (run_uuid);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, key, step);
"""


def make(path: Path, runs: int) -> None:
    """The database as MLflow would have filled it, run by run."""
    chance = random.Random(7)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.executescript(TABLES)
        db.execute(
            "INSERT INTO experiments VALUES (1, 'bench', '/nowhere/mlruns/1', 'active', ?, ?, 'default')",
            (BEGAN, BEGAN),
        )
        for number in range(runs):
            run, start = f"{chance.getrandbits(128):032x}", BEGAN + number * 60_000
            facts = (
                run,
                f"run-{number}",
                "UNKNOWN",
                "",
                "",
                "ann",
                "FINISHED",
                start,
                start + 50_000,
                "",
                "active",
                "",
                1,
                None,
            )
            db.execute(f"INSERT INTO runs VALUES ({','.join('?' * len(facts))})", facts)
            params = [(f"p{each}", repr(chance.random()), run) for each in range(10)]
            db.executemany("INSERT INTO params VALUES (?, ?, ?)", params)
            tags = [(f"t{each}", f"value {chance.randrange(9)}", run) for each in range(5)]
            db.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)
            points = [
                (f"metric_{key}", chance.random(), start + step * 500 + chance.randrange(400), run, step, 0)
                for key in range(METRICS)
                for step in range(POINTS)
            ]
            db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points)
        db.executescript(INDEXES)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, dict[str, object]]:
    """Wall seconds, processor seconds, and what the command said."""
    before = os.times()
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent, json.loads(done.stdout)


def appended(path: Path, size: int) -> float:
    """Seconds that writing and syncing as many bytes takes: what the disk allows."""
    block = array("B", bytes(1 << 20))
    start = time.perf_counter()
    with path.open("wb") as out:
        for _ in range(size >> 20):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    took = time.perf_counter() - start
    path.unlink()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="Where the database is kept for the next time.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="everloop-bench-", ignore_cleanup_errors=True) as temporary:
        measure(given.keep or Path(temporary), Path(temporary), given.runs)


def measure(kept: Path, folder: Path, runs: int) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    store = kept / f"mlflow-{runs}.db"
    if not store.exists():
        make(store.with_suffix(".made"), runs)
        store.with_suffix(".made").rename(store)
    workspace = folder / "workspace"
    workspace.mkdir()
    environment = os.environ | {"EVERLOOP_WORKSPACE": str(workspace)}
    command = [sys.executable, "-m", "everloop", "import", "mlflow", str(store), "--json"]
    print(
        f"{store.name}: {runs:,} runs, {runs * METRICS * POINTS:,} points, {store.stat().st_size / 1e6:,.0f} MB"
    )
    for turn in ("first import", "again"):
        wall, spent, report = timed(command, environment)
        print(f"{turn:14} {wall:7.1f} s   processor {spent:7.1f} s   imported {report['imported']}")
    size = sum(file.stat().st_size for file in workspace.rglob("*") if file.is_file())
    print(
        f"workspace      {size / 1e6:,.0f} MB; the disk takes {appended(folder / 'probe', size):.1f} s to write as much"
    )


if __name__ == "__main__":
    main()
