"""A mixed pipeline that is killed while it runs: a map, a step that fails at first, one with checkpoints, one that writes data.

Started with a folder for notes, the number of a round and an executor, it runs the round's pipeline, or goes on with it, and
prints what came out.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

import everloop as ev
from everloop.pipelines.pipelines import Pipelines


@ev.step
def load(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(40, 4))


@ev.step
def part(rows: np.ndarray, index: int) -> float:
    time.sleep(0.02)
    return float(rows[index::8].sum())


@ev.step(retries=5)
def flaky(parts: list[float], notes: str) -> float:
    """Fails the first two times in a round."""
    with open(notes, "a+") as file:
        print("tried", file=file, flush=True)
        file.seek(0)
        tries = len(file.readlines())
    if tries < 3:
        raise RuntimeError("not yet")
    return sum(parts)


@ev.step(seed=3)
def fit(rows: np.ndarray, epochs: int) -> np.ndarray:
    """One step that takes its time, and goes on from its last checkpoint."""
    run = ev.active_run()
    state = run.restore({"epoch": 0, "weights": np.zeros(4)})
    weights = state["weights"]
    for epoch in range(state["epoch"], epochs):
        for row in rows[np.random.default_rng(epoch).permutation(len(rows))]:
            weights = weights - 0.01 * (weights @ row - row.sum()) * row
        run.log_metric("size", float(np.abs(weights).sum()), step=epoch)
        run.checkpoint({"epoch": epoch + 1, "weights": weights})
        time.sleep(0.05)
    return weights


@ev.step
def write(weights: np.ndarray, number: int) -> int:
    table = pa.table({"weight": weights, "round": [number] * len(weights)})
    ev.workspace().data.add(table, f"weights-{number}", message="of the harness")
    return len(weights)


@ev.pipeline
def mixed(number: int, notes: str):
    rows = load(number)
    total = flaky(part.map([rows] * 8, range(8)), notes)
    weights = fit(rows, epochs=6)
    return {"total": total, "weights": weights, "written": write(weights, number)}


def main(notes: Path, number: int, executor: str) -> None:
    room = ev.workspace().room(Pipelines)
    params = {"number": number, "notes": str(notes / f"{number}.txt")}
    begun = next((each for each in room.runs("mixed") if each.params["number"] == number), None)
    done = room.run(
        f"{__file__}:mixed", params, executor=executor, resumed_from=None if begun is None else begun.run
    )
    answer = {"run": done.run_id, "status": done.status, "error": done.error}
    if done.status == "finished":
        assert done.output is not None
        answer |= {"digest": done.output.digest, "steps": {each.name: each.status for each in done.steps}}
    print(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
