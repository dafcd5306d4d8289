"""One process logs one metric: Everloop beside MLflow (embedded, SQLite), trackio, W&B (offline) and tensorboardX.

    make peers; python bench/tracking/bench_peers.py [--rounds 3] [--seconds 2]

The floor is a bare `os.write` of as many bytes as a record of Everloop's journal has: what is written survives the end of
the process, whatever ends it, and nothing can be faster that keeps this. All are run in turns; figures are medians of the
rounds. Goal: a third of the floor.
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
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".venv-peers" / "bin" / "python"
RECORD = b"." * 58

OURS = """
import sys, time, json
import everloop as ev
begun = time.perf_counter()
run = ev.start_run(experiment="bench")
run.log_metric("loss", 0.5, step=0)
ready, step, seconds = time.perf_counter(), 0, float(sys.argv[1])
while time.perf_counter() - ready < seconds:
    for _ in range(20):
        step += 1
        run.log_metric("loss", 0.5, step=step)
logged = time.perf_counter()
run.finish()
closed = time.perf_counter()
kept = ev.runs(experiment="bench")[0].history("loss").num_rows
assert kept == step + 1, (kept, step)
rates = {"calls": step / (logged - ready), "with_close": step / (closed - ready)}
print(json.dumps(rates | {"start": ready - begun, "close": closed - logged}))
"""


def floor(seconds: float, folder: Path) -> dict[str, float]:
    """A bare append, as often as it goes."""
    file = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    step, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(20):
            step += 1
            os.write(file, RECORD)
    rate = step / (time.perf_counter() - begun)
    os.close(file)
    return {"calls": rate, "with_close": rate, "start": 0.0, "close": 0.0}


def everloop(seconds: float, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(seconds)],
        cwd=folder,
        env=os.environ | {"EVERLOOP_WORKSPACE": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def peers(seconds: float, folder: Path) -> dict[str, dict[str, float]]:
    command = [str(PEERS), str(HERE / "peers" / "embedded.py"), str(seconds), str(folder)]
    told: dict[str, dict[str, float]] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    )
    return told


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.0)
    given = options.parse_args()
    if not PEERS.exists():
        sys.exit("The peers are not installed: make peers")
    seen: dict[str, list[dict[str, float]]] = {}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as top:
            told = {
                "os.write": floor(given.seconds, Path(top)),
                "everloop": everloop(given.seconds, Path(top)),
            }
            for name, figures in (told | peers(given.seconds, Path(top))).items():
                seen.setdefault(name, []).append(figures)
    ours = statistics.median(each["calls"] for each in seen["everloop"])
    print(f"{'':16} {'calls/s':>12} {'with closing':>13} {'everloop is':>12} {'start':>8} {'closing':>8}")
    for name, rounds in seen.items():
        if "error" in rounds[0]:
            print(f"{name:16} did not run: {rounds[0]['error']}")
            continue
        calls, whole, start, close = (
            statistics.median(each[key] for each in rounds)
            for key in ("calls", "with_close", "start", "close")
        )
        print(f"{name:16} {calls:12,.0f} {whole:13,.0f} {ours / calls:11.2f}x {start:7.2f}s {close:7.2f}s")


if __name__ == "__main__":
    main()
