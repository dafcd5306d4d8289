"""kill -9 at random moments, again and again, on the embedded store and against a server that is killed as well.

Whatever was acknowledged is there afterwards, exactly once; the store is whole; no run goes on for ever. In the ordinary tests
10 kills; with HYPOTHESIS_PROFILE=soak (``make soak``) 200, and the table of what was met is printed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import KillableServer

from everloop.client.remote import RemoteWorkspace
from everloop.tracking.leftbehind import journal_folder
from everloop.workspace.local import LocalWorkspace

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EMBEDDED, SERVED = (140, 60) if SOAK else (7, 3)
pytestmark = pytest.mark.timeout(3600 if SOAK else 120)
WORKLOAD = Path(__file__).with_name("tracking_workload.py")


def workload(
    notes: Path, seed: int, rounds: int, longest: float, **environment: str
) -> subprocess.Popen[bytes]:
    notes.mkdir()
    arguments = [sys.executable, str(WORKLOAD), str(notes), str(seed), str(rounds), str(longest)]
    return subprocess.Popen(arguments, env=os.environ | environment, stdout=subprocess.DEVNULL)


def acknowledged(notes: Path) -> tuple[dict[str, list[tuple[str, Any]]], Counter[str]]:
    """What each run was told is kept; and what the processes were doing when they were killed (the last thing they had done)."""
    told: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    last: Counter[str] = Counter()
    for file in notes.iterdir():
        lines = file.read_bytes().split(b"\n")[:-1]
        for line in lines:
            kind, run_id, value = json.loads(line)
            if run_id:
                told[run_id].append((kind, value))
        last[f"after {json.loads(lines[-1])[0]}" if lines else "before anything"] += 1
    return told, last


def check(workspace: LocalWorkspace, told: Mapping[str, list[tuple[str, Any]]]) -> Counter[str]:
    """Compare a ledger with what was acknowledged; how many of each were compared."""
    counts: Counter[str] = Counter()
    tracking = workspace.tracking
    for run_id, said in told.items():
        counts.update(kind for kind, _ in said)
        by_kind = defaultdict(list)
        for kind, value in said:
            by_kind[kind].append(value)
        record = tracking.run(run_id)
        assert record.status == (by_kind["ended"][0] if by_kind["ended"] else record.status)
        assert record.status != "running"
        for key, sign, kind in (("loss", 1, "metric"), ("a", 1, "metrics"), ("b", -1, "metrics")):
            table = tracking.open(run_id).history(key)
            found = dict(zip(table["step"].to_pylist(), table["value"].to_pylist(), strict=True))
            expected = {number: sign * value for number, value in by_kind[kind]}
            assert found | expected == found
            assert (
                table.num_rows == len(found) <= len(expected) + 1
            )  # the call that was cut off may have got through
        for number, value in by_kind["points"]:
            assert tracking.open(run_id).history(f"bulk/{number}")["value"].to_pylist() == [value] * 1000
        assert all(record.tags[f"tag{number}"] == str(value) for number, value in by_kind["tag"])
        assert all(record.params[f"param{number}"] == str(value) for number, value in by_kind["param"])
        for number, value in by_kind["file"]:
            assert tracking.open(run_id).read_artifact(f"notes/{number}.txt") == str(value).encode()
        steps = {each.step for each in tracking.checkpoints(run_id)}
        assert steps >= {number for number, _ in by_kind["checkpoint"]}
        assert len(steps) == len(tracking.checkpoints(run_id))
        printed = tracking.open(run_id).output().splitlines()
        assert printed[: len(by_kind["print"])] == [str(value) for _, value in by_kind["print"]]
    return counts


def whole(workspace: LocalWorkspace) -> None:
    """The chain of events, every object, and no run that goes on for ever."""
    assert workspace.governance.verify().ok
    assert list(workspace.objects.verify()) == []
    assert workspace.tracking.search("status = 'running'").runs == []


def report(title: str, kills: int, seconds: float, last: Counter[str], counts: Counter[str]) -> None:
    print(f"\n{title}: {kills} kills in {seconds:.0f} s")
    print("  killed", ", ".join(f"{what} {count}" for what, count in last.most_common()))
    print("  acknowledged and found:", ", ".join(f"{kind} {count}" for kind, count in counts.most_common()))


def test_on_the_embedded_store(tmp_path: Path) -> None:
    seed, began = random.randrange(10**6), time.monotonic()
    print("seed", seed)
    with LocalWorkspace(tmp_path / "project"):
        pass
    process = workload(tmp_path / "notes", seed, EMBEDDED, 1.0, EVERLOOP_WORKSPACE=str(tmp_path / "project"))
    assert process.wait() == 0
    told, last = acknowledged(tmp_path / "notes")
    with LocalWorkspace(tmp_path / "project") as workspace:
        workspace.tracking.ship_pending()
        workspace.tracking.settle()
        counts = check(workspace, told)
        whole(workspace)
        assert list(journal_folder(workspace.folder).glob("*.journal")) == []
    report("embedded", EMBEDDED, time.monotonic() - began, last, counts)


def test_against_a_server_that_is_killed_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed, began = random.randrange(10**6), time.monotonic()
    print("seed", seed)
    choose = random.Random(seed)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # journals of a server's clients are kept below it
    server = KillableServer(tmp_path / "project")
    server.start()
    process = workload(tmp_path / "notes", seed, SERVED, 2.0, EVERLOOP_WORKSPACE=server.url)
    killed = 0
    try:
        while process.poll() is None:
            time.sleep(choose.uniform(0.2, 4.0 if SOAK else 1.0))
            server.kill()
            killed += 1
            time.sleep(choose.uniform(0.0, 1.0))
            server.start()
        assert process.wait() == 0
        with RemoteWorkspace(server.url) as remote:
            folder = journal_folder(remote.folder)
            remote.tracking.ship_pending()
            remote.tracking.settle()
        assert list(folder.glob("*.journal")) == []
    finally:
        process.kill()
        process.wait()
        server.kill(signal.SIGTERM)
    told, last = acknowledged(tmp_path / "notes")
    with LocalWorkspace(tmp_path / "project") as workspace:
        counts = check(workspace, told)
        whole(workspace)
    report(f"server, itself killed {killed} times", SERVED, time.monotonic() - began, last, counts)
