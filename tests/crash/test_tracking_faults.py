"""A server that is away and a disk that is full: training goes on, one warning says so, and nothing is lost that need not be."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import KillableServer

from everloop.client.remote import RemoteWorkspace
from everloop.errors import Unavailable
from everloop.tracking import shipping
from everloop.tracking.leftbehind import journal_folder
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

# Starts, logs everything there is to log, and ends; says on standard error what it was warned of.
SCRIPT = """
import os, sys, warnings
warnings.simplefilter("always")
import everloop as ev
with ev.start_run("away", params={"alpha": 0.5}, machine=False) as run:
    print(run.run_id)
    for step in range(1000):
        run.log_metric("loss", step, step=step)
    run.set_tag("t", "v")
    run.log_text("hello", "notes.txt")
    run.checkpoint({"step": 1000}, step=1000)
    run.log_dataset([[1.0, 2.0]], "points", context="train")
    run.use("data:flights@v1")
    with ev.start_run(name="child"):
        ev.log_metric("m", 1.0)
    run.log_params({"beta": 2})
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where journals of a server's clients are kept."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path: Path, home: Path) -> Iterator[KillableServer]:
    made = KillableServer(tmp_path / "project")
    yield made
    made.kill(signal.SIGTERM)


def script(code: str, workspace: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"EVERLOOP_WORKSPACE": workspace}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class TestServerAway:
    def test_a_run_begins_and_ends_without_it_and_arrives_with_the_next_process(
        self, server: KillableServer
    ) -> None:
        done = script(SCRIPT, server.url)
        assert done.returncode == 0, done.stderr
        told = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
        assert len(told) == 2, done.stderr  # one for each of the two runs
        assert all("sent later" in line for line in told)
        run_id = done.stdout.strip()

        server.start()
        with RemoteWorkspace(server.url) as workspace:
            tracking = workspace.tracking
            assert len(tracking.ship_pending()) == 2
            run = tracking.open(run_id)
            assert (run.status, run.experiment, run.params) == (
                "finished",
                "away",
                {"alpha": "0.5", "beta": "2"},
            )
            assert run.history("loss")["value"].to_pylist() == list(map(float, range(1000)))
            assert run.read_artifact("notes.txt") == b"hello"
            assert [(each.step, each.records > 1000) for each in tracking.checkpoints(run_id)] == [
                (1000, True)
            ]
            assert run.restore() == {"step": 1000}
            assert tracking.datasets_of([run_id])[run_id][0].name == "points"
            detail = tracking.describe(run_id)
            assert detail.consumed == ["data:flights@v1"]
            assert detail.captured.environment
            assert workspace.objects.read(detail.captured.environment)
            (child,) = detail.children
            assert tracking.run(child).metrics == {"m": 1.0}
            assert run_id in run.output().splitlines()
            assert list(journal_folder(workspace.folder).iterdir()) == []
            assert tracking.ship_pending() == []

    def test_it_goes_away_in_the_middle_and_comes_back(
        self, server: KillableServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shipping, "SHIP_SECONDS", 0.05)
        server.start()
        with RemoteWorkspace(server.url) as workspace:
            tracking = workspace.tracking
            run = tracking.start("middle", machine=False)
            run.log_metric("m", 0)
            run.flush()
            server.kill()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                run.log_metric("m", 1)
                run.log_text("while it was away", "away.txt")
                server.start()
                run.log_text("afterwards", "back.txt")
                run.log_metric("m", 2)
                run.finish()
            assert ["sent later" in str(each.message) for each in told] == [True]
            tracking.ship_pending()
            found = tracking.open(run.run_id)
            assert found.status == "finished"
            assert found.history("m")["value"].to_pylist() == [0.0, 1.0, 2.0]
            assert {each.path for each in found.artifacts()} == {"away.txt", "back.txt"}

    def test_what_cannot_be_known_without_it_is_an_error(self, server: KillableServer) -> None:
        with RemoteWorkspace(server.url) as workspace, pytest.raises(Unavailable):
            workspace.tracking.start(resume="0" * 32)


