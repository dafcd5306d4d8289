"""kill -9 at random moments of a pipeline's driver, its workers, or both, on worker processes and against a server that is killed
as well: `resume` goes on, and every result is that of an undisturbed run.

In the ordinary tests 3 kills, in the slow ones 8; ``make soak-pipelines`` makes 100 and prints the table of what was met (KILLS=…
another number).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import sqlalchemy as sa
from tests.support.servers import KillableServer

from everloop.store.schema.pipeline_work import pool_places
from everloop.store.schema.pipelines import step_claims
from everloop.workspace.local import LocalWorkspace

KILLS = int(os.environ.get("EVERLOOP_TEST_KILLS", "0"))
# Slow: a round takes as long as its pipeline, and each kill another one.
ON_POOL, ON_SERVER = (
    [KILLS - KILLS // 3] if KILLS else [2, pytest.param(5, marks=pytest.mark.slow)],
    [KILLS // 3] if KILLS else [1, pytest.param(3, marks=pytest.mark.slow)],
)
pytestmark = pytest.mark.timeout(3600 if KILLS else 300)
WORKLOAD = Path(__file__).with_name("pipelines_workload.py")


def begin(notes: Path, number: int, executor: str, workspace: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKLOAD), str(notes), str(number), executor],
        env=os.environ | {"EVERLOOP_WORKSPACE": workspace},
        cwd=notes,  # else the code of the folder that the tests are run in is kept with each run
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    found: dict[str, Any] = msgspec.json.decode(out.splitlines()[-1])
    return found


def kill(process: subprocess.Popen[str], choose: random.Random) -> str:
    """Kill the driver, one of its workers, or all at once; says which, or nothing when it is over already."""
    if process.poll() is not None:
        return ""
    try:
        workers = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return ""
    what = choose.choice(["driver", "worker", "both"]) if workers else "driver"
    doomed = [] if what == "driver" else [choose.choice(workers)] if what == "worker" else workers
    for each in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    if what != "worker":
        process.kill()
    return what


def rounds(
    kills: int, notes: Path, workspace: str, choose: random.Random, disturb: Any = None
) -> tuple[dict[int, str], Counter[str]]:
    """So many kills, in as many rounds as they take; each round goes on until it has finished. Returns the digests by round."""
    began = time.monotonic()
    found = {1: answer(begin(notes, 1, "local", workspace))["digest"]}
    longest = 1.2 * (
        time.monotonic() - began
    )  # of the time that an undisturbed run takes on this machine now
    met: Counter[str] = Counter()
    number = 1
    while met.total() < kills:
        number += 1
        while number not in found:
            process = begin(notes, number, "local", workspace)
            if met.total() < kills:
                time.sleep(choose.uniform(0.1 * longest, longest))
                what = kill(process, choose)
                met += Counter([what] if what else [])
                if disturb is not None:
                    disturb()
            out, _ = process.communicate(timeout=300)
            if process.returncode == 0:
                told = msgspec.json.decode(out.splitlines()[-1])
                if told["status"] == "finished":
                    found[number] = told["digest"]
                else:
                    assert "killed by SIGKILL" in told["error"], told["error"]
    return found, met


def undisturbed(numbers: Iterator[int], folder: Path) -> dict[int, str]:
    notes = folder / "notes"
    notes.mkdir(parents=True)
    return {number: answer(begin(notes, number, "inline", str(folder)))["digest"] for number in numbers}


def check(folder: Path, found: dict[int, str], tmp_path: Path) -> None:
    """Results as undisturbed, each effect once, nothing left over, everything whole."""
    sample = sorted(found)[:2] if len(found) < 6 else sorted(found)
    # `notes` is an argument and so part of nothing's value: digests of results can be compared.
    assert {number: found[number] for number in sample} == undisturbed(iter(sample), tmp_path / "quiet")
    with LocalWorkspace(folder) as workspace:
        workspace.tracking.ship_pending()
        workspace.tracking.settle()
        for number in found:
            assert [each.version for each in workspace.data.log(f"weights-{number}")] == [1]
        assert workspace.governance.verify().ok
        assert list(workspace.objects.verify()) == []
        assert workspace.tracking.search("status = 'running'").runs == []
        with workspace.ledger.read() as look:
            assert look.all(sa.select(pool_places)) == []
            assert look.all(sa.select(step_claims).where(step_claims.c.owner != "")) == []


@pytest.mark.parametrize("kills", ON_POOL)
def test_on_worker_processes(tmp_path: Path, kills: int) -> None:
    seed, began = random.randrange(10**6), time.monotonic()
    print("seed", seed)
    (tmp_path / "notes").mkdir()
    with LocalWorkspace(tmp_path / "project"):
        pass
    found, met = rounds(kills, tmp_path / "notes", str(tmp_path / "project"), random.Random(seed))
    check(tmp_path / "project", found, tmp_path)
    report("worker processes", found, met, began)


@pytest.mark.parametrize("kills", ON_SERVER)
def test_against_a_server_that_is_killed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    seed, began = random.randrange(10**6), time.monotonic()
    print("seed", seed)
    choose = random.Random(seed)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # journals of a server's clients are kept below it
    (tmp_path / "notes").mkdir()
    with served(tmp_path / "project") as server:
        chances = itertools.chain([1.0], itertools.repeat(0.5))

        def restart() -> None:
            if choose.random() < next(chances):
                server.kill()
                time.sleep(choose.uniform(0.0, 0.5))
                server.start()

        found, met = rounds(kills, tmp_path / "notes", server.url, choose, restart)
    check(tmp_path / "project", found, tmp_path)
    report("a server", found, met, began)


@contextmanager
def served(folder: Path) -> Iterator[KillableServer]:
    server = KillableServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill(15)


def report(title: str, found: dict[int, str], met: Counter[str], began: float) -> None:
    print(f"\n{title}: {met.total()} kills in {len(found)} rounds, {time.monotonic() - began:.0f} s")
    print("  killed:", ", ".join(f"{what} {count}" for what, count in met.most_common()))
