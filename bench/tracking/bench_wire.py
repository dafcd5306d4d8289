"""MLflow's own client against `everloop up` and against `mlflow server`, both on SQLite in a new folder, in one run.

    make peers; python bench/tracking/bench_wire.py [--rounds 3] [--seconds 2]

The two servers are up at the same time and are asked in turns, so that both meet the same machine; each figure is the median
of the rounds. MLflow's server runs lean: one worker, no job runner. Goal: five times its rate for `log_metric` and `log_batch`.

What a caller waits for is the client's own work and the server's, one after the other, and the client's is the same for both: it
bounds the ratio of the rates. So the processor time that the server takes for a call, with all its processes, is told too: it is
what a machine that serves many clients is made for, and does not swing with what else runs there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".venv-peers" / "bin"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.0)
    given = options.parse_args()
    if not (PEERS / "mlflow").exists():
        sys.exit("The peers are not installed: make peers")
    with tempfile.TemporaryDirectory() as top, contextlib.ExitStack() as stack:
        ours = stack.enter_context(everloop_server(Path(top, "everloop")))
        theirs = stack.enter_context(mlflow_server(Path(top, "mlflow")))
        seen: dict[str, list[dict[str, dict[str, float]]]] = {"everloop": [], "mlflow": []}
        for _ in range(given.rounds):
            for name, (url, process) in (("everloop", ours), ("mlflow", theirs)):
                seen[name].append(asked(url, process, given.seconds))
    report(seen)


@contextlib.contextmanager
def everloop_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "everloop", "up", "--port", str(port)]
    with served(
        command, folder, f"http://127.0.0.1:{port}/health", {"EVERLOOP_WORKSPACE": str(folder)}
    ) as process:
        yield f"http://127.0.0.1:{port}", process


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    folder.mkdir()
    port = free_port()
    command = [str(PEERS / "mlflow"), "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with served(command, folder, f"http://127.0.0.1:{port}/health", {}) as process:
        yield f"http://127.0.0.1:{port}", process


@contextlib.contextmanager
def served(command: list[str], folder: Path, health: str, more: dict[str, str]) -> Iterator[psutil.Process]:
    """A server in a process group of its own, ended with all its children."""
    with Path(folder, "server.log").open("wb") as log:
        child = subprocess.Popen(
            command, cwd=folder, env=os.environ | QUIET | more, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(health, timeout=2).status == 200:
                    break
            if child.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[:2]} did not start: {Path(folder, 'server.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield psutil.Process(child.pid)
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


def asked(url: str, process: psutil.Process, seconds: float) -> dict[str, dict[str, float]]:
    """One round of the client's calls, what the server spent on each, and what memory it holds after it."""
    command = [str(PEERS / "python"), str(HERE / "peers" / "wire_client.py"), url, str(seconds)]
    family = [process, *process.children(recursive=True)]
    told: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | QUIET
        ) as child,
    ):
        assert child.stdout is not None
        before = spent(family)
        for line in child.stdout:
            if line.startswith("{"):
                found = json.loads(line)
                now = spent(family)
                if "calls" in found:
                    told[found.pop("name")] = found | {"server_ms": (now - before) / found["calls"] * 1000}
                before = now
        if child.wait():
            errors.seek(0)
            sys.exit(errors.read()[-3000:])
    told["memory of the server, MB"] = {"rate": sum(each.memory_full_info().pss for each in family) / 1e6}
    return told


def spent(family: list[psutil.Process]) -> float:
    """Processor seconds that processes have taken so far."""
    times = [each.cpu_times() for each in family]
    return sum(each.user + each.system for each in times)


def report(seen: dict[str, list[dict[str, dict[str, float]]]]) -> None:
    def median(who: str, name: str, what: str) -> float:
        return statistics.median(each[name][what] for each in seen[who])

    print(
        f"{'a second, medians':36} {'everloop':>12} {'mlflow server':>14} {'ratio':>7} {'of it the client':>17}",
        end="",
    )
    print(f" {'server, processor time a call':>38}")
    for name in seen["mlflow"][0]:
        ours, theirs = median("everloop", name, "rate"), median("mlflow", name, "rate")
        print(f"{name:36} {ours:12,.0f} {theirs:14,.0f} {ours / theirs:6.1f}x", end="")
        if "server_ms" in seen["mlflow"][0][name]:
            here, there = median("everloop", name, "server_ms"), median("mlflow", name, "server_ms")
            print(f" {median('everloop', name, 'client_ms'):14.2f} ms", end="")
            print(f" {here:11.2f} ms {there:10.2f} ms {there / here:9.1f}x", end="")
        print()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
