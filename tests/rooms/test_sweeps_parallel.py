"""Trials beside each other: each in its own process, each chosen on what is recorded, one that dies is one failed trial."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import msgspec
import psutil
import pytest
from tests.support.projects import Project, project_in

from everloop.domain.sweeps import Objective, Real, Trial
from everloop.errors import InvalidInput
from everloop.pipelines.sweeps import runners
from everloop.pipelines.sweeps.asking import ask
from everloop.workspace.local import LocalWorkspace

CODE = """
    import os
    import time
    from pathlib import Path
    import everloop as ev

    @ev.step
    def meet(rate: float, folder: str) -> float:
        # Two trials must be at work at once for this to end.
        (Path(folder) / str(rate)).touch()
        until = time.monotonic() + 60
        while len(os.listdir(folder)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert len(os.listdir(folder)) >= 2
        print("met")
        return (rate - 0.3) ** 2

    @ev.pipeline
    def train(rate: float, folder: str):
        return meet(rate, folder)

    @ev.step
    def wait(rate: float, folder: str) -> dict:
        (Path(folder) / f"{os.getpid()}.pid").touch()
        until = time.monotonic() + 60
        while not (Path(folder) / "go").exists() and time.monotonic() < until:
            time.sleep(0.01)
        return {"loss": rate}

    @ev.pipeline
    def waits(rate: float, folder: str):
        return wait(rate, folder)

    @ev.pipeline
    def dies(rate: float):
        os._exit(3)

    @ev.step
    def nothing() -> None: ...

    @ev.pipeline
    def says_nothing(rate: float):
        return nothing()
"""
SPACE = {"rate": Real(0.0, 1.0)}
LOSS = Objective("loss")


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write("train.py", CODE)
        yield made


def test_trials_run_beside_each_other_and_each_says_what_it_was_chosen_on(
    project: Project, tmp_path, capfd
) -> None:
    (tmp_path / "met").mkdir()
    told: list[Trial] = []
    found = project.room.sweep(
        f"{project.folder}/train.py:train", SPACE, trials=4, objective=LOSS, jobs=2, seed=3, executor="inline",
        params={"folder": str(tmp_path / "met")}, told=told.append,
    )  # fmt: skip
    assert [each.status for each in found.trials] == ["finished"] * 4, found.trials
    assert sorted(told, key=lambda each: each.number) == found.trials
    assert (found.trials[0].running, found.trials[1].running) == ((), (0,))
    plan = project.room.sweep_record(found.run).plan
    for trial in found.trials:
        earlier = [
            msgspec.structs.replace(each, status="running", values=())
            if each.number in trial.running
            else each
            for each in found.trials[: trial.number]
        ]
        assert trial.known == trial.number - len(trial.running)
        assert ask(plan, earlier, trial.number) == trial.params
    children = set(project.workspace.tracking.describe(found.run).children)
    assert {run for each in found.trials for run in each.runs} == children
    printed = capfd.readouterr()
    assert "met" not in printed.out
    assert "Fatal" not in printed.err
    more = project.room.resume_sweep(found.run, trials=5, jobs=2, executor="inline")
    assert more.trials[:4] == found.trials
    assert more.trials[4].running == ()


def test_a_trial_whose_process_dies_is_one_failed_trial(project: Project) -> None:
    found = project.room.sweep(
        f"{project.folder}/train.py:dies", SPACE, trials=2, objective=LOSS, jobs=2, executor="inline"
    )
    assert [(each.status, each.error) for each in found.trials] == [
        ("failed", "its process ended with exit code 3")
    ] * 2


def test_a_sweep_that_is_interrupted_ends_its_trials_and_goes_on_later(
    project: Project, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "PATIENCE", 2.0)  # seconds
    folder = tmp_path / "at work"
    folder.mkdir()

    def interrupt() -> None:
        until = time.monotonic() + 60
        while len(list(folder.glob("*.pid"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        project.room.sweep(
            f"{project.folder}/train.py:waits", SPACE, trials=2, objective=LOSS, jobs=2, seed=1, executor="inline",
            params={"folder": str(folder)},
        )  # fmt: skip
    assert not any(psutil.pid_exists(int(each.stem)) for each in folder.glob("*.pid"))
    assert "running" not in {each.status for each in project.workspace.tracking.search().runs}

    (folder / "go").touch()
    (sweep,) = [each.run for each in project.room.sweeps()]
    assert project.room.sweep_record(sweep).status == "interrupted"
    found = project.room.resume_sweep(sweep, jobs=2, executor="inline")
    assert [each.status for each in found.trials] == ["finished"] * 2


def test_what_is_wrong_with_the_sweep_ends_it_with_one_sentence(project: Project) -> None:
    with pytest.raises(InvalidInput, match="neither returns nor logs 'loss'"):
        project.room.sweep(
            f"{project.folder}/train.py:says_nothing",
            SPACE,
            trials=2,
            objective=LOSS,
            jobs=2,
            executor="inline",
        )
    with pytest.raises(InvalidInput, match="0 trials cannot run at a time"):
        project.room.sweep(f"{project.folder}/train.py:dies", SPACE, trials=2, objective=LOSS, jobs=0)
