"""Runs with a model that may be registered: trained on a dataset, with parameters, code and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from everloop.workspace.workspace import Workspace

INPUTS = ("temp", "wind")


def flights(rows: int = 600, seed: int = 0) -> pa.Table:
    """Rows of thirty days; lateness follows temperature, a little wind and chance."""
    rng = np.random.default_rng(seed)
    temp, wind = rng.normal(60, 15, rows), rng.normal(10, 4, rows)
    late = (temp - 60 + 0.5 * (wind - 10) + rng.normal(0, 8, rows) > 0).astype(np.int64)
    day = np.sort(rng.integers(0, 30, rows))
    origin = np.array(["EWR", "JFK", "LGA"])[rng.integers(0, 3, rows)]
    return pa.table({"temp": temp, "wind": wind, "late": late, "day": day, "origin": origin})


def add_flights(
    workspace: Workspace, folder: Path, name: str = "flights", seed: int = 0, rows: int = 600
) -> str:
    """A dataset version with these rows; returns its reference."""
    path = folder / f"{name}-{seed}.parquet"
    pq.write_table(flights(rows, seed), path)
    return str(workspace.data.add(path, name=name).reference)


def train(workspace: Workspace, data: str, *, inputs: tuple[str, ...] = INPUTS, **params: Any) -> str:
    """A finished run with a logged model; returns its identifier."""
    from sklearn.linear_model import LogisticRegression

    with workspace.tracking.start(params={"C": 1.0, **params}) as run:
        table = workspace.data.dataset(data).to_arrow()
        columns = {name: table[name].to_numpy() for name in inputs}
        model = LogisticRegression(C=float(params.get("C", 1.0)))
        if params.get("flipped"):
            model.fit(np.column_stack(list(columns.values())), 1 - table["late"].to_numpy())
        else:
            model.fit(np.column_stack(list(columns.values())), table["late"].to_numpy())
        run.log_metric("log_loss", 0.4)
        run.log_model(model, example=columns)
    return str(run.run_id)
