"""How long a search of many runs takes, in process and on disk, and the whole command `runs list`.

    python bench/tracking/bench_search.py [--runs 10000 100000] [--repeat 9] [--keep FOLDER]

Each store is seeded in bulk: 10 parameters (`model` is tree, linear or nn; nine are random), 10 metrics (`rmse` between 0 and 3,
nine more) and 5 tags a run. Printed are medians of wall and CPU time, the latter because it swings less on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.store.schema.tracking import run_metrics, run_params, run_tags, runs
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

FILTER = "metrics.rmse < 1 and params.model = 'tree'"
QUESTIONS: dict[str, dict[str, Any]] = {
    "filter metric and param, order by metric, 100 rows": {
        "where": FILTER,
        "order_by": ["metrics.rmse"],
        "limit": 100,
    },
    "the same, 1,000 rows": {"where": FILTER, "order_by": ["metrics.rmse"], "limit": 1000},
    "no filter, order by metric, 100 rows": {"order_by": ["metrics.rmse desc"], "limit": 100},
    "no filter, newest first, 100 rows": {"limit": 100},
    "filter param, newest first, 100 rows": {"where": "params.model = 'tree'", "limit": 100},
    "one run by a parameter, order by metric": {
        "where": "params.p1 = '{p1}'",
        "order_by": ["metrics.rmse"],
        "limit": 100,
    },
    "difference of two metrics, newest first, 100 rows": {
        "where": "metrics.m1 - metrics.m2 < -.5",
        "limit": 100,
    },
    "or, not and like, newest first, 100 rows": {
        "where": "not params.model like 'tr%' or metrics.rmse > 2.5",
        "limit": 100,
    },
    "filter metric and param, counted": {"where": FILTER, "limit": 1, "count": True},
}


def seed(workspace: LocalWorkspace, count: int, *, batch: int = 5_000) -> str:
    """Fill a ledger with runs in few large transactions; returns the value of `p1` of one of them."""
    choose = random.Random(3)
    ids = system_ids(system_clock)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    chosen = ""
    for first in range(0, count, batch):
        made: dict[sa.Table, list[dict[str, Any]]] = {runs: [], run_params: [], run_metrics: [], run_tags: []}
        for number in range(first, min(first + batch, count)):
            run, began = ids(), start + timedelta(seconds=60 * number)
            made[runs].append(
                {
                    "id": run,
                    "experiment": 0,
                    "name": f"run-{number}",
                    "user": "ann",
                    "source": "train.py",
                    "version": "",
                    "status": "finished",
                    "start_time": began,
                    "end_time": began + timedelta(seconds=30),
                    "state": "active",
                    "records": 0,
                    "place": "",
                    "pid": 0,
                    "process_began": 0.0,
                    "heartbeat": began,
                    "captured": {},
                }
            )
            params = {"model": choose.choice(("tree", "linear", "nn"))}
            params |= {f"p{each}": repr(choose.random()) for each in range(1, 10)}
            chosen = params["p1"] if number == count // 2 else chosen
            for key, value in params.items():
                numeric = None if key == "model" else float(value)
                made[run_params].append(
                    {"run": run, "key": key, "value": value, "head": value, "number": numeric}
                )
            metrics = {"rmse": choose.uniform(0, 3)} | {f"m{each}": choose.random() for each in range(1, 10)}
            for key, number_ in metrics.items():
                summary = dict.fromkeys(("first", "last", "min", "max", "mean"), number_)
                made[run_metrics].append(
                    {
                        "run": run,
                        "key": key,
                        "count": 1,
                        "numbers": 1,
                        "first_step": 0,
                        "first_time": began,
                        "last_step": 0,
                        "last_time": began,
                        **summary,
                    }
                )
            for each in range(5):
                value = choose.choice("abcdef")
                made[run_tags].append({"run": run, "key": f"t{each}", "value": value, "head": value})
        with workspace.ledger.transaction("bench") as tx:
            for table, rows in made.items():
                tx.execute(sa.insert(table), rows)
    return chosen


def timed(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Medians of wall and CPU milliseconds, after one warm-up."""
    work()
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), _cpu_seconds()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(_cpu_seconds() - cpu)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


def _cpu_seconds() -> float:
    """Of this process and those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(folder: Path, count: int, repeat: int) -> dict[str, tuple[float, float]]:
    """All questions over one store."""
    found: dict[str, tuple[float, float]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with LocalWorkspace(folder) as workspace:
        known = folder / "chosen.json"
        if not known.exists():
            known.write_text(json.dumps(seed(workspace, count)))
        p1 = json.loads(known.read_text())
        tracking: Tracking = workspace.tracking
        for name, question in QUESTIONS.items():
            asked = question | {"where": question.get("where", "").format(p1=p1)}
            found[name] = timed(lambda asked=asked: tracking.search(**asked), repeat)  # type: ignore[misc]
    found["(the first, by hand over sqlite3)"] = timed(by_hand(folder), repeat)
    found["`everloop runs list`, whole command"] = timed(lambda: _command(folder), min(repeat, 5))
    return found


def by_hand(folder: Path) -> Callable[[], object]:
    """The first question as three statements over the bare driver: what the indexes allow, without a record being made."""
    ledger = sqlite3.connect(folder / ".everloop" / "ledger.db")
    ledger.execute("pragma cache_size = -8000")  # as the ledger has it
    found = """
        select runs.id, walked.last from run_metrics walked join runs on runs.id = walked.run
        where walked.key = 'rmse' and walked.last < 1 and runs.state || '' = 'active' and exists (
            select 1 from run_params where run = runs.id and key = 'model' and head = 'tree')
        order by walked.last limit 100"""
    tables = {"run_params": "value", "run_tags": "value", "run_metrics": "last"}

    def ask() -> None:
        runs_found = [row[0] for row in ledger.execute(found)]
        marks = ", ".join("?" * len(runs_found))
        for table, column in tables.items():
            ledger.execute(
                f"select run, key, {column} from {table} where run in ({marks})", runs_found
            ).fetchall()

    return ask


def _command(folder: Path) -> None:
    command = [sys.executable, "-m", "everloop", "runs", "list", "--where", FILTER]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"EVERLOOP_WORKSPACE": str(folder)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--keep", type=Path, help="Where stores are kept for the next time.")
    given = parser.parse_args()
    with ExitStack() as stack:
        top = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        columns = {count: measure(top / f"runs-{count}", count, given.repeat) for count in given.runs}
    width = max(map(len, columns[given.runs[0]]))
    print(" " * width, *(f"{count:>9,} runs: wall / CPU ms" for count in given.runs), sep="  ")
    for name in columns[given.runs[0]]:
        cells = (
            f"{columns[count][name][0]:>17.2f} / {columns[count][name][1]:>8.2f}" for count in given.runs
        )
        print(f"{name:<{width}}", *cells, sep="  ")


if __name__ == "__main__":
    main()
