"""What every executor promises, and what only worker processes can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from everloop.engine.contract import Executor, Job, Outcome, tail
from everloop.engine.executors import open_executor
from everloop.engine.inline import InlineExecutor
from everloop.engine.processes import ProcessExecutor
from everloop.errors import InvalidInput

JOBS = """
    import os, signal, subprocess, sys, time

    def double(payload):
        print("doubling", payload.decode())
        return payload * 2

    def threads(payload):
        return os.environ["OMP_NUM_THREADS"].encode()

    def place(payload):
        return str(os.getpid()).encode()

    def raises(payload):
        print("before", file=sys.stderr)
        raise ValueError("no " + payload.decode())

    def leaves(payload):
        sys.exit(3)

    def dies(payload):
        print("last words", flush=True)
        os.kill(os.getpid(), int(payload))

    def stops(payload):
        os._exit(7)

    def hangs(payload):
        from everloop.engine.contract import begun
        begun()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open(payload.decode(), "w").write(f"{child.pid} {os.getpid()}")
        time.sleep(60)
    """


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    (tmp_path / "everloop_jobs.py").write_text(textwrap.dedent(JOBS))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    numbers = iter(range(1000))

    def make(function: str, payload: bytes = b"", timeout: float | None = None, cpus: int = 1) -> Job:
        number = next(numbers)
        return Job(
            str(number), f"everloop_jobs:{function}", payload, str(tmp_path / f"{number}.log"), timeout, cpus
        )

    yield make
    sys.modules.pop("everloop_jobs", None)


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made: Executor = InlineExecutor() if request.param == "inline" else ProcessExecutor(cpus=2)
    yield made
    made.close()


@pytest.fixture
def processes() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(cpus=2)
    yield made
    made.close()


def outcomes(executor: Executor, jobs: list[Job]) -> dict[str, Outcome]:
    waiting = list(jobs)
    found: dict[str, Outcome] = {}
    deadline = time.monotonic() + 60
    while len(found) < len(jobs):
        assert time.monotonic() < deadline
        while waiting and executor.room(waiting[0].cpus):
            executor.submit(waiting.pop(0))
        for outcome in executor.wait(1.0):
            found[outcome.id] = outcome
    return found


def test_jobs_return_what_their_functions_do(executor: Executor, job: Callable[..., Job]) -> None:
    jobs = [job("double", str(number).encode()) for number in range(7)]
    found = outcomes(executor, jobs)
    assert {found[each.id].result for each in jobs} == {each.payload * 2 for each in jobs}
    assert tail(jobs[3].log) == "doubling 3\n"


def test_an_exception_is_an_outcome_as_text(executor: Executor, job: Callable[..., Job]) -> None:
    bad, good = job("raises", b"way"), job("double", b"x")
    found = outcomes(executor, [bad, good])
    failure = found[bad.id].failure
    assert failure is not None
    assert (found[bad.id].status, failure.kind, failure.message) == ("failed", "ValueError", "no way")
    assert "everloop_jobs.py" in failure.traceback
    assert "everloop/engine" not in failure.traceback
    assert tail(bad.log) == "before\n"
    assert found[good.id].status == "done"


@pytest.mark.parametrize(
    ("function", "payload", "said"),
    [
        ("dies", str(int(signal.SIGKILL)).encode(), "killed by SIGKILL"),
        ("stops", b"", "exit code 7"),
        ("leaves", b"", "sys.exit(3)"),
    ],
)
def test_a_worker_that_goes_disturbs_no_other_job(
    processes: ProcessExecutor, job: Callable[..., Job], function: str, payload: bytes, said: str
) -> None:
    jobs = [job("double", b"a"), job(function, payload), job("double", b"b"), job("double", b"c")]
    found = outcomes(processes, jobs)
    gone = found[jobs[1].id]
    assert gone.failure is not None
    assert said in gone.failure.message
    assert [found[each.id].status for each in (jobs[0], *jobs[2:])] == ["done"] * 3


def test_a_time_limit_kills_the_job_and_its_children(
    processes: ProcessExecutor, job: Callable[..., Job], tmp_path: Path
) -> None:
    slow = job("hangs", str(tmp_path / "pids").encode(), timeout=2.0)
    found = outcomes(processes, [slow])[slow.id]
    assert found.status == "timeout"
    gone((tmp_path / "pids").read_text())


def test_libraries_get_as_many_threads_as_the_job_has_cpus(
    processes: ProcessExecutor, job: Callable[..., Job]
) -> None:
    one, two, again = job("threads"), job("threads", cpus=2), job("threads")
    found = outcomes(processes, [one, two, again])
    assert [found[each.id].result for each in (one, two, again)] == [b"1", b"2", b"1"]


def test_workers_are_used_again(processes: ProcessExecutor, job: Callable[..., Job]) -> None:
    jobs = [job("place") for _ in range(10)]
    assert len({each.result for each in outcomes(processes, jobs).values()}) <= 2


def test_a_job_that_wants_more_than_there_is_runs_alone(
    processes: ProcessExecutor, job: Callable[..., Job]
) -> None:
    greedy = job("threads", cpus=9)
    assert outcomes(processes, [greedy])[greedy.id].result == b"9"


def test_nothing_is_left_when_the_parent_is_killed(job: Callable[..., Job], tmp_path: Path) -> None:
    hanging = job("hangs", str(tmp_path / "pids").encode())
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, msgspec\n"
        "from everloop.engine.contract import Job\n"
        "from everloop.engine.processes import ProcessExecutor\n"
        "executor = ProcessExecutor(2)\n"
        "executor.submit(msgspec.json.decode(sys.argv[1], type=Job))\n"
        "executor.wait(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script), msgspec.json.encode(hanging).decode()])
    pids = tmp_path / "pids"
    deadline = time.monotonic() + 30
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    gone(pids.read_text())


def test_this_process_cannot_keep_time_limits(job: Callable[..., Job]) -> None:
    with pytest.raises(InvalidInput, match="time limit"):
        InlineExecutor().submit(job("double", timeout=1.0))


def test_executors_by_name() -> None:
    assert open_executor("inline").name == "inline"
    assert open_executor("local").name == "local"
    with pytest.raises(InvalidInput, match="no Ray executor"):
        open_executor("ray")
    with pytest.raises(InvalidInput, match="no executor 'locl'") as caught:
        open_executor("locl")
    assert "'local'" in caught.value.hint


def test_the_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert tail(str(path), 25) == "line 998\nline 999\n"
    assert tail(str(tmp_path / "none")) == ""


def gone(pids: str) -> None:
    """These processes have ended, or do within seconds: a kill takes a moment."""
    deadline = time.monotonic() + 10
    while any(is_running(int(pid)) for pid in pids.split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
