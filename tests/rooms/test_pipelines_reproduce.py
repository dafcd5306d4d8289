"""Rebuilding a run elsewhere, and the grades."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

import pyarrow as pa
import pytest

from everloop.data.data import Data
from everloop.errors import InvalidInput
from everloop.pipelines.pipelines import Pipelines
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import time
    import everloop as ev
    import numpy as np
    from pathlib import Path

    @ev.step
    def load():
        table = ev.data("points").to_arrow()
        return np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])

    @ev.step(seed=1)
    def fit(rows, strength):
        from sklearn.linear_model import LogisticRegression
        model = LogisticRegression(C=strength).fit(rows, rows.sum(axis=1) > 0)
        ev.active_run().log_model(model, example=rows)
        ev.active_run().log_metric("accuracy", model.score(rows, rows.sum(axis=1) > 0))
        return model

    @ev.step
    def jitter(rows, size):
        return rows[:, 0] * (1.0 + size * (time.time_ns() % 1000))

    @ev.pipeline
    def train(strength: float = 0.5):
        rows = load()
        return fit(rows, strength)

    @ev.pipeline
    def shaky(size: float = 1.0):
        return jitter(load(), size)
    """


@pytest.fixture
def room(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipelines]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.path)
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "training.py").write_text(textwrap.dedent(STEPS))
    points = {"x": [0.1 * i - 2 for i in range(50)], "y": [0.3 * (i % 7) - 1 for i in range(50)]}
    workspace.room(Data).add(pa.table(points), name="points")
    yield workspace.room(Pipelines)
    sys.modules.pop("training", None)
    sys.path[:] = path


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_run_is_rebuilt_to_the_same_bits_from_captured_code_and_pinned_data(
    room: Pipelines, executor: str
) -> None:
    run = room.run("training.py:train", executor=executor)
    assert run.status == "finished", run.error
    project = room.context.project
    # Neither the code nor the data is what it was any more.
    (project / "training.py").write_text("raise SystemExit('this is not the captured code')")
    room.context.room(Data).add(pa.table({"x": [1.0], "y": [2.0]}), name="points")

    report = room.reproduce(run.reference)

    assert report.grade == "bits", report.comparisons
    assert {each.step for each in report.comparisons} == {"load", "fit", "fit: model"}
    assert report.first_divergence is None
    assert any("packages as captured" in line for line in report.evidence)
    assert any("points@v1" in line for line in report.evidence)
    assert room.reproductions(run.reference)[0].grade == "bits"
    assert room.context.room(Tracking).run(run.run_id).tags["everloop.reproduced"] == "bits"
    assert len(room.runs()) == 1  # the rebuild left no trace among the runs


def test_a_step_that_comes_out_otherwise_is_named(room: Pipelines) -> None:
    run = room.run("training.py:shaky", executor="inline")
    report = room.reproduce(run.reference)
    assert report.grade == "failed"
    assert report.first_divergence is not None
    assert report.first_divergence.startswith("jitter: ")
    assert {each.step: each.grade for each in report.comparisons}["load"] == "bits"


def test_small_differences_are_graded_with_their_size(room: Pipelines) -> None:
    run = room.run("training.py:shaky", {"size": 1e-15}, executor="inline")
    report = room.reproduce(run.reference, tolerance=1e5)
    assert report.grade in {"bits", "tolerance"}
    if report.grade == "tolerance":
        assert any("k = " in line for line in report.evidence)


def test_only_what_led_to_a_step_counts_for_it(room: Pipelines) -> None:
    run = room.run("training.py:train", executor="inline")
    child = run.step("fit").run
    assert child is not None
    report = room.reproduce(f"run:{child}")
    assert report.grade == "bits"
    assert report.run == run.run_id


def test_what_is_no_pipelines_run_cannot_be_rebuilt(room: Pipelines, workspace: LocalWorkspace) -> None:
    with workspace.room(Tracking).start(name="by hand") as run:
        pass
    with pytest.raises(InvalidInput, match="was not made by a pipeline"):
        room.reproduce(run.reference)
    with pytest.raises(InvalidInput, match="cannot be reproduced"):
        room.reproduce("endpoint:delay")


def test_a_model_version_is_rebuilt_through_the_run_that_made_it(
    room: Pipelines, workspace: LocalWorkspace
) -> None:
    from everloop.registry.registry import Registry

    run = room.run("training.py:train", executor="inline")
    version = workspace.room(Registry).register(run.step("fit").run or "", "signs")
    report = room.reproduce(version.reference)
    assert report.grade == "bits", report.comparisons
    assert report.run == run.run_id
    assert room.reproductions(version.reference)[0] == report
