"""How long `why` and `impact` take in a ledger of many runs, in process and on disk, and as whole commands.

    python bench/pipelines/bench_lineage.py [--runs 100000] [--repeat 5] [--keep FOLDER]

The ledger is seeded in bulk: 20 pipelines of five steps (of which one in ten runs is kept by hand: scripts), every run reads
``data:flights``, of which there are 30 versions; the closures of the steps hold 60 functions and 40 packages; every fiftieth run
made a model version (20 models, 3 endpoints). Printed are medians of wall and CPU time, the latter because it swings less on a
busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from everloop.domain.canonical import sha256
from everloop.domain.ids import system_ids
from everloop.domain.pipelines import Component
from everloop.domain.signature import Field, ModelFile, Signature, Task, Type
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_versions, datasets
from everloop.store.schema.pipelines import pipeline_runs, pipeline_steps, step_code, step_keys, step_results
from everloop.store.schema.registry import model_aliases, model_versions, models
from everloop.store.schema.serving import endpoints
from everloop.store.schema.tracking import runs
from everloop.workspace.local import LocalWorkspace

PIPELINES, STEPS, VERSIONS, MODELS = 20, 5, 30, 20
START = datetime(2026, 1, 1, tzinfo=UTC)
Rows = dict[sa.Table, list[dict[str, Any]]]


def seed(workspace: LocalWorkspace, count: int, *, batch: int = 5_000) -> None:
    """Fill a ledger in few large transactions."""
    _write(workspace, _datasets())
    waiting: Rows = {}
    latest: dict[str, int] = {}
    for number, made in enumerate(_groups(count, latest)):
        for table, rows in made.items():
            waiting.setdefault(table, []).extend(rows)
        if number % (batch // (STEPS + 1)) == 0:
            _write(workspace, waiting)
            waiting = {}
    _write(workspace, waiting)
    _write(workspace, _models(latest))


def _write(workspace: LocalWorkspace, made: Rows) -> None:
    with workspace.ledger.transaction("bench") as tx:
        for table in sorted(made, key=lambda each: each is model_versions):
            if made[table]:
                tx.insert_new(table, made[table])


def _datasets() -> Rows:
    versions = [
        {
            "name": "flights",
            "version": each,
            "digest": sha256(f"{each}".encode()),
            "files": 1,
            "bytes": 1000,
            "new_bytes": 1000,
            "rows": 100,
            "columns": [{"name": "dep_delay", "type": "double"}],
            "parent": f"data:flights@v{each - 1}" if each > 1 else None,
            "producer": None,
            "message": "",
            "created": START,
            "user": "ann",
            "removed": None,
            "content": None,
            "origin": None,
        }
        for each in range(1, VERSIONS + 1)
    ]
    lines = [
        _edge(f"data:flights@v{each}", f"data:flights@v{each + 1}", "appended") for each in range(1, VERSIONS)
    ]
    named = [{"name": "flights", "last": VERSIONS, "created": START}]
    return {datasets: named, dataset_versions: versions, edges: lines}


def _groups(count: int, latest: dict[str, int]) -> Iterator[Rows]:
    """A pipeline's run with its steps' runs at a time, or a script's run."""
    now = START

    def clock() -> datetime:
        return now

    ids = system_ids(clock)
    done = number = 0
    while done < count:
        now = START + timedelta(seconds=60 * number)
        data = f"data:flights@v{min(VERSIONS, 1 + number * VERSIONS * (STEPS + 1) // count)}"
        made: Rows = {runs: [], edges: []}
        whole = ids()
        if number % 10 == 0:
            made[runs].append(_run(whole, now, "script.py", None))
            made[edges].append(_edge(data, f"run:{whole}", "consumed"))
        else:
            _pipeline(made, ids, whole, now, number, data)
            if number % 50 == 1:
                _model(made, latest, made[pipeline_steps][-1]["child"], number, data)
        done += len(made[runs])
        number += 1
        yield made


def _pipeline(made: Rows, ids: Callable[[], str], whole: str, now: datetime, number: int, data: str) -> None:
    name = f"train-{number % PIPELINES}"
    made[runs].append(_run(whole, now, f"{name}.py:train", None))
    made[pipeline_runs] = [
        {
            "run": whole,
            "pipeline": name,
            "source": f"{name}.py:train",
            "params": {},
            "executor": "local",
            "status": "finished",
            "started": now,
            "resumed_from": None,
            "settings": {},
            "output": None,
        }
    ]
    made[edges] += [
        _edge(f"pipeline:{name}", f"run:{whole}", "defined"),
        _edge(data, f"run:{whole}", "consumed"),
    ]
    for table in (pipeline_steps, step_keys, step_code, step_results):
        made[table] = []
    for position in range(STEPS):
        child, step = ids(), f"{name}.py::step_{position}"
        key, code = (
            sha256(f"{number} {position}".encode()),
            sha256(f"{name} {position} {number // 1000}".encode()),
        )
        made[runs].append(_run(child, now, f"{name}.py:train", whole))
        made[edges].append(_edge(f"run:{whole}", f"run:{child}", "child"))
        if position == 0:
            made[edges].append(_edge(data, f"run:{child}", "consumed"))
        made[pipeline_steps].append(
            {
                "run": whole,
                "position": position,
                "name": f"step_{position}",
                "step": step,
                "status": "executed",
                "seconds": 1.5,
                "reason": "",
                "key": key,
                "child": child,
                "value": None,
                "error": "",
                "log": None,
                "attempts": 1,
                "inputs": [f"step_{position - 1}"] if position else [],
                "time": now,
            }
        )
        made[step_keys].append({"key": key, "step": step, "code": code, "components": [], "time": now})
        components = [Component("function", step, code, 10)]
        components += [Component("function", f"shared.py::helper_{each}", code, each) for each in range(60)]
        components += [Component("package", f"package-{each}", "1.0") for each in range(40)]
        made[step_code].append({"code": code, "components": components, "notes": []})
        made[step_results].append(
            {
                "key": key,
                "reads_digest": "",
                "step": step,
                "value": {},
                "reads": [],
                "run": child,
                "seconds": 1.5,
                "time": now,
            }
        )


