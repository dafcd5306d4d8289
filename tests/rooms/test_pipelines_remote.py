"""Pipelines against a server: the steps run here, the ledger and the objects are there."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloop.client.ambient import using
from everloop.pipelines.pipelines import Pipelines
from everloop.tracking.tracking import Tracking
from everloop.workspace.workspace import Workspace

STEPS = """
    import everloop as ev
    import numpy as np

    @ev.step
    def load(rows): return np.arange(rows, dtype=float)

    @ev.step
    def fit(values):
        ev.active_run().log_metric("size", values.sum())
        return {"sum": values.sum(), "values": values}

    @ev.pipeline
    def distant(rows: int = 5): return fit(load(rows))
    """


@pytest.fixture
def there(any_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.path)
    project = tmp_path / "code"
    project.mkdir()
    (project / "distant_steps.py").write_text(textwrap.dedent(STEPS))
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    with using(any_workspace):
        yield any_workspace
    sys.modules.pop("distant_steps", None)
    sys.path[:] = path


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_steps_run_here_and_are_known_there(there: Workspace, executor: str) -> None:
    room = there.room(Pipelines)
    run = room.run("distant_steps:distant", executor=executor)
    assert run.status == "finished", run.error
    assert run.value()["sum"] == 10.0
    assert room.run("distant_steps:distant", executor=executor).executed == 0
    child = run.step("fit").run
    assert child is not None
    assert there.room(Tracking).run(child).metrics == {"size": 10.0}
    assert [each.name for each in room.steps(run.run_id)] == ["load", "fit"]
    assert room.reproduce(run.reference).grade == "bits"
