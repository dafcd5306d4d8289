"""A training that takes its time and may be killed at any moment: logistic regression by gradient descent, epoch by epoch.

Run it twice and the bits of the result are the same; kill it, go on with `everloop resume RUN`, and they are the same too.
"""

import hashlib
import os
import time

import numpy as np
import pyarrow.compute as pc

import everloop as ev

EPOCHS = 12
PAUSE = float(os.environ.get("SECONDS_AN_EPOCH", "0"))


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Hour, minute, distance and month of January's flights, scaled, with a constant; and whether each was late."""
    columns = ["hour", "minute", "distance", "arr_delay"]
    table = ev.data("flights@v1").to_arrow(columns=columns, filter=pc.field("arr_delay").is_valid())
    inputs = np.column_stack([table[name].to_numpy().astype(float) for name in columns[:3]])
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    return np.column_stack([inputs, np.ones(len(inputs))]), (table["arr_delay"].to_numpy() > 15).astype(float)


def main() -> None:
    with ev.start_run(
        experiment="slow training", params={"epochs": EPOCHS, "rate": 0.05}, seeds={"numpy": 0}
    ) as run:
        inputs, late = rows()
        state = run.restore({"epoch": 0, "weights": np.zeros(inputs.shape[1])})
        weights = state["weights"]
        for epoch in range(state["epoch"], EPOCHS):
            order = np.random.default_rng([0, epoch]).permutation(len(late))
            for batch in np.array_split(order, 50):
                expected = 1 / (1 + np.exp(-inputs[batch] @ weights))
                weights = weights + 0.05 * inputs[batch].T @ (late[batch] - expected) / len(batch)
            expected = 1 / (1 + np.exp(-inputs @ weights))
            run.log_metric(
                "log_loss", -np.mean(np.log(np.where(late == 1, expected, 1 - expected))), step=epoch
            )
            run.checkpoint({"epoch": epoch + 1, "weights": weights})
            time.sleep(PAUSE)
        run.set_tags({"weights": hashlib.sha256(weights.tobytes()).hexdigest()})


if __name__ == "__main__":
    main()
