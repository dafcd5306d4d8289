"""Runs at work get along: pools with few places, priorities, cancelling, effects that happen once, a ledger that goes away."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.support.workspaces import FakeClock

from everloop.domain.runs import Owner
from everloop.errors import Conflict, InvalidInput, Unavailable
from everloop.pipelines import patience
from everloop.pipelines.patience import patient
from everloop.pipelines.pipelines import Pipelines
from everloop.pipelines.sharing import Place
from everloop.tracking.places import this_process
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

GONE = Owner("elsewhere", 1, 0.0)


def pooled(workspace: LocalWorkspace, **pools: int) -> Pipelines:
    workspace.settings = msgspec.structs.replace(workspace.settings, pools=pools)
    return workspace.room(Pipelines)


def test_places_are_given_by_priority_then_by_patience(
    any_workspace: Workspace, workspace: LocalWorkspace, clock: FakeClock
) -> None:
    pooled(workspace, gpu=2)
    room, here = any_workspace.room(Pipelines), this_process()
    first = [Place("a1", "gpu"), Place("a2", "gpu"), Place("a3", "gpu")]
    assert sorted(room.enter_pools("one", here, first)) == ["a1", "a2"]
    assert room.enter_pools("two", here, [Place("b1", "gpu")]) == []
    assert room.enter_pools("two", here, [Place("b2", "gpu", priority=5)]) == []
    room.leave_pools(["a1"])
    assert room.enter_pools("one", here, first[2:]) == []  # it is b2's turn
    assert room.enter_pools("two", here, [Place("b1", "gpu"), Place("b2", "gpu", 5)]) == ["b2"]
    room.leave_pools(["a2"])
    clock.advance(seconds=10)  # b1 has not asked for so long: its turn passes
    assert room.enter_pools("one", here, first[2:]) == ["a3"]


def test_a_place_of_a_process_that_is_gone_is_free_again(workspace: LocalWorkspace, clock: FakeClock) -> None:
    room = pooled(workspace, gpu=1)
    assert room.enter_pools("one", GONE, [Place("a", "gpu")]) == ["a"]
    assert room.enter_pools("two", this_process(), [Place("b", "gpu")]) == []
    clock.advance(seconds=61)
    assert room.enter_pools("two", this_process(), [Place("b", "gpu")]) == ["b"]


def test_a_pool_that_is_not_there_is_named(workspace: LocalWorkspace) -> None:
    room = pooled(workspace, gpu=1)
    with pytest.raises(InvalidInput, match="no pool 'gpus'") as caught:
        room.enter_pools("one", this_process(), [Place("a", "gpus")])
    assert "'gpu'" in caught.value.hint


STEPS = """
    import os, time
    from pathlib import Path
    import everloop as ev

    @ev.step(pool="narrow", cache=False)
    def narrow(number, notes):
        path = Path(notes, f"{number}-{os.getpid()}")
        path.touch()
        together = len(list(Path(notes).iterdir()))
        time.sleep(0.02)
        path.unlink()
        return together

    @ev.pipeline
    def squeezed(notes: str):
        return narrow.map(range(4), notes=notes)

    @ev.step(priority=1)
    def low(number, notes): note(notes, f"low {number}")

    @ev.step(priority=9)
    def high(number, notes): note(notes, f"high {number}")

    @ev.pipeline
    def ranked(notes: str):
        return low.map(range(3), notes=notes), high.map(range(3), notes=notes)

    def note(path, line):
        with open(path, "a") as file:
            print(line, file=file)

    @ev.step(retries=1, cache=False)
    def pay(notes):
        note(notes, ev.idempotency_key())
        if os.environ.get("DECLINED"):
            raise RuntimeError("declined")

    @ev.pipeline
    def paying(notes: str):
        pay(notes)

    @ev.step
    def slow(notes):
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        note(notes, f"{child.pid} {os.getpid()}")
        time.sleep(60)

    @ev.pipeline
    def hanging(notes: str):
        return slow(notes)
    """


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    (folder / "sharing_steps.py").write_text(textwrap.dedent(STEPS))
    (folder / "everloop.toml").write_text("[pools]\nnarrow = 1\n")
    return folder


def test_a_pool_holds_over_processes(project: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    drive = f"""
import sys
from pathlib import Path
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    run = workspace.room(Pipelines).run("sharing_steps.py:squeezed", {{"notes": {str(notes)!r}}}, executor="local")
    assert run.status == "finished", run.error
    print(max(run.value()))
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", drive, str(project)], cwd=project, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [each.communicate(timeout=120)[0].strip() for each in both] == ["1", "1"]


