"""Endpoints made by hand for the tests of the prediction server: a folder with models, without any ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from everloop.domain.deployments import Arm, Deployment, PlacedArm, checked_arms
from everloop.registry.packaging import write_deployment
from everloop.serving.snapshot import read_model_digest, read_running

NAMES = ("temp", "wind", "hour", "carrier")


def training_rows(rows: int = 400) -> list[dict[str, object]]:
    rng = np.random.default_rng(3)
    return [
        {
            "temp": float(rng.normal(60, 15)),
            "wind": None if row % 11 == 0 else float(rng.normal(10, 4)),
            "hour": int(rng.integers(5, 23)),
            "carrier": ("AA", "UA", "DL")[row % 3],
        }
        for row in range(rows)
    ]


def save_flights_model(folder: Path, depth: int = 3) -> None:
    """A boosted classifier of text and numbers that needs no pandas."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    from everloop.tracking.formats import save_model

    rows = training_rows()
    matrix = np.array([[row[name] for name in NAMES] for row in rows], dtype=object)
    late = np.array([row["temp"] > 62 for row in rows])  # type: ignore[operator]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encode = make_column_transformer((codes, [3]), remainder="passthrough")
    booster = HistGradientBoostingClassifier(max_iter=10, max_depth=depth, random_state=0)
    model = make_pipeline(encode, booster).fit(matrix, late)
    save_model(model, folder, example=rows)


def deploy_by_hand(
    folder: Path, models: dict[str, Path], arms: Sequence[Arm], *, revision: int = 1, salt: str = "salt"
) -> None:
    """Write an endpoint's folder; `models` says where the model of each reference was saved."""
    import shutil

    placed = []
    for arm in checked_arms(arms):
        digest = read_model_digest(models[arm.model])
        place = folder / "models" / digest
        if not place.exists():
            shutil.copytree(models[arm.model], place)
        placed.append(PlacedArm(arm, f"models/{digest}", digest))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    write_deployment(folder, Deployment("delay", revision, tuple(placed), salt, now))


class Started:
    """A prediction server as a child process; the `with` block ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "everloop.serving.server", str(folder), "--port", "0"]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "error"}
        )
        self.url = self._wait()

    def _wait(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            running = read_running(self.folder)
            if running is not None and running.pid == self.process.pid:
                return running.url
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                raise RuntimeError(self.process.stderr.read().decode())
            time.sleep(0.02)
        raise RuntimeError("the server did not start")

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=30)
        finally:
            self.process.kill()
