"""What every executor promises, and what only worker processes can."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from everloop._version import __version__
from everloop.domain.settings import EngineSettings
from everloop.engine import ray_node, shipping
from everloop.engine.contract import Executor, Job, Outcome, tail
from everloop.engine.executors import open_executor
from everloop.engine.here import HereExecutor
from everloop.engine.inline import InlineExecutor
from everloop.engine.limits import KEPT
from everloop.engine.processes import ProcessExecutor, _kill_with_sessions
from everloop.engine.ray_cluster import RayExecutor
from everloop.errors import InvalidInput, MissingExtra, Unavailable

JOBS = """
    import os, signal, subprocess, sys, time

    def double(payload):
        print("doubling", payload.decode())
        return payload * 2

    def threads(payload):
        return os.environ["OMP_NUM_THREADS"].encode()

    def place(payload):
        return str(os.getpid()).encode()

    def family(payload):
        return f"{os.getppid()} {'pandas' in sys.modules}".encode()

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

    def memory(payload):
        held = bytearray(int(payload))
        return str(len(held)).encode()

    def forks(payload):
        child = os.fork()
        if not child:
            time.sleep(60)
        open(payload.decode(), "w").write(f"{child} {os.getpid()}")
        os.kill(os.getpid(), 9)

    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__()

    def odd(payload):
        raise Odd(1, two=2)

    def shouts(payload):
        line = "x" * 1023 + chr(10)
        for number in range(int(payload)):
            sys.stdout.write(line)
        print("the end", flush=True)
        return b""

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
    numbers = iter(range(1000))

    def make(function: str, payload: bytes = b"", **options: Any) -> Job:
        number = next(numbers)
        log = str(tmp_path / f"{number}.log")
        options = {"packages": frozenset({"pandas"}), **options}
        return Job(f"{number}", f"everloop_jobs:{function}", payload, log, project=str(tmp_path), **options)

    yield make
    sys.modules.pop("everloop_jobs", None)


def opened(name: str, request: pytest.FixtureRequest) -> Executor:
    if name == "ray":
        request.getfixturevalue("ray_here")
        return RayExecutor()
    if name == "forked":
        return ProcessExecutor(cpus=2, purpose="test")
    return InlineExecutor() if name == "inline" else ProcessExecutor(cpus=2)


