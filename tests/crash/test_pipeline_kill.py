"""A pipeline killed with kill -9 goes on: finished steps from the cache, a stopped step from its checkpoint, same final bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from everloop.workspace.local import LocalWorkspace

STEPS = """
    import os, time
    import everloop as ev
    import numpy as np
    from pathlib import Path
    from everloop.pipelines.steps import pipeline, step
    from everloop.tracking.run import active_run

    @step
    def load(seed):
        note("load")
        return np.random.default_rng(seed).normal(size=(200, 5))

    @step(seed=3)
    def fit(rows, epochs):
        run = active_run()
        state = run.restore({"epoch": 0, "weights": np.zeros(5)})
        weights = state["weights"]
        for epoch in range(state["epoch"], epochs):
            note(f"epoch {epoch}")
            order = np.random.default_rng(epoch).permutation(len(rows))
            for row in rows[order]:
                weights = weights - 0.01 * (weights @ row - row.sum()) * row
            run.log_metric("size", float(np.abs(weights).sum()), step=epoch)
            run.checkpoint({"epoch": epoch + 1, "weights": weights})
            pause(epoch)
        return weights

    @step
    def summed(weights):
        note("summed")
        return float(weights.sum())

    @pipeline
    def train(epochs: int = 6):
        weights = fit(load(1), epochs)
        return weights, summed(weights)

    def note(line):
        with open(os.environ["NOTES"], "a") as file:
            print(line, file=file)

    def pause(epoch):
        name = "PAUSE".upper()  # computed: else the variable would be part of the step's key
        if epoch == 2 and os.environ.get(name):
            time.sleep(60)
    """

DRIVE = """
import sys, msgspec
from pathlib import Path
from everloop.workspace.local import LocalWorkspace
from everloop.pipelines.pipelines import Pipelines
with LocalWorkspace(Path(sys.argv[1])) as ws:
    room = ws.room(Pipelines)
    run = room.resume(sys.argv[3]) if len(sys.argv) > 3 else room.run("train.py:train", executor=sys.argv[2])
    weights, total = run.value()
    print(msgspec.json.encode({
        "run": run.run_id, "from": run.resumed_from, "digest": run.output.digest,
        "steps": {s.name: s.status for s in run.steps}, "why": {s.name: s.reason for s in run.steps},
        "weights": weights.tobytes().hex(), "total": total,
    }).decode())
"""


def drive(folder: Path, *arguments: str, pause: bool = False) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    environment |= {"NOTES": str(folder / "notes.txt")} | ({"PAUSE": "1"} if pause else {})
    (folder / "drive.py").write_text(DRIVE)
    command = [sys.executable, str(folder / "drive.py"), str(folder), *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    found: dict[str, object] = msgspec.json.decode(out.splitlines()[-1])
    return found


def notes(folder: Path) -> list[str]:
    path = folder / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(textwrap.dedent(STEPS))
        made.append(folder)
    return made[0], made[1]


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_the_driver_is_killed_and_the_run_goes_on_to_the_same_bits(
    folders: tuple[Path, Path], executor: str
) -> None:
    whole, killed = folders
    expected = answer(drive(whole, executor))

    process = drive(killed, executor, pause=True)
    wait_for(lambda: "epoch 2" in notes(killed) and checkpoints(killed) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(notes(killed))

    with LocalWorkspace(killed) as workspace:
        from everloop.pipelines.pipelines import Pipelines
        from everloop.tracking.tracking import Tracking

        stopped = workspace.room(Pipelines).runs()[0].run
        assert workspace.room(Tracking).run(stopped).status == "killed"
    resumed = answer(drive(killed, executor, stopped))

    assert resumed["weights"] == expected["weights"]
    assert resumed["digest"] == expected["digest"]
    assert resumed["from"] == stopped
    assert resumed["steps"] == {"load": "cached", "fit": "executed", "summed": "executed"}, resumed["why"]
    assert notes(killed)[before:] == ["epoch 3", "epoch 4", "epoch 5", "summed"]


def test_no_worker_outlives_its_driver(folders: tuple[Path, Path]) -> None:
    import psutil

    _, folder = folders
    process = drive(folder, "local", pause=True)
    wait_for(lambda: "epoch 2" in notes(folder), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def checkpoints(folder: Path) -> int:
    """How many checkpoints the ledger of a folder holds."""
    import sqlite3

    path = folder / ".everloop" / "ledger.db"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(path) as connection:
            return int(connection.execute("select count(*) from run_checkpoints").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
