"""How fast one process logs one metric with the trackers that stand here, without a server. Prints one JSON object.

    python embedded.py SECONDS FOLDER

Each runs in a process of its own (`embedded.py SECONDS FOLDER NAME`), so that none pays for another's threads.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", WANDB_MODE="offline", WANDB_SILENT="true"
)


def mlflow_sqlite(folder):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.create_run("0").info.run_id
    return lambda step: client.log_metric(run, "loss", 0.5, step=step), lambda: client.set_terminated(run)


def trackio(folder):
    os.environ["TRACKIO_DIR"] = folder
    import trackio as tracker

    tracker.init(project="bench", embed=False)
    return lambda step: tracker.log({"loss": 0.5}, step=step), tracker.finish


def wandb(folder):
    import wandb as tracker

    run = tracker.init(
        project="bench", dir=folder, settings=tracker.Settings(console="off", x_disable_stats=True)
    )
    return lambda step: run.log({"loss": 0.5}, step=step), run.finish


def tensorboardx(folder):
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(folder)
    return lambda step: writer.add_scalar("loss", 0.5, step), writer.close


TRACKERS = {each.__name__: each for each in (mlflow_sqlite, trackio, wandb, tensorboardx)}


def measure(name, seconds, folder):
    begun = time.perf_counter()
    log, close = TRACKERS[name](folder)
    log(0)
    ready = time.perf_counter()
    step = 0
    while time.perf_counter() - ready < seconds:
        for _ in range(20):
            step += 1
            log(step)
    logged = time.perf_counter()
    close()
    closed = time.perf_counter()
    return {
        "calls": step / (logged - ready),
        "with_close": step / (closed - ready),
        "start": ready - begun,
        "close": closed - logged,
    }


def main(seconds, folder):
    told = {}
    for name in TRACKERS:
        own = os.path.join(folder, name)
        os.makedirs(own)
        command = [sys.executable, __file__, str(seconds), own, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=own)
        told[name] = (
            json.loads(done.stdout.splitlines()[-1])
            if done.returncode == 0
            else {"error": done.stderr[-500:]}
        )
    print(json.dumps(told))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        with contextlib.redirect_stdout(io.StringIO()):
            figures = measure(sys.argv[3], float(sys.argv[1]), sys.argv[2])
        print(json.dumps(figures))
    else:
        main(float(sys.argv[1]), sys.argv[2])
