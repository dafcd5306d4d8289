"""A pipeline on Ray: the same results as anywhere else, its steps' own retries counted once, and logs that come back."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from everloop.engine.ray_cluster import RayExecutor
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import os
    import everloop as ev
    import numpy as np

    @ev.step
    def load(seed):
        return np.random.default_rng(seed).normal(size=(50, 3))

    @ev.step(seed=1)
    def fit(rows, rate):
        print("fitting", rate)
        ev.active_run().log_metric("rate", rate)
        return rows.mean(axis=0) * rate + np.random.rand(3)

    @ev.step(retries=2)
    def flaky(weights, notes):
        with open(notes, "a+") as file:
            print("tried", file=file)
            file.seek(0)
            tries = len(file.readlines())
        if tries < 3:
            raise RuntimeError("not yet")
        return float(sum(map(sum, weights)))

    @ev.pipeline
    def train(notes: str):
        return flaky(fit.map([load(1), load(2)], rate=0.5), notes)
    """


def test_the_same_as_in_this_process(tmp_path: Path, ray_here: None) -> None:
    found = {}
    for name in ("ray", "inline"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ray_train.py").write_text(textwrap.dedent(STEPS))
        with LocalWorkspace(folder) as workspace:
            executor = RayExecutor() if name == "ray" else name
            (folder / "notes").touch()
            run = workspace.room(Pipelines).run(
                "ray_train.py:train", {"notes": str(folder / "notes")}, executor=executor
            )
            assert run.status == "finished", run.error
            assert run.step("flaky").attempts == 3
            assert run.step("fit[0]").run is not None
            log = run.step("fit[1]").log
            assert log is not None
            assert workspace.objects.read(log) == b"fitting 0.5\n"
            found[name] = (run.value(), [each.value.digest for each in run.steps if each.value][:4])
            again = workspace.room(Pipelines).run(
                "ray_train.py:train", {"notes": str(folder / "notes")}, executor="ray"
            )
            assert again.executed == 0
        sys.modules.pop("ray_train", None)
    assert found["ray"] == found["inline"]


def test_a_profile_chooses_ray_and_names_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "everloop.toml").write_text('executor = "ray"\n[engine]\nray = "10.0.0.1:6379"\n')
    with LocalWorkspace(tmp_path) as workspace:
        assert workspace.settings.executor == "ray"
        assert workspace.settings.engine.ray == "10.0.0.1:6379"
