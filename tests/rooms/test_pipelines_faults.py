"""What can go wrong in a step or a pipeline: one clear error, and no other step is disturbed."""

from __future__ import annotations

import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everloop.engine.processes import ProcessExecutor
from everloop.errors import EverloopError, Failed, InvalidInput
from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import os, sys, time
    import everloop as ev

    @ev.step
    def good(x):
        time.sleep(0.2)
        return x

    @ev.step
    def dies(): os.kill(os.getpid(), 9)

    @ev.step(resources={"memory": "100MB"})
    def greedy(): return len(bytearray(300_000_000))

    @ev.step(timeout=0.5)
    def hangs(): time.sleep(60)

    @ev.step
    def odd(): raise Odd(1, two=2)

    class Odd(Exception):
        def __init__(self, one, two): super().__init__()

    @ev.step
    def unserialisable(): return {"socket": sys.stdout, "number": 1}

    @ev.step
    def endless():
        found = []
        found.append(found)
        return found

    @ev.step
    def lacking():
        import surely_not_installed

    class Speechless(Exception):
        def __str__(self): return 1 / 0

    @ev.step
    def speechless(): raise Speechless

    @ev.step
    def logs_in_a_fork():
        there, here = os.pipe()
        child = os.fork()
        if child:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            raise RuntimeError(f"exit code {code}: " + os.read(there, 999).decode())
        try:
            ev.log_metric("loss", 1.0)
        except ev.errors.Conflict as error:
            os.write(here, error.message.encode())
            os._exit(9)

    @ev.step
    def forks():
        return "parent" if os.fork() else "child"

    @ev.pipeline
    def both(which: str):
        return good(1), globals()[which]()

    @ev.step
    def takes(x): return x

    @ev.pipeline
    def cyclic():
        xs = [1]
        xs.append(xs)
        return takes(xs)

    @ev.pipeline
    def recursive():
        return recursive()

    @ev.step
    def twin(): return 1

    first = twin

    @ev.step
    def twin(): return 2

    @ev.pipeline
    def clash():
        return first(), twin()

    less, more = ev.step(lambda: 1), ev.step(lambda: 2)

    @ev.pipeline
    def little(): return less()

    @ev.pipeline
    def much(): return more()

    @ev.step
    def below(x, limit):
        if x >= limit: raise ValueError(f"{x} is too much")
        return x

    @ev.pipeline
    def wide(parts: int):
        return below.map(list(range(parts)), limit=3)
    """

Run = Callable[..., PipelineRun]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "fault_steps.py").write_text(textwrap.dedent(STEPS))
    executor = ProcessExecutor(cpus=2)
    with LocalWorkspace(folder) as workspace:
        yield lambda name, **params: workspace.room(Pipelines).run(
            f"fault_steps.py:{name}", params, executor=executor, force=True
        )
    executor.close()
    sys.modules.pop("fault_steps", None)


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("dies", f"its process was killed by {signal.SIGKILL.name} (out of memory?)"),
        ("greedy", "MemoryError: it needs more than the 0.1 GB of memory it declares"),
        ("hangs", "it took longer than 0.5 seconds and was stopped"),
        ("odd", "Odd"),
        ("unserialisable", "what unserialisable returned['socket'] is a _io.TextIOWrapper"),
        ("endless", "what endless returned contains itself"),
        ("lacking", "ModuleNotFoundError: No module named 'surely_not_installed' (install it here"),
        ("speechless", "Speechless: a Speechless, which fails to say what it is"),
        (
            "logs_in_a_fork",
            "exit code 9: run logs_in_a_fork is open in the process that this one was forked from",
        ),
    ],
)
def test_a_step_that_goes_wrong_is_one_error(run: Run, which: str, said: str) -> None:
    done = run("both", which=which)
    assert done.status == "failed"
    assert done.error.startswith(f"step {which} failed: ")
    assert said in done.error.splitlines()[0]
    assert "/everloop/" not in done.error
    assert done.step("good").status == "executed"
    with pytest.raises(Failed):
        done.value()


def test_a_wide_map_in_which_a_part_fails_comes_to_its_end(run: Run) -> None:
    done = run("wide", parts=100)  # far more than are claimed at once
    assert done.status == "failed"
    assert "is too much" in done.error
    assert {each.status for each in done.steps} == {"executed", "failed", "skipped"}


def test_a_step_that_forks_answers_once(run: Run) -> None:
    for _ in range(3):  # a second answer would be taken for that of the next step
        assert run("both", which="forks").value() == (1, "parent")


@pytest.mark.parametrize(
    ("name", "said"),
    [("cyclic", "contains itself"), ("recursive", "pipeline recursive calls itself without end")],
)
def test_a_pipeline_that_goes_in_circles_is_one_error(run: Run, name: str, said: str) -> None:
    with pytest.raises(EverloopError, match=said) as caught:
        run(name)
    assert len(str(caught.value)) < 3000


def test_of_steps_of_one_name_each_call_gets_its_own(run: Run) -> None:
    assert [run("little").value(), run("much").value()] == [1, 2]


def test_two_steps_of_one_name_are_refused(run: Run) -> None:
    with pytest.raises(InvalidInput, match="two steps called twin"):
        run("clash")


def test_windows_line_endings_change_nothing(tmp_path: Path) -> None:
    text = textwrap.dedent(STEPS)
    with LocalWorkspace(tmp_path) as workspace:
        room = workspace.room(Pipelines)
        for ending in ("\n", "\r\n"):
            (tmp_path / "endings.py").write_bytes(text.replace("\n", ending).encode())
            sys.modules.pop("endings", None)
            done = room.run("endings.py:both", {"which": "twin"}, executor="local")
            assert done.status == "finished", done.error
        assert done.executed == 0
    sys.modules.pop("endings", None)