def _model(made: Rows, latest: dict[str, int], run: str, number: int, data: str) -> None:
    name = f"model-{number // 50 % MODELS}"
    latest[name] = version = latest.get(name, 0) + 1
    made[models] = [
        {"name": f"model-{each}", "latest": 1, "description": "", "created": START, "updated": START}
        for each in range(MODELS)
    ]
    signature = Signature(
        (Field("dep_delay", Type.DOUBLE),), (Field("prediction", Type.DOUBLE),), Task.REGRESSION
    )
    made[model_versions] = [
        {
            "name": name,
            "version": version,
            "run": run,
            "artifact": "model",
            "state": "ready",
            "created": START,
            "user": "ann",
            "digest": "",
            "content": "",
            "size": 1,
            "model": ModelFile("skops", "Ridge", signature, content=""),
            "files": {},
            "data": [data],
            "commit": "",
            "metrics": {},
            "params": {},
            "description": "",
        }
    ]
    made[edges].append(_edge(f"run:{run}", f"model:{name}@v{version}", "produced"))


def _models(latest: dict[str, int]) -> Rows:
    """Champions and endpoints, once all versions are there."""
    arms = {f"model-{each}": f"model:model-{each}@v{latest[f'model-{each}']}" for each in range(3)}
    return {
        model_aliases: [{"name": name, "alias": "champion", "version": latest[name]} for name in latest],
        endpoints: [
            {
                "name": name,
                "revision": 1,
                "arms": [
                    {"name": "champion", "model": model, "weight": 1.0, "mode": "live", "transform": {}}
                ],
                "salt": "",
                "created": START,
                "updated": START,
                "user": "ann",
            }
            for name, model in arms.items()
        ],
        edges: [_edge(model, f"endpoint:{name}", "deployed") for name, model in arms.items()],
    }


def _run(run: str, now: datetime, source: str, parent: str | None) -> dict[str, Any]:
    return {
        "id": run,
        "experiment": 0,
        "name": f"run-{run[-6:]}",
        "user": "ann",
        "source": source,
        "version": "",
        "status": "finished",
        "start_time": now,
        "end_time": now + timedelta(seconds=30),
        "state": "active",
        "deleted_at": None,
        "parent": parent,
        "resumed_from": None,
        "records": 0,
        "place": "",
        "pid": 0,
        "process_began": 0.0,
        "heartbeat": now,
        "captured": {},
    }


def _edge(source: str, target: str, role: str) -> dict[str, Any]:
    return {"source": source, "target": target, "role": role, "time": START}


def questions(workspace: LocalWorkspace) -> dict[str, Callable[[], object]]:
    """What is asked, by what it is called in the table."""
    room = workspace.provenance
    with workspace.ledger.read() as look:
        run = look.scalar(sa.select(sa.func.max(pipeline_runs.c.run)))
    return {
        "impact of a function in every closure": lambda: room.impact(["shared.py::helper_7"]),
        "impact of one step's function": lambda: room.impact(["train-7.py::step_4"]),
        "impact of a dataset that all read": lambda: room.impact(["data:flights"]),
        "impact of a column": lambda: room.impact(["data:flights.dep_delay"]),
        "why of a run": lambda: room.why(f"run:{run}"),
        "why of a model": lambda: room.why("model:model-1@champion"),
        "why of an endpoint": lambda: room.why("endpoint:model-1"),
        "why of the dataset's first version": lambda: room.why("data:flights@v1"),
        "why of a pipeline": lambda: room.why("pipeline:train-3"),
    }


COMMANDS = {
    "whole command: everloop impact": ["impact", "shared.py::helper_7"],
    "whole command: everloop why": ["why", "model:model-1@champion"],
    "(whole command: everloop status, to compare)": ["status"],
}


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
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _command(folder: Path, arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "everloop", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"EVERLOOP_WORKSPACE": str(folder)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="Where the ledger is kept for the next time.")
    given = parser.parse_args()
    with ExitStack() as stack:
        top = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = top / f"lineage-{given.runs}"
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        workspace = stack.enter_context(LocalWorkspace(folder))
        if is_new:
            seed(workspace, given.runs)
        asked = questions(workspace)
        asked |= {name: lambda each=each: _command(folder, each) for name, each in COMMANDS.items()}
        for name, work in asked.items():
            wall, cpu = timed(work, given.repeat)
            print(f"{name:<46} wall {wall:>9.1f} ms   CPU {cpu:>9.1f} ms")


if __name__ == "__main__":
    main()