@pytest.fixture(params=["inline", "local", "forked", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = opened(request.param, request)
    yield made
    made.close()


@pytest.fixture(params=["local", "forked", "ray"])
def processes(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Executors whose jobs have processes of their own, which can be limited and killed."""
    made = opened(request.param, request)
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
        ("odd", b"", "Odd"),
    ],
)
def test_a_worker_that_goes_disturbs_no_other_job(
    processes: Executor, job: Callable[..., Job], function: str, payload: bytes, said: str
) -> None:
    jobs = [job("double", b"a"), job(function, payload), job("double", b"b"), job("double", b"c")]
    found = outcomes(processes, jobs)
    gone = found[jobs[1].id]
    assert gone.failure is not None
    assert said in gone.failure.message
    assert [found[each.id].status for each in (jobs[0], *jobs[2:])] == ["done"] * 3


def test_a_time_limit_kills_the_job_and_its_children(
    processes: Executor, job: Callable[..., Job], tmp_path: Path
) -> None:
    slow = job("hangs", str(tmp_path / "pids").encode(), timeout=2.0)
    found = outcomes(processes, [slow])[slow.id]
    assert found.status == "timeout"
    gone((tmp_path / "pids").read_text())


def test_what_a_killed_job_forked_goes_with_it(
    processes: Executor, job: Callable[..., Job], tmp_path: Path
) -> None:
    forking = job("forks", str(tmp_path / "pids").encode())
    assert outcomes(processes, [forking])[forking.id].status == "killed"
    gone((tmp_path / "pids").read_text())


def test_closing_stops_what_still_runs_with_its_children(
    processes: Executor, job: Callable[..., Job], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    processes.submit(job("hangs", str(pids).encode()))
    deadline = time.monotonic() + 60
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < deadline
        processes.wait(0.05)
    processes.close()
    gone(pids.read_text())


def test_memory_beyond_what_is_declared_is_a_failure_and_the_worker_goes_on(
    processes: Executor, job: Callable[..., Job]
) -> None:
    greedy = job("memory", b"300000000", memory=100_000_000)
    modest = job("memory", b"50000000", memory=100_000_000)
    free = job("memory", b"300000000")
    found = outcomes(processes, [greedy, modest, free])
    failure = found[greedy.id].failure
    assert failure is not None
    assert (failure.kind, failure.message) == (
        "MemoryError",
        "it needs more than the 0.1 GB of memory it declares",
    )
    assert (found[modest.id].result, found[free.id].result) == (b"50000000", b"300000000")


def test_of_endless_output_the_first_and_the_last_is_kept(
    executor: Executor, job: Callable[..., Job]
) -> None:
    shouting = job("shouts", b"60000")
    assert outcomes(executor, [shouting])[shouting.id].status == "done"
    kept = Path(shouting.log).read_text()
    assert len(kept) <= KEPT
    assert kept.startswith("x" * 1023)
    assert "printed more than 8 MB" in kept
    assert tail(shouting.log).endswith("x\nthe end\n")


def test_libraries_get_as_many_threads_as_the_job_has_cpus(
    processes: Executor, job: Callable[..., Job]
) -> None:
    one, two, again = job("threads"), job("threads", cpus=2), job("threads")
    found = outcomes(processes, [one, two, again])
    assert [found[each.id].result for each in (one, two, again)] == [b"1", b"2", b"1"]


def test_workers_are_used_again(processes: Executor, job: Callable[..., Job]) -> None:
    jobs = [job("place") for _ in range(10)]
    assert len({each.result for each in outcomes(processes, jobs).values()}) <= 2


def test_each_job_has_its_own_output_when_others_of_its_worker_were_silent(job: Callable[..., Job]) -> None:
    calls = [
        ("place",),
        ("double", b"1"),
        ("place",),
        ("place",),
        ("raises", b"luck"),
        ("stops",),
        ("dies", b"9"),
    ]
    jobs = [job(*each) for each in calls]
    executor = ProcessExecutor(1)
    try:
        found = outcomes(executor, jobs)
    finally:
        executor.close()
    assert len({found[each.id].result for each in jobs if each.function.endswith("place")}) == 1
    assert [tail(each.log) for each in jobs] == ["", "doubling 1\n", "", "", "before\n", "", "last words\n"]


def test_a_job_that_wants_more_than_there_is_runs_alone(processes: Executor, job: Callable[..., Job]) -> None:
    greedy = job("threads", cpus=9)
    assert outcomes(processes, [greedy])[greedy.id].result == b"9"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is begun from nothing")
def test_workers_that_need_slow_libraries_share_a_server_that_loaded_them(job: Callable[..., Job]) -> None:
    light, slow = job("family", packages=frozenset(), expected=frozenset({"pandas"})), job("family")
    more = [job("family", packages=frozenset()), job("family")]
    # A purpose, so a server, of its own: it has loaded nothing yet.
    executor = ProcessExecutor(2, "test of what is shared")
    try:
        found = {**outcomes(executor, [light]), **outcomes(executor, [slow, more[0]])}
        found |= outcomes(executor, [more[1]])
    finally:
        executor.close()
    told = {each: tuple(found[each].result.decode().split()) for each in found}
    server = told[slow.id][0]
    assert server != str(os.getpid())
    assert told[light.id] == told[more[0].id] == (server, "False")  # forked before the server loaded them
    assert told[slow.id] == told[more[1].id] == (server, "True")


def test_a_process_of_one_run_does_two_jobs_at_once_where_the_second_is_forked(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for purpose, at_once in (("test", sys.platform == "linux"), ("", False)):
        executor = HereExecutor(purpose)
        try:
            first, second = job("place"), job("place")
            executor.submit(first)
            assert executor.room(1) is at_once
            found = {} if at_once else {each.id: each for each in executor.wait(60)}
            executor.submit(second)
            assert not executor.room(1)
            while len(found) < 2:
                found |= {each.id: each for each in executor.wait(60)}
            assert found[first.id].result.decode() == str(os.getpid())
            assert (found[second.id].result == found[first.id].result) is not at_once
        finally:
            executor.close()


@pytest.mark.parametrize("purpose", ["", "test"])
def test_nothing_is_left_when_the_parent_is_killed(
    purpose: str, job: Callable[..., Job], tmp_path: Path
) -> None:
    hanging = job("hangs", str(tmp_path / "pids").encode())
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, msgspec\n"
        "from everloop.engine.contract import Job\n"
        "from everloop.engine.processes import ProcessExecutor\n"
        f"executor = ProcessExecutor(2, {purpose!r})\n"
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


def test_a_machine_without_the_project_gets_its_code(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "node").mkdir()
    project = tmp_path / "project"
    (project / "parts").mkdir(parents=True)
    (project / ".everloop").mkdir()
    (project / ".everloop" / "ledger.db").write_text("not code")
    (project / "parts" / "far_jobs.py").write_text("def whole(payload):\n    return __file__.encode()\n")
    sent = Job("1", "parts.far_jobs:whole", b"", str(tmp_path / "log"), project=str(project))
    code = shipping.pack(project)
    shutil.rmtree(project)
    try:
        encoded, _ = ray_node.host(msgspec.msgpack.encode(sent), __version__, code)
        outcome = msgspec.msgpack.decode(encoded, type=Outcome)
        assert outcome.status == "done", outcome.failure
        place = Path(outcome.result.decode()).parents[1]
        assert place.is_relative_to(tmp_path / "node")
        assert [each.name for each in place.iterdir() if each.name != "__pycache__"] == ["parts"]
    finally:
        for pool in ray_node._pools.values():
            pool.close()
        ray_node._pools.clear()


def test_a_node_with_another_everloop_says_so(job: Callable[..., Job]) -> None:
    encoded, _ = ray_node.host(msgspec.msgpack.encode(job("double", b"x")), "0.0.1", None)
    failure = msgspec.msgpack.decode(encoded, type=Outcome).failure
    assert failure is not None
    assert failure.hint == "install the same version on the nodes"


def test_executors_by_name() -> None:
    assert open_executor("inline").name == "inline"
    assert open_executor("local").name == "local"
    assert open_executor("ray").name == "ray"
    with pytest.raises(InvalidInput, match="no executor 'locl'") as caught:
        open_executor("locl")
    assert "'local'" in caught.value.hint


def test_without_ray_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, job: Callable[..., Job]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="Ray is not installed") as caught:
        open_executor("ray").submit(job("double", b"x"))
    assert "everloop[ray]" in caught.value.hint


def test_a_ray_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch, job: Callable[..., Job]) -> None:
    ray = types.SimpleNamespace(is_initialized=lambda: False, init=_refused)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(Unavailable, match="no Ray cluster at 'auto'"):
        open_executor("ray", EngineSettings(ray="auto")).submit(job("double", b"x"))


def _refused(**options: Any) -> None:
    assert options["address"] == "auto"
    raise ConnectionError("Could not find any running Ray instance.")


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


def test_a_job_that_is_stopped_takes_along_what_left_its_session(tmp_path: Path) -> None:
    """Killing the group of processes alone leaves those that began a session of their own."""
    stray = "import os, pathlib, time; pathlib.Path('stray').write_text(str(os.getpid())); time.sleep(600)"
    job = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stray!r}], start_new_session=True)"
    started = subprocess.Popen([sys.executable, "-c", job], cwd=tmp_path, start_new_session=True)
    while not (told := tmp_path / "stray").exists() or not told.read_text():
        assert started.poll() is None
    process = psutil.Process(int(told.read_text()))
    _kill_with_sessions(started.pid)
    started.wait(60)
    gone, _ = psutil.wait_procs([process], timeout=60)
    assert gone == [process] or process.status() == psutil.STATUS_ZOMBIE
