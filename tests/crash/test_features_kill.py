"""kill -9 while features are materialised or pushed: what was there answers, all of it; doing it again completes."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import everloop as ev
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
USERS = 20_000

MATERIALIZE = """
import sys
from datetime import datetime
from pathlib import Path
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    workspace.features.views()
    store = workspace.features._online
    begin = store.fill
    def fill(*args, **how):
        print("filling", flush=True)
        return begin(*args, **how)
    store.fill = fill
    workspace.features.materialize(until=datetime.fromisoformat(sys.argv[2]))
    print("done", flush=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    def values(minute: int, value: float) -> pa.Table:
        return pa.table(
            {
                "user": list(range(USERS)),
                "time": pa.array([NOON + timedelta(minutes=minute)] * USERS, pa.timestamp("us", "UTC")),
                "x": [value] * USERS,
            }
        )

    with LocalWorkspace(tmp_path / "project") as workspace:
        workspace.data.add(pa.concat_tables([values(0, 1.0), values(10, 2.0)]), "users")
        view = ev.feature_view(
            "users",
            entity=ev.entity("user", keys=["user"]),
            source="users",
            event_time="time",
            features=["x"],
        )
        workspace.features.apply([view])
        workspace.features.materialize(until=NOON)
    return tmp_path / "project"


def answers(project: Path) -> set[float]:
    with LocalWorkspace(project) as workspace:
        keys = [{"user": user} for user in range(USERS)]
        rows = workspace.features.get("users", keys, time=NOON + timedelta(hours=1))
        assert workspace.governance.verify().ok
        return {row.values["x"] for row in rows}


def test_the_old_values_answer_until_all_new_ones_do(project: Path) -> None:
    later = NOON + timedelta(minutes=10)
    seen = set()
    for delay in (0.0, 0.02, 0.06):
        child = subprocess.Popen(
            [sys.executable, "-c", MATERIALIZE, str(project), later.isoformat()], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"filling\n"
        time.sleep(delay)  # not a wait for something to happen: the moment of the kill is what varies
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = answers(project)
        assert len(found) == 1, "some entities have the new values and some the old ones"
        seen |= found
        if found == {2.0}:
            break
    assert 1.0 in seen, "it was never killed in time to see anything"
    with LocalWorkspace(project) as workspace:
        workspace.features.materialize(until=later)
    assert answers(project) == {2.0}


PUSH = """
import os, signal, sys
from pathlib import Path
from everloop.workspace.local import LocalWorkspace
with LocalWorkspace(Path(sys.argv[1])) as workspace:
    workspace.features.views()
    workspace.features._online.put = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    workspace.features.push("users", [{"user": 1, "time": "2013-06-01T12:20:00Z", "x": 3.0}])
"""


def test_a_push_that_was_killed_is_completed_by_pushing_again(project: Path) -> None:
    child = subprocess.run([sys.executable, "-c", PUSH, str(project)], check=False, env=os.environ)
    assert child.returncode == -signal.SIGKILL
    with LocalWorkspace(project) as workspace:
        assert workspace.data.version("users").rows == 2 * USERS + 1  # history has it, the store not yet
        [row] = workspace.features.get("users", [{"user": 1}])
        assert row.values["x"] == 1.0
        done = workspace.features.push("users", [{"user": 1, "time": "2013-06-01T12:20:00Z", "x": 3.0}])
        assert (done.unchanged, done.applied) == (True, 1)
        [row] = workspace.features.get("users", [{"user": 1}])
        assert row.values["x"] == 3.0
        assert workspace.data.version("users").rows == 2 * USERS + 1
