"""kill -9 while a run logs: every acknowledged point is there afterwards, and no run stays 'running'."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.tracking.shipping import journal_folder
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

# Logs for ever and says after every call how far it is. An argument asks for small shipments, so that a kill meets one.
LOGGER = """
import itertools, os, sys
from everloop.tracking import shipping
shipping.SHIP_SECONDS = float(sys.argv[1])
import everloop as ev
run = ev.start_run("kills", params={"seed": sys.argv[2]})
print(run.run_id, flush=True)
for number in itertools.count():
    run.log_metric("loss", number, step=number)
    if number % 50 == 7:
        run.log_text(str(number), f"notes/{number}.txt")
        run.checkpoint({"number": number})
    if number % 100 == 9:
        run.set_tags({"at": number})
    os.write(1, b"%d\\n" % number)
"""

# Trains by stochastic gradient descent with its own generator; `STOP` makes it kill itself in the middle of step 60.
TRAINER = """
import os, signal
import numpy as np
import everloop as ev

with ev.start_run("train", name="sgd", params={"lr": 0.01}) as run:
    generator = np.random.default_rng(7)
    state = run.restore({"step": 0, "weights": np.zeros(3), "generator": generator.bit_generator.state})
    generator.bit_generator.state = state["generator"]
    weights = state["weights"]
    for step in range(state["step"], 100):
        x = generator.normal(size=3)
        error = x @ weights - x @ np.array([1.0, -2.0, 0.5])
        weights = weights - 0.01 * error * x
        run.log_metric("loss", error * error, step=step)
        if step == 60 and os.environ.get("STOP"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 25 == 24:
            run.checkpoint({"step": step + 1, "weights": weights, "generator": generator.bit_generator.state}, step=step)
    run.log_metrics({f"weight{number}": value for number, value in enumerate(weights)})
"""

# An estimator of scikit-learn, batch by batch; as it is an object, its checkpoint is a pickle of the user's own.
PARTIAL = """
import os, signal
import numpy as np
import everloop as ev
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

with ev.start_run("train", name="partial", params={"alpha": 0.001}) as run:
    first = {"step": 0, "model": SGDClassifier(loss="log_loss", alpha=0.001, random_state=np.random.RandomState(3)),
             "generator": np.random.default_rng(11)}
    state = run.restore(first)
    model, generator = state["model"], state["generator"]
    for step in range(state["step"], 60):
        x = generator.normal(size=(32, 4))
        y = (x @ [1.0, -2.0, 0.5, 0.0] + generator.normal(size=32) > 0).astype(int)
        model.partial_fit(x, y, classes=[0, 1])
        run.log_metric("loss", log_loss(y, model.predict_proba(x), labels=[0, 1]), step=step)
        if step == 40 and os.environ.get("STOP"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 15 == 14:
            run.checkpoint({"step": step + 1, "model": model, "generator": generator}, step=step)
    run.log_metrics({f"weight{number}": value for number, value in enumerate(model.coef_[0])})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "everloop.toml").write_text("")
    return tmp_path


@pytest.fixture
def tracking(folder: Path) -> Iterator[Tracking]:
    with LocalWorkspace(folder) as workspace:
        yield workspace.tracking


def environment(folder: Path, **extra: str) -> dict[str, str]:
    return os.environ | {"EVERLOOP_WORKSPACE": str(folder)} | extra


def killed_after(folder: Path, lines: int, ship_seconds: float, seed: int) -> tuple[str, int]:
    """Start the logger, kill it after so many acknowledgements; the run, and the last number it acknowledged."""
    command = [sys.executable, "-c", LOGGER, str(ship_seconds), str(seed)]
    with subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        last = -1
        for _ in range(lines):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        whole = [line for line in process.stdout.read().split("\n")[:-1] if line]
        return run_id, int(whole[-1]) if whole else last


@pytest.mark.parametrize("seed", range(4))
def test_what_was_acknowledged_is_there_and_the_run_is_not_running(
    folder: Path, tracking: Tracking, seed: int
) -> None:
    choose = random.Random(seed)
    run_id, last = killed_after(folder, choose.randrange(1, 400), choose.choice([0.001, 2.0]), seed)
    assert tracking.run(run_id).status == "killed"
    assert tracking.ship_pending() == [run_id]
    found = tracking.run(run_id)
    assert found.status == "killed"
    assert found.end_time is not None
    history = tracking.open(run_id).history("loss")
    assert history["step"].to_pylist()[: last + 1] == list(range(last + 1))
    assert history["value"].to_pylist() == history["step"].to_pylist()
    assert history.num_rows <= last + 2  # at most the one that was logged and not yet acknowledged
    assert tracking.summaries(run_id)[0].count == history.num_rows
    for number in range(7, last + 1, 50):
        assert tracking.open(run_id).read_artifact(f"notes/{number}.txt") == str(number).encode()
    if last >= 9:
        assert int(found.tags["at"]) >= (last - 9) // 100 * 100 + 9
    assert list(journal_folder(folder / ".everloop").iterdir()) == []
    assert tracking.ship_pending() == []
    with LocalWorkspace(folder) as workspace:
        assert workspace.governance.verify().ok


def everloop(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from everloop.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        pytest.param(TRAINER, 61, id="numpy"),
        # 9 s: three processes that load scikit-learn
        pytest.param(PARTIAL, 41, id="partial_fit", marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_resumed_ends_with_the_bits_of_an_uninterrupted_one(
    folder: Path, tracking: Tracking, trainer: str, steps: int
) -> None:
    (folder / "train.py").write_text(trainer)
    command = [sys.executable, "train.py"]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    whole = tracking.runs("status = 'finished'")[0]
    done = subprocess.run(command, cwd=folder, env=environment(folder, STOP="1"), check=False)
    assert done.returncode == -signal.SIGKILL
    killed = tracking.runs("status = 'killed'")[0]
    assert killed.history("loss").num_rows == steps

    answer = everloop(folder, "resume", killed.run_id[:31], "--json")
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert (said["resumed_from"], said["status"]) == (killed.run_id, "finished")
    resumed = tracking.open(said["run"])
    assert resumed.resumed_from == killed.run_id
    assert resumed.metrics == whole.metrics
    for key in whole.metrics:
        mine, theirs = resumed.history(key), whole.history(key)
        assert mine.drop_columns("timestamp").equals(theirs.drop_columns("timestamp"))

    again = everloop(folder, "resume", said["run"], "--json")
    assert again.returncode == 2
    assert json.loads(again.stdout)["error"]["code"] == "conflict"


# Forks a child that lives on, as workers that load data do, prints from it, and is killed.
FORKER = """
import os, signal, sys, time
import everloop as ev
run = ev.start_run("fork")
run.log_metric("m", 1.0)
child = os.fork()
if child == 0:
    print("from the child", flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(0.2)
print(run.run_id, child, flush=True)
run.log_metric("m", 2.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_children_that_live_on_hold_nothing_back(folder: Path, tracking: Tracking) -> None:
    done = subprocess.Popen(
        [sys.executable, "-c", FORKER], env=environment(folder), stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    assert done.stdout.readline() == "from the child\n"
    run_id, child = done.stdout.readline().split()
    try:
        assert done.wait(30) == -signal.SIGKILL
        assert tracking.ship_pending() == [run_id]
        run = tracking.open(run_id)
        assert (run.status, run.metrics) == ("killed", {"m": 2.0})
        assert "child" not in run.output().replace(child, "")
    finally:
        os.kill(int(child), signal.SIGKILL)
        done.stdout.close()
