"""The point-in-time join: Everloop's exact one beside a bare ASOF join of DuckDB, and beside Feast.

    make peers; python bench/features/bench_history.py [--rows 1000000] [--entities 100000] [--rounds 5] [--small]

So many questions (key and instant, uniform over a year) are joined with as many feature rows of 20 doubles in one Parquet file;
each row became known up to an hour after it was true. Everloop answers exactly: event and availability time, a time to live of 90
days, ties by rule, every question once and in order. The bare join looks at the event time alone, and is sorted into the order of
the questions. Each side is a process of its own that reads Parquet and ends with an Arrow table; they run in turns. Printed are
medians over the rounds of wall time, of processor time (which says more on a machine with other work) and of the process's
greatest memory, with ratios to the bare join. `exact SQL` is the same exact semantics written as one query of DuckDB.
Goals: 1.6 times the bare join, 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FEAST = HERE.parents[1] / ".venv-peers-data" / "bin" / "python"
FEATURES = [f"f{number}" for number in range(20)]
YEAR = 365 * 86_400 * 10**6
START = 1_700_000_000 * 10**6

BARE = """
select asked.*, {features} from (select *, row_number() over () as place from read_parquet('{folder}/asked.parquet')) asked
asof left join read_parquet('{folder}/rows.parquet') f on asked.user_id = f.user_id and asked.at >= f.event_timestamp
order by place"""

EXACT = """
with a as (select user_id, event_timestamp ts, created, file_row_number rn,
                  greatest(event_timestamp, coalesce(created, event_timestamp)) avail
           from read_parquet('{folder}/rows.parquet', file_row_number=true)),
  live as (select * from a
           qualify ts = max(ts) over (partition by user_id order by avail, ts, created nulls first rows unbounded preceding)
             and row_number() over (partition by user_id, avail order by ts desc, created desc nulls last, rn desc) = 1),
  asked as (select *, row_number() over () as place from read_parquet('{folder}/asked.parquet')),
  found as (select asked.*, case when live.ts >= asked.at - interval 90 day then live.rn end rn
            from asked asof left join live on asked.user_id = live.user_id and asked.at >= live.avail)
select found.*, {features} from found
left join read_parquet('{folder}/rows.parquet', file_row_number=true) f on found.rn = f.file_row_number order by place"""


def make(folder: Path, rows: int, entities: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)

    def instants(micros: Any) -> pa.Array:
        return pa.array(micros, pa.timestamp("us", "UTC"))

    event = START + rng.integers(0, YEAR, rows)
    columns: dict[str, Any] = {
        "user_id": rng.integers(0, entities, rows),
        "event_timestamp": instants(event),
        "created": instants(event + rng.integers(0, 3600 * 10**6, rows)),
    }
    pq.write_table(
        pa.table(columns | {name: rng.normal(size=rows) for name in FEATURES}), folder / "rows.parquet"
    )
    asked = {"user_id": rng.integers(0, entities, rows), "at": instants(START + rng.integers(0, YEAR, rows))}
    pq.write_table(pa.table(asked), folder / "asked.parquet")


def store(folder: Path) -> None:
    """Everloop's data: a dataset and a view over it, in a workspace."""
    import everloop as ev
    from everloop.workspace.local import LocalWorkspace

    view = ev.feature_view(
        "users",
        entity=ev.entity("user", keys=["user_id"]),
        source="users",
        event_time="event_timestamp",
        available="created",
        ttl="90d",
        features=FEATURES,
    )
    with LocalWorkspace(folder) as workspace:
        workspace.data.add(folder / "rows.parquet", "users")
        workspace.features.apply([view])


def by_query(query: str) -> Callable[[Path], int]:
    def run(folder: Path) -> int:
        import duckdb

        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            features = ", ".join(f"f.{name}" for name in FEATURES)
            return int(con.sql(query.format(folder=folder, features=features)).to_arrow_table().num_rows)

    return run


def by_everloop(folder: Path) -> int:
    import pyarrow.parquet as pq

    from everloop.workspace.local import LocalWorkspace

    with LocalWorkspace(folder) as workspace:
        found = workspace.features.history(pq.read_table(folder / "asked.parquet"), ["users"], time="at")
    return int(found.num_rows)


SIDES: dict[str, Callable[[Path], int]] = {
    "bare ASOF": by_query(BARE),
    "everloop": by_everloop,
    "exact SQL": by_query(EXACT),
}


def measured(side: str, folder: Path) -> dict[str, float]:
    """One side in this process. Imports of the libraries count on no side."""
    import duckdb
    import pyarrow.parquet  # noqa: F401

    import everloop.features.features
    import everloop.features.history.reader
    import everloop.workspace.local  # noqa: F401

    duckdb.sql("select 1").fetchall()
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    rows = SIDES[side](folder)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall": time.perf_counter() - begun,
        "cpu": used,
        "mb": after.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        "rows": rows,
    }


def run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--entities", type=int, default=100_000)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--small", action="store_true", help="a hundredth of the rows, one round")
    asked.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    asked.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.side:
        print(json.dumps(measured(given.side, given.folder)))
        return
    rows, entities, rounds = given.rows, given.entities, given.rounds
    if given.small:
        rows, entities, rounds = rows // 100, entities // 100, 1
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as made:
        folder = Path(made)
        make(folder, rows, entities)
        store(folder)
        commands = {
            side: [sys.executable, __file__, "--side", side, "--folder", str(folder)] for side in SIDES
        }
        if FEAST.exists():
            commands["feast, duckdb"] = [str(FEAST), str(HERE / "peers" / "feast_history.py"), str(folder)]
        else:
            print("Feast is left out: make peers")
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in commands}
        for _ in range(rounds):
            for side, command in commands.items():
                taken[side].append(run(command))
    bare = taken["bare ASOF"]
    print(f"{rows:,} questions, {rows:,} rows, {entities:,} entities, {datetime.now(UTC):%Y-%m-%d}")
    print(f"{'':16}{'wall s':>9}{'x':>7}{'cpu s':>9}{'x':>7}{'MB':>8}{'rows':>12}")
    for side, found in taken.items():
        ratios = {
            what: statistics.median(
                mine[what] / theirs[what] for mine, theirs in zip(found, bare, strict=True)
            )
            for what in ("wall", "cpu")
        }
        wall, cpu, mb = (statistics.median(each[what] for each in found) for what in ("wall", "cpu", "mb"))
        print(
            f"{side:16}{wall:9.2f}{ratios['wall']:7.2f}{cpu:9.2f}{ratios['cpu']:7.2f}{mb:8.0f}{found[0]['rows']:12,.0f}"
        )


if __name__ == "__main__":
    main()
