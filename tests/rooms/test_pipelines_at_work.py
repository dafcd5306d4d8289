"""A step that takes a while is told of before it is over, also where it has no run of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path

import httpx
import pytest
from tests.support.workspaces import served

from everloop.pipelines.driver import records
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import everloop as ev
    import os, time

    @ev.step
    def wait(held: str) -> int:
        while os.path.exists(held):
            time.sleep(0.02)
        return 1

    @ev.step
    def after(number: int) -> int:
        return number + 1

    @ev.pipeline
    def work(held: str):
        return after(wait(held))
    """


def test_it_is_shown_while_it_is_at_work(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(records, "SHOWN_AFTER", 0.0)
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "waiting.py").write_text(textwrap.dedent(STEPS))
    held = tmp_path / "held"
    held.touch()
    room = workspace.room(Pipelines)
    seen: list[tuple[str, str, str]] = []
    shown = Pipelines.show_at_work

    def told(self: Pipelines, run: str, steps: list[object]) -> None:
        shown(self, run, steps)  # type: ignore[arg-type]
        if seen:
            return
        (moment,) = room.timeline(run)
        seen.append((moment.name, moment.status, moment.run))
        with served(workspace) as url:
            for page in (f"/runs/{run}", f"/runs/{run}/at-work", f"/runs/{run}/steps/{moment.position}"):
                answer = httpx.get(url + page)
                assert answer.status_code == 200
                assert "wait" in answer.text
        held.unlink()

    monkeypatch.setattr(Pipelines, "show_at_work", told)
    done = room.run("waiting.py:work", {"held": str(held)}, executor="local")
    assert (done.status, done.value()) == ("finished", 2)
    assert seen == [("wait", "running", "")]
    assert [each.status for each in room.timeline(done.run_id)] == ["executed", "executed"]


def test_one_that_was_killed_with_its_run_is_not_at_work(workspace: LocalWorkspace) -> None:
    from everloop.domain.pipelines import PipelineRunRecord, StepRecord

    room = workspace.room(Pipelines)
    with workspace.tracking.start("x", name="work") as run:
        record = PipelineRunRecord(run.run_id, "work", "w.py:work", {}, "local", "running", workspace.clock())
        room.begin(record)
        room.show_at_work(run.run_id, [StepRecord(0, "wait", "w.py::wait", "running", 3.0)])
        run.flush()
        assert [each.status for each in room.timeline(run.run_id)] == ["running"]
    assert [each.status for each in room.timeline(run.run_id)] == [
        "finished"
    ]  # as its run, which has not ended by itself
    room.settle_runs()
    assert room.timeline(run.run_id) == []
