"""The process that the kill harness kills: it logs at random and writes down what it was told is kept.

    python tracking_workload.py FOLDER-OF-NOTES SEED ROUNDS LONGEST

Everloop is imported once; each round is a forked child that logs for up to LONGEST seconds and is then killed with SIGKILL. After
every call that came back, the child appends a line to its notes: that call was acknowledged. Prints how long the rounds took.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import everloop as ev
import everloop.client.remote
import everloop.tracking.starting
import everloop.workspace.local  # here, so that children do not spend their short lives on it
from everloop.tracking import shipping


def work(notes: int, choose: random.Random) -> None:
    """Log for ever."""
    shipping.SHIP_SECONDS = choose.choice([0.001, 0.05, 2.0])
    while True:
        _note(notes, "start", "", 0)
        run = ev.start_run("kills", params={"seed": choose.random()}, machine=False)
        _note(notes, "begun", run.run_id, 0)
        for number in range(choose.randrange(1, 400)):
            _act(notes, choose, run, number)
        status = choose.choice(["finished", "failed"])
        run.finish(status)
        _note(notes, "ended", run.run_id, status)


def _act(notes: int, choose: random.Random, run: ev.Run, number: int) -> None:
    kind = choose.choices(
        ["metric", "metrics", "points", "tag", "param", "file", "checkpoint", "print"],
        [60, 10, 3, 5, 5, 2, 1, 5],
    )[0]
    value = choose.random()
    if kind == "metric":
        run.log_metric("loss", value, step=number)
    elif kind == "metrics":
        run.log_metrics({"a": value, "b": -value}, step=number)
    elif kind == "points":
        run.log_points(f"bulk/{number}", np.full(1000, value))
    elif kind == "tag":
        run.set_tags({f"tag{number}": value})
    elif kind == "param":
        run.log_params({f"param{number}": value})
    elif kind == "file":
        run.log_text(str(value), f"notes/{number}.txt")
    elif kind == "checkpoint":
        run.checkpoint({"value": value}, step=number)
    elif kind == "print":
        print(value)
    _note(notes, kind, run.run_id, [number, value])


def _note(notes: int, kind: str, run_id: str, value: object) -> None:
    os.write(notes, json.dumps([kind, run_id, value]).encode() + b"\n")


def _until_begun(notes: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (notes.exists() and b"begun" in notes.read_bytes()[:500]):
        time.sleep(0.005)


def main() -> None:
    folder, seed, rounds, longest = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    choose = random.Random(seed)
    for number in range(rounds):
        child = os.fork()
        if child == 0:
            warnings.simplefilter("ignore")
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)
            work(
                os.open(folder / f"{number}.notes", os.O_CREAT | os.O_WRONLY | os.O_APPEND),
                random.Random(seed * 1000 + number),
            )
        if choose.random() < 0.8:  # else it may well be killed before it has begun
            _until_begun(folder / f"{number}.notes")
        time.sleep(choose.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            sys.exit("a round ended by itself")


if __name__ == "__main__":
    main()
