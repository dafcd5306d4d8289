"""Triggers with real processes: a server, several of them on one Postgres, and what is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from tests.support.servers import KillableServer

import everloop as ev
from everloop.client.remote import RemoteWorkspace
from everloop.loop.triggers.records import Firing
from everloop.store.schema.triggers import triggers
from everloop.workspace.local import LocalWorkspace

FLOW = """
import pathlib, time
import everloop as ev

HERE = pathlib.Path(__file__).parent

@ev.step
def effect(name):
    with open(HERE / "effects", "a") as file:
        file.write(name + "\\n")
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return name

@ev.step
def end(name):
    while not (HERE / "end").exists():
        time.sleep(0.05)

@ev.pipeline
def once(name="x"):
    end(effect(name))

asked = ev.trigger("asked", pipeline=once)
"""


def until(what: Callable[[], object], seconds: float = 90.0) -> object:
    """Wait for a condition that another process makes true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableServer]:
    project = tmp_path_factory.mktemp("triggered")
    (project / "flow.py").write_text(FLOW)
    subprocess.run(
        [sys.executable, "-m", "everloop", "triggers", "apply", "flow.py"], cwd=project, check=True
    )
    server = KillableServer(project)
    server.start()
    yield server
    server.kill(signal.SIGTERM)


def runners(firing: str) -> list[psutil.Process]:
    """The processes that carry a firing out."""
    return [each for each in psutil.process_iter(["cmdline"]) if firing in (each.info["cmdline"] or [])]


def let(server: KillableServer, *steps: str) -> None:
    """Let these steps end, and no others."""
    for each in ("go", "end"):
        if each in steps:
            (server.folder / each).touch()
        else:
            (server.folder / each).unlink(missing_ok=True)


def fire(server: KillableServer, name: str) -> Callable[[], Firing]:
    """Fire, wait until the first step's effect is there, and give a look at the firing."""
    let(server)
    with RemoteWorkspace(server.url) as remote:
        firing = remote.loop.fire("asked", params={"name": name})
    effects = server.folder / "effects"
    until(lambda: effects.exists() and name in effects.read_text())

    def now() -> Firing:
        with LocalWorkspace(server.folder) as workspace:
            return workspace.loop.firing(firing.id)

    until(lambda: now().run)
    return now


def test_what_a_server_started_survives_its_kill(server: KillableServer) -> None:
    now = fire(server, "server")
    server.kill()
    assert now().status == "running"
    server.start()
    let(server, "go", "end")
    until(lambda: now().status == "finished")
    assert now().attempts == 1
    assert (server.folder / "effects").read_text().count("server") == 1


def test_a_firing_whose_process_is_killed_is_found_and_goes_on(server: KillableServer) -> None:
    now = fire(server, "runner")
    first = now()
    let(server, "go")
    with LocalWorkspace(server.folder) as workspace:
        steps = workspace.pipelines.steps
        until(lambda: steps(run=str(first.run).removeprefix("run:")))  # one step is over, the other at work
        for each in runners(first.id):
            each.kill()
        let(server, "go", "end")
        until(lambda: now().status == "finished")
        assert (now().attempts, now().deaths) == (2, 1)
        assert now().run != first.run
        resumed = workspace.pipelines.pipeline_run(run=str(now().run)).resumed_from
    assert f"run:{resumed}" == first.run
    assert (server.folder / "effects").read_text().count("runner") == 1


def test_a_server_that_stops_gives_back_what_is_not_finished(server: KillableServer) -> None:
    now = fire(server, "stopped")
    threading.Timer(1.0, let, (server, "go")).start()  # a step at work may finish, no other is begun
    server.kill(signal.SIGTERM)
    assert runners(now().id) == []
    assert (now().status, now().reason) == ("waiting", "its server stopped")
    let(server, "go", "end")
    server.start()
    until(lambda: now().status == "finished")
    assert (now().deaths, now().reason) == (0, "done at attempt 2; before: its server stopped")
    assert (server.folder / "effects").read_text().count("stopped") == 1


CLAIMING = """
import json, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from everloop.domain.firings import FiringStatus
from everloop.tracking.places import this_process
from everloop.workspace.local import LocalWorkspace

project, gate = Path(sys.argv[1]), Path(sys.argv[2])
begun = []
with LocalWorkspace(project) as workspace:
    loop = workspace.loop
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.01)
    for hour in range(1, 13):
        now = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        loop.decide_firings(now=now)
        for each in loop.claim_firings(now=now, process=this_process(), most=10):
            begun.append([each.trigger, each.key])
            loop.end_firing(each.id, each.attempts, FiringStatus.FINISHED)
print(json.dumps(begun))
"""


def test_two_servers_on_one_postgres_never_start_the_same_twice(ledger_url: str, tmp_path: Path) -> None:
    (tmp_path / "everloop.toml").write_text(f'ledger = "{ledger_url}"\n')
    names = ["a", "b", "c"]
    with LocalWorkspace(tmp_path) as workspace:
        declared = [
            ev.trigger(name, pipeline="f:p", cron="@hourly", catch_up="all", overlap="allow")
            for name in names
        ]
        workspace.loop.declare_triggers(triggers=declared)
        with workspace.ledger.transaction("test") as tx:  # as if they had been declared at that time
            tx.execute(sa.update(triggers).values(decided=datetime(2030, 1, 1, tzinfo=UTC)))
        gate = tmp_path / "go"
        command = [sys.executable, "-c", CLAIMING, str(tmp_path), str(gate)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
        both = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
        ]
        for each in both:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        gate.touch()
        claimed = [json.loads(each.communicate(timeout=120)[0]) for each in both]
        begun = Counter((trigger, key) for each in claimed for trigger, key in each)
        assert set(begun.values()) == {1}
        assert len(begun) == len(names) * 12
        found = workspace.loop.firings(limit=1000)
        assert len(found) == len(names) * 12
        assert {each.status for each in found} == {"finished"}
        assert {each.attempts for each in found} == {1}
