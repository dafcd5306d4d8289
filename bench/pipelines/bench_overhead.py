"""What a step costs beyond its own work: 10 in a row, a fan-out, both again unchanged, the whole command; beside plain calls, a
bare pool of processes, and other tools where their environment is there.

    make peers; python bench/pipelines/bench_overhead.py [--rounds 3] [--many 2000] [--peers]

The work is none: a dict with a number passes through, or numbers are squared and summed. Figures are medians of the rounds, in
milliseconds inside the process unless said; "whole command" counts from the shell. Goals: 1 ms a step in this process, 3 ms in
worker processes; 2,000 small steps in 3 s, cached in 0.2 s; the whole command for 10 cached steps in 0.5 s.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "src" / "everloop"
PEERS = HERE.parents[1] / ".venv-peers-pipelines" / "bin" / "python"
NAMES = ("hamilton", "kedro", "prefect", "dagster", "metaflow")

STEPS = """
import everloop as ev

@ev.step
def more(found): return {"n": found["n"] + 1}

@ev.step
def squared(i): return {"sq": i * i}

@ev.step
def total(found): return sum(each["sq"] for each in found)

@ev.pipeline
def row(salt: int):
    found = {"n": salt}
    for _ in range(10):
        found = more(found)
    return found

@ev.pipeline
def fan(salt: int, count: int):
    return total(squared.map(range(salt, salt + count)))
"""


def ours(folder: Path, rounds: int, many: int) -> dict[str, list[float]]:
    """Runs in one process: each round with numbers of its own, then again unchanged."""
    from everloop.engine.contract import Executor
    from everloop.engine.processes import ProcessExecutor
    from everloop.pipelines.pipelines import Pipelines
    from everloop.workspace.local import LocalWorkspace

    (folder / "overhead.py").write_text(STEPS)
    found: dict[str, list[float]] = defaultdict(list)
    with LocalWorkspace(folder) as workspace:
        room = workspace.room(Pipelines)
        pool = ProcessExecutor(2)
        room.run("overhead.py:fan", {"salt": -1000, "count": 2}, executor="inline")
        room.run("overhead.py:fan", {"salt": -2000, "count": 8}, executor=pool)
        salt = 0
        for _ in range(rounds):
            executors: dict[str, str | Executor] = {"in this process": "inline", "worker processes": pool}
            for label, executor in executors.items():
                salt += 1_000_000
                for what, params in (
                    ("row", {"salt": salt}),
                    ("fan", {"salt": salt + 1000, "count": 100}),
                    ("fan", {"salt": salt + 10_000, "count": many}),
                ):
                    name = "10 in a row" if what == "row" else f"fan-out {params['count']:,}"
                    for state in ("", ", cached"):
                        begun, used = time.perf_counter(), _cpu()
                        done = room.run(f"overhead.py:{what}", params, executor=executor)
                        seconds = time.perf_counter() - begun
                        assert done.status == "finished", done.error
                        assert (done.executed == 0) == bool(state)
                        found[f"{label}: {name}{state}"].append(seconds)
                        found[f"{label}: {name}{state} (processor)"].append(_cpu() - used)
        pool.close()
    return found


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def command(folder: Path, rounds: int) -> list[float]:
    """`everloop run` with 10 steps that are all cached, from the shell."""
    (folder / "overhead.py").write_text(STEPS)
    arguments = [sys.executable, "-m", "everloop", "run", "overhead.py:row", "--param", "salt=1"]
    environment = os.environ | {"EVERLOOP_WORKSPACE": str(folder)}
    # As installed: where writing byte code is off, each start would compile what was edited since.
    compileall.compile_dir(PACKAGE, quiet=1)
    found = []
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, check=True)
        found.append(time.perf_counter() - begun)
    return found[2:]


def plain(many: int) -> dict[str, float]:
    """The least that could be: calls, and a pool that is warm."""
    found = {}
    begun = time.perf_counter()
    sum(_squared(i) for i in range(many))
    found[f"plain calls: fan-out {many:,}"] = time.perf_counter() - begun
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_squared, range(10)))
        begun = time.perf_counter()
        for i in range(10):
            pool.submit(_squared, i).result()
        found["ProcessPoolExecutor: 10 in a row"] = time.perf_counter() - begun
        begun = time.perf_counter()
        sum(each.result() for each in [pool.submit(_squared, i) for i in range(many)])
        found[f"ProcessPoolExecutor: fan-out {many:,}"] = time.perf_counter() - begun
    return found


def _squared(i: int) -> int:
    return i * i


def peers(name: str, folder: Path) -> dict[str, float]:
    folder.mkdir()
    done = subprocess.run(
        [str(PEERS), str(HERE / "peers" / "overhead.py"), name],
        cwd=folder,
        env={each: value for each, value in os.environ.items() if each != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        print(f"{name}: {(done.stderr.splitlines() or ['failed'])[-1][:200]}", file=sys.stderr)
        return {}
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--peers", nargs="*", choices=NAMES, help="beside these; all when none is named")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "ours").mkdir()
        rows = dict(plain(given.many))
        for label, seconds in ours(Path(scratch, "ours"), given.rounds, given.many).items():
            rows[f"Everloop, {label}"] = statistics.median(seconds)
        rows["Everloop, whole command: 10 in a row, cached"] = statistics.median(
            command(Path(scratch, "ours"), given.rounds)
        )
        if given.peers is not None and PEERS.exists():
            for name in given.peers or NAMES:
                rows |= {
                    f"{name}: {what}": seconds for what, seconds in peers(name, Path(scratch, name)).items()
                }
    for label, median in rows.items():
        print(f"{label:60} {median * 1000:10.1f} ms")


if __name__ == "__main__":
    main()
