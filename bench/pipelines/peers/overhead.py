"""The work of bench_overhead.py with another tool, named by the first argument; prints seconds as JSON.

Runs in .venv-peers-pipelines:
hamilton, kedro and prefect in this process; dagster with its in-process executor; metaflow as it is run: a process a step.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def hamilton() -> dict[str, float]:
    Path("row.py").write_text(
        "def n0() -> dict:\n    return {'n': 0}\n"
        + "".join(
            f"def n{i}(n{i - 1}: dict) -> dict:\n    return {{'n': n{i - 1}['n'] + 1}}\n"
            for i in range(1, 11)
        )
    )
    sys.path.insert(0, ".")
    import row  # type: ignore[import-not-found]
    from hamilton import driver

    bare = driver.Builder().with_modules(row).build()
    bare.execute(["n10"])
    cached = driver.Builder().with_modules(row).with_cache(path="cache").build()
    return {
        "10 in a row, no cache": timed(lambda: bare.execute(["n10"])),
        "10 in a row": timed(lambda: cached.execute(["n10"])),
        "10 in a row, cached": timed(lambda: cached.execute(["n10"])),
    }


def kedro() -> dict[str, float]:
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.pipeline import node, pipeline
    from kedro.runner import SequentialRunner

    row = pipeline(
        [node(lambda found: {"n": found["n"] + 1}, f"n{i}", f"n{i + 1}", name=f"s{i}") for i in range(10)]
    )
    fan = pipeline([node(lambda i=i: {"sq": i * i}, None, f"q{i}", name=f"f{i}") for i in range(100)])

    def run(what: Any) -> float:
        catalog = DataCatalog({"n0": MemoryDataset({"n": 0})})
        return timed(lambda: SequentialRunner().run(what, catalog))

    run(row)
    return {"10 in a row, no cache": run(row), "fan-out 100, no cache": run(fan)}


def prefect() -> dict[str, float]:
    os.environ |= {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_HOME": str(Path("home").resolve()),
        "DO_NOT_TRACK": "1",
    }
    from prefect import flow, task
    from prefect.cache_policies import INPUTS, TASK_SOURCE

    @task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
    def more(found: dict) -> dict:  # type: ignore[type-arg]
        return {"n": found["n"] + 1}

    @flow
    def row(salt: int) -> dict:  # type: ignore[type-arg]
        found = {"n": salt}
        for _ in range(10):
            found = more(found)
        return found

    row(-100)
    return {"10 in a row": timed(lambda: row(0)), "10 in a row, cached": timed(lambda: row(0))}


def dagster() -> dict[str, float]:
    os.environ["DAGSTER_HOME"] = str(Path("home").resolve())
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    Path("home").mkdir()
    import dagster as dg

    @dg.op
    def first() -> dict:  # type: ignore[type-arg]
        return {"n": 0}

    @dg.op
    def more(found: dict) -> dict:  # type: ignore[type-arg]
        return {"n": found["n"] + 1}

    @dg.job(executor_def=dg.in_process_executor)
    def row() -> None:
        found = first()
        for _ in range(10):
            found = more(found)

    def run() -> float:
        with dg.DagsterInstance.get() as instance:
            return timed(lambda: row.execute_in_process(instance=instance))

    run()
    return {"10 in a row, no cache": run()}


def metaflow() -> dict[str, float]:
    steps = "".join(
        f"    @step\n    def s{i}(self):\n        self.n += 1\n        self.next(self.{f's{i + 1}' if i < 9 else 'end'})\n"
        for i in range(10)
    )
    Path("flow.py").write_text(
        "from metaflow import FlowSpec, step\nclass Row(FlowSpec):\n"
        "    @step\n    def start(self):\n        self.n = 0\n        self.next(self.s0)\n"
        + steps
        + "    @step\n    def end(self):\n        pass\nif __name__ == '__main__':\n    Row()\n"
    )
    environment = os.environ | {"USERNAME": "bench", "METAFLOW_HOME": "home"}

    def run(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "flow.py", *arguments], env=environment, capture_output=True, check=True
        )

    return {
        "10 in a row, whole command": timed(lambda: run("run", "--max-workers=2")),
        "resume of its end, whole command": timed(lambda: run("resume", "end")),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        found = globals()[sys.argv[1]]()
    print(json.dumps(found))
