"""Recording: what a call, a run and a curve cost, and what 50 processes reach together.

    python bench/tracking/bench_recording.py [--rounds 3] [--processes 50] [--seconds 4]

    append        a bare `os.write` of a record's size, then `log_metric`, in turns: the goal is a third of it
    many points   1,000 in one call: as one curve, and as 1,000 metrics
    start, end    of an empty run with full capture, in a repository of 300 files of which 5 have changed: the first of a
                  process (Everloop imported, the ledger open), and the next with nothing changed
    curve         a million points read to Arrow, and thinned to 1,000
    processes     as many at once into one workspace, and into one server: calls a second of all together beside one process
                  alone; afterwards every point is counted

Peers stand in `bench_peers.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from everloop.workspace.local import LocalWorkspace

RECORD = b"." * 58
CALLS = 200_000

ONE_RUN = """
import os, time
import everloop as ev
import everloop.tracking.starting
ev.workspace().tracking, ev.workspace().ledger
times = []
for _ in range(12):
    begun, used = time.perf_counter(), sum(os.times()[:4])
    run = ev.start_run()
    run.finish()
    times.append([time.perf_counter() - begun, sum(os.times()[:4]) - used])
print(times)
"""

LOGGER = """
import sys, time
import everloop as ev
seconds = float(sys.argv[1])
run = ev.start_run("bench", machine=False, output=False)
run.log_metric("loss", 0.0, step=0)
print("ready", flush=True)
sys.stdin.readline()
step, began = 0, time.perf_counter()
while time.perf_counter() - began < seconds:
    for _ in range(50):
        step += 1
        run.log_metric("loss", 0.5, step=step)
ended = time.perf_counter()  # one clock for all processes of a machine
run.finish()
print(run.run_id, step + 1, began, ended)
"""


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def wall_and_processor(work: Callable[[], object]) -> list[float]:
    used = time.process_time()
    return [seconds_of(work), time.process_time() - used]


def middle(times: Sequence[Sequence[float]]) -> list[float]:
    """The medians of wall time and of processor time, which says more on a busy machine."""
    return [statistics.median(each[column] for each in times) for column in (0, 1)]


def milliseconds(time: Sequence[float]) -> str:
    return f"{time[0] * 1000:.0f} ms (processor {time[1] * 1000:.0f})"


def row(name: str, value: str, goal: str = "") -> None:
    print(f"{name:58} {value:>24}   {goal}")


def appends(folder: Path, workspace: LocalWorkspace, rounds: int) -> None:
    file = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    bare, logged = [], []

    def write() -> None:
        for _ in range(CALLS):
            os.write(file, RECORD)

    with workspace.tracking.start(machine=False, output=False) as run:

        def log() -> None:
            for step in range(CALLS):
                run.log_metric("loss", 0.5, step=step)

        for _ in range(rounds):
            bare.append(CALLS / seconds_of(write))
            logged.append(CALLS / seconds_of(log))
        curve, table = np.random.default_rng(0).random(1_000), {f"m{number}": 0.5 for number in range(1_000)}
        points = 500_000 / seconds_of(lambda: [run.log_points("curve", curve) for _ in range(500)])
        keys = 50_000 / seconds_of(lambda: [run.log_metrics(table, step=step) for step in range(50)])
    floor, ours = statistics.median(bare), statistics.median(logged)
    row("bare os.write of 58 bytes", f"{floor:,.0f} /s")
    row("run.log_metric", f"{ours:,.0f} /s = {ours / floor:.2f}", "0.33 of the bare append")
    row("run.log_points, 1,000 points a call", f"{points:,.0f} points/s", "1,000,000")
    row("run.log_metrics, 1,000 metrics a call", f"{keys:,.0f} points/s", "1,000,000")


def runs(folder: Path, rounds: int) -> None:
    repository = folder / "repository"
    repository.mkdir()
    for number in range(300):
        (repository / f"module{number}.py").write_text(f"x = {number}\n" * 50)
    (repository / "everloop.toml").write_text("")
    (repository / "train.py").write_text(ONE_RUN)
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    for number in range(5):
        (repository / f"module{number}.py").write_text("changed = True\n")
    first: list[list[float]] = []
    later: list[list[float]] = []
    for _ in range(rounds + 1):
        command = [sys.executable, "train.py"]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
        times = json.loads(done.stdout)
        first.append(times[0])
        later.append(middle(times[1:]))
    row("start and end of an empty run, the first of a process", milliseconds(middle(first[1:])), "80 ms")
    row("the next one, nothing changed", milliseconds(middle(later[1:])), "10 ms")


def curves(workspace: LocalWorkspace, rounds: int) -> None:
    with workspace.tracking.start(machine=False) as run:
        run.log_points("curve", np.random.default_rng(0).random(1_000_000).cumsum())
    whole = [wall_and_processor(lambda: run.history("curve")) for _ in range(rounds)]
    thin = [wall_and_processor(lambda: run.history("curve", points=1_000)) for _ in range(rounds)]
    row("a million points read to Arrow", milliseconds(middle(whole)), "100 ms")
    row("a million points thinned to 1,000", milliseconds(middle(thin)), "100 ms")


def together(location: str, processes: int, seconds: float, home: Path) -> tuple[float, dict[str, int]]:
    """Calls a second of all processes together, from the first call to the last, and the points each run logged. They begin when
    all of them have started a run."""
    environment = os.environ | {"EVERLOOP_WORKSPACE": location, "HOME": str(home)}
    command = [sys.executable, "-c", LOGGER, str(seconds)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n", "a process failed"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    answers = [each.communicate()[0].split() for each in started]
    assert all(each.returncode == 0 for each in started), "a process failed"
    took = max(float(answer[3]) for answer in answers) - min(float(answer[2]) for answer in answers)
    logged = {answer[0]: int(answer[1]) for answer in answers}
    return sum(logged.values()) / took, logged


def many(folder: Path, processes: int, seconds: float) -> None:
    from tests.support.servers import KillableServer

    server = KillableServer(folder / "served")
    server.start()
    (folder / "shared").mkdir()
    (folder / "shared" / "everloop.toml").write_text("")
    for name, location, project in (
        ("workspace", str(folder / "shared"), folder / "shared"),
        ("server", server.url, folder / "served"),
    ):
        alone, _ = together(location, 1, seconds, folder)
        rate, logged = together(location, processes, seconds, folder)
        if name == "server":
            server.kill(15)
        with LocalWorkspace(project) as workspace:
            workspace.tracking.ship_pending()
            lost = sum(
                count - workspace.tracking.history(run_id, "loss").count for run_id, count in logged.items()
            )
        row(f"one process into one {name}", f"{alone:,.0f} /s")
        row(
            f"{processes} processes into one {name}",
            f"{rate:,.0f} /s = {rate / alone:.2f}",
            f"0.50 of one alone; lost: {lost} of {sum(logged.values()):,}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as name:
        folder = Path(name)
        with LocalWorkspace(folder / "own") as workspace:
            appends(folder, workspace, given.rounds)
            curves(workspace, given.rounds)
        runs(folder, given.rounds)
        if given.processes:
            many(folder, given.processes, given.seconds)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