def test_of_steps_that_could_begin_the_highest_priority_comes_first(project: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with LocalWorkspace(project) as workspace:
        run = workspace.room(Pipelines).run(
            "sharing_steps.py:ranked", {"notes": str(notes)}, executor="inline"
        )
    assert run.status == "finished", run.error
    assert [line.split()[0] for line in notes.read_text().splitlines()] == ["high"] * 3 + ["low"] * 3


def test_an_effect_has_one_key_for_retries_and_resumed_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    params = {"notes": str(notes)}
    with LocalWorkspace(project) as workspace:
        room = workspace.room(Pipelines)
        monkeypatch.setenv("DECLINED", "1")
        failed = room.run("sharing_steps.py:paying", params, executor="inline")
        assert failed.status == "failed"
        again = room.resume(failed.run_id)
        monkeypatch.delenv("DECLINED")
        room.resume(again.run_id)
        assert len(set(notes.read_text().splitlines())) == 1
        assert len(notes.read_text().splitlines()) == 5
        room.run("sharing_steps.py:paying", params, executor="inline")
        assert len(set(notes.read_text().splitlines())) == 2
    with pytest.raises(InvalidInput, match="no pipeline runs this step"):
        from everloop.pipelines.idempotency import idempotency_key

        idempotency_key()


def test_a_run_is_cancelled_from_elsewhere_with_all_it_started(project: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    found = {}

    def drive() -> None:
        with LocalWorkspace(project) as mine:
            found["run"] = mine.room(Pipelines).run(
                "sharing_steps.py:hanging", {"notes": str(notes)}, executor="local"
            )

    driver = threading.Thread(target=drive)
    driver.start()
    deadline = time.monotonic() + 60
    while not (notes.exists() and len(notes.read_text().split()) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with LocalWorkspace(project) as other:
        run = other.room(Pipelines).runs()[0].run
        assert other.room(Pipelines).cancel(f"run:{run}") == run
        driver.join(60)
        assert found["run"].status == "interrupted"
        assert found["run"].error.startswith("cancelled by ")
        assert not any(psutil.pid_exists(int(pid)) and alive(int(pid)) for pid in notes.read_text().split())
        with pytest.raises(Conflict, match="is interrupted: there is nothing to stop"):
            other.room(Pipelines).cancel(run)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_is_away_is_waited_for_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []

    class Away:
        calls = 0

        def ask(self, what: str) -> str:
            self.calls += 1
            if self.calls < 4:
                raise Unavailable("the ledger does not answer")
            return what

    assert patient(Away(), pause=pauses.append).ask("it") == "it"
    assert pauses == [0.2, 0.4, 0.8]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "the ledger does not answer; waiting until it is back",
        "it is back; going on after 1 s",
    ]


def test_what_never_comes_back_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def ask(self) -> str:
            raise Unavailable("the ledger does not answer")

    monkeypatch.setattr(patience, "PATIENCE", 5.0)
    pauses: list[float] = []
    with pytest.raises(Unavailable):
        patient(Gone(), pause=pauses.append).ask()
    assert 5.0 <= sum(pauses) < 20


def test_a_step_that_its_store_did_not_answer_begins_again(workspace: LocalWorkspace) -> None:
    text = """
        import everloop as ev
        from everloop.errors import Unavailable
        from pathlib import Path

        @ev.step
        def ask(notes: str) -> int:
            with open(notes, "a") as file:
                print("asked", file=file)
            tries = len(Path(notes).read_text().splitlines())
            if tries < 3:
                raise Unavailable("the store does not answer")
            return tries

        @ev.pipeline
        def work(notes: str):
            return ask(notes)
        """
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "asking.py").write_text(textwrap.dedent(text))
    notes = str(workspace.project / "notes")
    done = workspace.room(Pipelines).run("asking.py:work", {"notes": notes}, executor="inline")
    assert (done.status, done.value(), done.step("ask").attempts) == ("finished", 3, 1)