class Disk:
    """Stands before `os.write` and says that there is no room, while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr("everloop.store.journal.os.write", self)

    def __call__(self, file: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(file, data)


class Gate:
    """Stands before an operation and says that the ledger is away, while it is shut."""

    def __init__(self, operation: Callable[..., Any]) -> None:
        self.shut = False
        self.calls = 0
        self._operation = operation

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.shut:
            raise Unavailable("the ledger is away")
        return self._operation(*args, **kwargs)


@pytest.fixture
def tracking(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.setattr(shipping, "SHIP_SECONDS", 0.01)
    room: Tracking = workspace.tracking
    return room


class TestDiskFull:
    def test_records_reach_the_ledger_from_memory(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = Disk(monkeypatch)
        with tracking.start() as run, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run.log_metric("m", 0)
            disk.full = True
            for step in range(1, 100):
                run.log_metric("m", step)
            disk.full = False
            for step in range(100, 200):
                run.log_metric("m", step)
        assert ["the disk is full" in str(each.message) for each in told] == [True]
        assert run.history("m")["value"].to_pylist() == list(map(float, range(200)))

    def test_the_file_has_all_again_when_there_is_room(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, workspace: LocalWorkspace
    ) -> None:
        disk = Disk(monkeypatch)
        gate = Gate(tracking.ship)
        monkeypatch.setattr(tracking, "ship", gate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tracking.start(output=False)  # nobody ends it
            run.log_metric("m", 0)
            run.flush()
            gate.shut = disk.full = True
            run.log_metric("m", 1)
            run.log_metric("m", 2)
            disk.full = False
            assert run._journal is not None
            run._journal._room_again()
            run.log_metric("m", 3)
            run._journal.abandon()
            run._journal = None
        gate.shut = False
        assert tracking.ship_pending() == [run.run_id]
        assert tracking.open(run.run_id).history("m")["value"].to_pylist() == [0.0, 1.0, 2.0, 3.0]

    def test_what_is_lost_is_said(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, workspace: LocalWorkspace
    ) -> None:
        monkeypatch.setattr(shipping, "MOST_UNWRITTEN", 10)
        disk, gate = Disk(monkeypatch), Gate(tracking.ship)
        monkeypatch.setattr(tracking, "ship", gate)
        run = tracking.start()
        run.flush()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            gate.shut = disk.full = True
            for step in range(25):
                run.log_metric("m", step)
            disk.full = False
            assert run._journal is not None
            run._journal._room_again()
            gate.shut = False
            run.log_metric("m", 99)
            run.finish()
        assert sum("15 records of it are lost" in str(each.message) for each in told) == 1
        found = tracking.open(run.run_id)
        assert found.history("m")["value"].to_pylist() == [*map(float, range(10)), 99.0]
        assert found.tags["everloop.lost"].startswith("15 records")

    def test_files_that_find_no_room_cost_a_warning(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, workspace: LocalWorkspace
    ) -> None:
        from everloop.errors import StorageError

        def full(*_: Any) -> Any:
            raise StorageError("the disk is full")

        with tracking.start() as run:
            monkeypatch.setattr(type(workspace.objects), "writer", full)
            monkeypatch.setattr("everloop.tracking.errands.Spool.add", full)
            with pytest.warns(RuntimeWarning, match=r"the file a.txt is lost"):
                run.log_text("x", "a.txt")
            monkeypatch.undo()
        assert run.artifacts() == []
        assert run.status == "finished"

    def test_a_run_starts_on_a_full_disk(
        self, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = Disk(monkeypatch)
        disk.full = True
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with workspace.tracking.start() as run:
                run.log_metric("m", 1.0)
        disk.full = False
        assert ["2 records of it are lost" in str(each.message) for each in told].count(True) == 1
        assert run.status == "finished"


def test_an_error_that_nobody_thought_of_does_not_end_a_training(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault of ours")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with tracking.start() as run:
            monkeypatch.setattr(tracking, "ship", broken)
            run.log_metric("m", 1.0)
    assert ["a fault of ours" in str(each.message) for each in told] == [True]
    monkeypatch.undo()
    assert tracking.ship_pending() == [run.run_id]
    assert tracking.open(run.run_id).metrics == {"m": 1.0}


class TestLongAbsence:
    def test_memory_is_bounded(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, workspace: LocalWorkspace
    ) -> None:
        monkeypatch.setattr(shipping, "MOST_WAITING", 50)
        gate = Gate(tracking.ship)
        monkeypatch.setattr(tracking, "ship", gate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = tracking.start()
            gate.shut = True
            assert run._journal is not None
            for step in range(1000):
                run.log_metric("m", step)
                if step == 60:
                    run._journal.try_flush()
            assert len(run._journal._waiting) < 200
            gate.shut = False
            run.log_metric("m", 1000)
            run.finish()
        assert tracking.open(run.run_id).history("m")["value"].to_pylist() == list(map(float, range(1001)))


def test_one_run_in_many_threads(tracking: Tracking) -> None:
    with tracking.start() as run:

        def log(number: int) -> None:
            for step in range(500):
                run.log_metric(f"m{number}", step, step=step)

        threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    for number in range(8):
        assert run.history(f"m{number}")["value"].to_pylist() == list(map(float, range(500)))
