"""Runs of pipelines as a user sees them: what is executed, why, and what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.workspaces import FakeClock

from everloop.domain.runs import Owner
from everloop.errors import Failed, InvalidDefinition, InvalidInput
from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import everloop as ev
    import numpy as np
    from everloop.pipelines.steps import pipeline, step
    from helper import scaled

    @step
    def load(rows: int):
        return np.arange(rows, dtype=float)

    @step
    def split(values) -> tuple[np.ndarray, np.ndarray]:
        return values[:3], values[3:]

    @step(seed=7)
    def fit(values, recipe):
        print("fitting", recipe)
        return {"score": float(scaled(values).sum()), "noise": np.random.rand(), "recipe": recipe}

    @step
    def best(fits):
        return max(fits, key=lambda each: each["score"])

    @pipeline
    def train(rows: int = 8, recipes: tuple = ("plain", "fancy")):
        first, rest = split(load(rows))
        return best([fit(first, recipe) for recipe in recipes])
    """
HELPER = "def scaled(values):\n    return values * 2\n"


class Project:
    """The user's folder, and runs of what is in it, each as a new process would see it."""

    def __init__(self, workspace: LocalWorkspace) -> None:
        self.workspace = workspace
        self.folder = workspace.project
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write("train.py", STEPS)
        self.write("helper.py", HELPER)

    @property
    def room(self) -> Pipelines:
        return self.workspace.room(Pipelines)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(text))

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text()
        assert before in text
        (self.folder / name).write_text(text.replace(before, after))

    def forget(self) -> None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]

    def run(self, pipeline: str = "train.py:train", executor: str = "inline", **options: Any) -> PipelineRun:
        self.forget()
        params = options.pop("params", {})
        return self.room.run(pipeline, params, executor=executor, **options)


@pytest.fixture
def project(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.path)
    made = Project(workspace)
    yield made
    made.forget()
    sys.path[:] = path


def statuses(run: PipelineRun) -> dict[str, str]:
    return {each.name: each.status for each in run.steps}


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_second_run_executes_nothing_and_returns_the_same(project: Project, executor: str) -> None:
    first = project.run(executor=executor)
    assert first.status == "finished", first.error
    assert set(statuses(first).values()) == {"executed"}
    again = project.run(executor=executor)
    assert again.executed == 0
    assert set(statuses(again).values()) == {"cached"}
    assert again.value() == first.value()
    assert first.value()["recipe"] == "plain"
    assert {each.name: each.value.digest for each in again.steps if each.value} == {
        each.name: each.value.digest for each in first.steps if each.value
    }


def test_the_same_results_come_from_workers_and_from_this_process(project: Project) -> None:
    inline = project.run()
    pooled = project.run(executor="local", force=True)
    assert pooled.executed == len(pooled.steps)
    assert pooled.output is not None
    assert inline.output is not None
    assert pooled.output.digest == inline.output.digest


def test_an_edit_executes_what_depends_on_it_and_says_why(project: Project) -> None:
    project.run()
    project.edit("helper.py", "values * 2", "values * 3")
    run = project.run()
    assert statuses(run) == {
        "load": "cached",
        "split": "cached",
        "fit": "executed",
        "fit#2": "executed",
        "best": "executed",
    }
    assert run.step("fit").reason == "function scaled changed (helper.py, line 1)"
    assert run.step("best").reason == "input fits changed"


def test_an_equal_result_stops_the_cascade(project: Project) -> None:
    project.run()
    project.edit("helper.py", "values * 2", "2 * values")
    run = project.run()
    assert statuses(run)["fit"] == "executed"
    assert statuses(run)["best"] == "cached"


def test_comments_change_nothing(project: Project) -> None:
    project.run()
    project.edit("train.py", "def best(fits):", "def best( fits ):  # the best of them")
    assert project.run().executed == 0


def test_parameters_are_told_with_their_values(project: Project) -> None:
    project.run()
    run = project.run(params={"rows": 9})
    assert run.step("load").reason == "parameter rows 8 -> 9"
    assert statuses(run)["fit"] == "cached"  # its first three rows are the same


def test_a_dry_run_says_what_would_be_executed_and_records_nothing(project: Project) -> None:
    project.run()
    project.edit("helper.py", "values * 2", "values * 3")
    planned = project.run(dry_run=True)
    assert planned.status == "planned"
    assert statuses(planned)["load"] == "cached"
    assert planned.step("fit").reason == "would run: function scaled changed (helper.py, line 1)"
    assert planned.step("best").reason == "would run if the result of fit or fit#2 is another one"
    assert len(project.room.runs()) == 1


def test_steps_are_told_as_they_end(project: Project) -> None:
    told: list[str] = []
    run = project.run(on_step=lambda step: told.append(f"{step.name} {step.status}"))
    assert sorted(told) == sorted(f"{each.name} {each.status}" for each in run.steps)
    assert told[0] == "load executed"


def test_force_executes_everything(project: Project) -> None:
    project.run()
    run = project.run(force=True)
    assert set(statuses(run).values()) == {"executed"}
    assert run.step("load").reason == "forced"


def test_seeds_are_set_and_the_processs_own_randomness_goes_on(project: Project) -> None:
    run = project.run()
    assert run.value("fit")["noise"] == run.value("fit#2")["noise"]
    project.edit("train.py", "seed=7", "seed=8")
    changed = project.run()
    assert changed.step("fit").reason == "seed 7 -> 8"
    assert changed.value("fit")["noise"] != run.value("fit")["noise"]


def test_maps_fan_out_over_results_known_only_at_run_time(project: Project) -> None:
    project.write(
        "maps.py",
        """
        from everloop.pipelines.steps import pipeline, step

        @step
        def names(count): return [f"n{i}" for i in range(count)]

        @step
        def length(name, extra): return len(name) + extra

        @step
        def total(parts): return sum(parts)

        @pipeline
        def count(count: int = 12):
            parts = length.map(names(count), extra=1)
            if total(parts).value() > 30:
                return total([parts[0], parts[11]])
            return parts
        """,
    )
    run = project.run("maps.py:count")
    assert run.status == "finished", run.error
    assert run.value() == 7
    assert run.step("length[11]").status == "executed"
    more = project.run("maps.py:count", params={"count": 13})
    assert more.executed == 3  # the names, one more length, and their total; the sum of two is known
    assert project.run("maps.py:count", params={"count": 2}).value() == [3, 3]


def test_outside_a_pipeline_a_step_is_a_function(project: Project) -> None:
    project.run()
    train = sys.modules["train"]
    assert train.fit.map([train.load(2)], recipe="x")[0]["score"] == 2.0
    assert train.train(4)["recipe"] == "plain"


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_failed_step_says_where_and_keeps_its_output(project: Project, executor: str) -> None:
    project.edit("helper.py", "return values * 2", "print('about to divide')\n    return values / nothing")
    run = project.run(executor=executor)
    assert run.status == "failed"
    failed = run.step("fit")
    assert failed.status == "failed"
    assert "NameError: name 'nothing' is not defined" in run.error
    assert "helper.py" in run.error
    assert "line 3" in run.error
    assert "about to divide" in run.error
    assert "everloop/engine" not in run.error
    assert statuses(run)["load"] == "executed"
    assert statuses(run)["best"] == "skipped"
    assert run.step("best").reason == "not begun: fit failed"
    with pytest.raises(Failed, match="step fit failed"):
        run.value()
    stored = project.room.steps(run.run_id)
    assert {each.name: each.status for each in stored} == statuses(run)
    project.write("helper.py", HELPER)
    assert statuses(project.run())["load"] == "cached"


def test_a_worker_that_dies_is_one_failed_step_with_its_last_lines(project: Project) -> None:
    project.write(
        "deadly.py",
        """
        import os, signal
        from everloop.pipelines.steps import pipeline, step

        @step
        def fine(): return 1

        @step
        def dies(number):
            print("last words", number, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        @pipeline
        def both(): return fine(), dies(3)
        """,
    )
    run = project.run("deadly.py:both", executor="local")
    assert statuses(run) == {"fine": "executed", "dies": "failed"}
    assert "killed by SIGKILL" in run.error
    assert "last words 3" in run.error


def test_a_time_limit_stops_a_step_and_what_it_started(project: Project, tmp_path: Path) -> None:
    project.write(
        "slow.py",
        f"""
        import subprocess, sys
        from everloop.pipelines.steps import pipeline, step

        @step(timeout=1.5)
        def slow():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
            child.wait()

        @pipeline
        def wait(): return slow()
        """,
    )
    run = project.run("slow.py:wait", executor="local")
    assert "took longer than 1.5 seconds" in run.error
    child = int((tmp_path / "child").read_text())
    _, alive = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert alive == []
    with pytest.raises(InvalidInput, match="time limit"):
        project.run("slow.py:wait")


def test_retries_try_again_and_count(project: Project, tmp_path: Path) -> None:
    project.write(
        "flaky.py",
        f"""
        from pathlib import Path
        from everloop.pipelines.steps import pipeline, step

        @step(retries=2)
        def flaky():
            mark = Path({str(tmp_path / "mark")!r})
            mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
            if len(mark.read_text()) < 3:
                raise OSError("not yet")
            return 1

        @pipeline
        def main(): return flaky()
        """,
    )
    run = project.run("flaky.py:main")
    assert run.status == "finished"
    assert run.step("flaky").attempts == 3


def test_a_step_that_returns_nothing_can_be_passed_on(project: Project) -> None:
    project.write(
        "effects.py",
        """
        from everloop.pipelines.steps import pipeline, step

        @step
        def effect(): pass

        @step
        def after(done, more): return [done, more]

        @pipeline
        def main(): return after(effect(), {"nested": [effect()]}), effect()
        """,
    )
    run = project.run("effects.py:main")
    assert run.status == "finished", run.error
    assert run.value() == ([None, {"nested": [None]}], None)


def test_a_retry_waits_and_others_go_on_meanwhile(project: Project, tmp_path: Path) -> None:
    project.write(
        "flaky.py",
        f"""
        import time
        from pathlib import Path
        from everloop.pipelines.steps import pipeline, step

        @step(retries=2, wait="300ms")
        def flaky():
            mark = Path({str(tmp_path / "mark")!r})
            with mark.open("a") as out:
                out.write(f"{{time.monotonic()}}\\n")
            if len(mark.read_text().split()) < 3:
                raise OSError("not yet")
            return 1

        @step
        def other():
            Path({str(tmp_path / "other")!r}).write_text(str(time.monotonic()))

        @pipeline
        def main(): return [flaky(), other()]
        """,
    )
    run = project.run("flaky.py:main")
    assert run.status == "finished"
    first, second, third = map(float, (tmp_path / "mark").read_text().split())
    assert second - first >= 0.3
    assert third - second >= 0.6, "twice as long before each further one"
    assert float((tmp_path / "other").read_text()) < third


def test_a_result_may_be_used_for_so_long(project: Project, clock: FakeClock) -> None:
    project.write(
        "rates.py",
        """
        from everloop.pipelines.steps import pipeline, step

        @step(cache="7d")
        def rates(): return 3

        @pipeline
        def main(): return rates()
        """,
    )
    assert project.run("rates.py:main").executed == 1
    clock.advance(days=6)
    assert project.run("rates.py:main").executed == 0
    clock.advance(days=2)
    planned = project.run("rates.py:main", dry_run=True)
    assert "too old" in planned.step("rates").reason
    late = project.run("rates.py:main")
    assert late.executed == 1
    assert "is too old" in late.step("rates").reason
    clock.advance(days=6)
    assert project.run("rates.py:main").executed == 0, "the new result is as young as it is"


INTERRUPTED = """
    import time
    from pathlib import Path
    from everloop.pipelines.steps import pipeline, step

    @step
    def slow(number: int):
        Path(f"begun{number}").touch()
        time.sleep(1.5)
        Path(f"ended{number}").touch()
        return number

    @pipeline
    def main():
        return [slow(slow(0)), slow(1)]
    """


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_finishes_what_is_at_work_and_twice_stops_it(tmp_path: Path, times: int) -> None:
    (tmp_path / "slow.py").write_text(textwrap.dedent(INTERRUPTED))
    command = [sys.executable, "-m", "everloop", "run", "slow.py:main"]
    environment = os.environ | {"EVERLOOP_WORKSPACE": str(tmp_path)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun0").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "once more: stop now" in line:
            break
    if times == 2:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "ended0").exists() == (times == 1)
    assert "Traceback" not in said
    again = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    steps = {each["name"]: each["status"] for each in json.loads(again.stdout)["steps"]}
    assert steps["slow"] == ("cached" if times == 1 else "executed")


def test_an_exception_that_cannot_be_rebuilt_crosses_as_text(project: Project) -> None:
    project.write(
        "odd.py",
        """
        from everloop.pipelines.steps import pipeline, step

        class Odd(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        @step
        def raises(): raise Odd(1, 2)

        @pipeline
        def main(): return raises()
        """,
    )
    run = project.run("odd.py:main", executor="local")
    assert "Odd: 1 and 2" in run.error


def test_what_cannot_pass_between_steps_is_one_clear_error(project: Project) -> None:
    project.write(
        "sockets.py",
        """
        import threading
        from everloop.pipelines.steps import pipeline, step

        @step
        def makes(): return {"lock": [threading.Lock()]}

        @pipeline
        def main(): return makes()
        """,
    )
    run = project.run("sockets.py:main")
    assert "what makes returned['lock'][0] is a _thread.lock, which cannot pass between steps" in run.error


def test_steps_that_use_everloop_have_runs_of_their_own(project: Project) -> None:
    project.write(
        "logged.py",
        """
        from everloop.tracking.run import active_run
        from everloop.pipelines.steps import pipeline, step

        @step
        def train(rate):
            run = active_run()
            run.log_metric("loss", rate * 2)
            return run.run_id

        @step
        def silent(x): return x

        @pipeline
        def main(rate: float = 0.5): return silent(train(rate))
        """,
    )
    run = project.run("logged.py:main", executor="local")
    assert run.status == "finished", run.error
    tracking = project.workspace.room(Tracking)
    child = tracking.run(run.step("train").run or "")
    assert child.run_id == run.value()
    assert child.parent == run.run_id
    assert child.metrics == {"loss": 1.0}
    assert child.params == {"rate": "0.5"}
    assert child.status == "finished"
    assert run.step("silent").run is None
    assert tracking.run(run.run_id).status == "finished"
    assert tracking.run(run.run_id).params == {"rate": "0.5"}
    again = project.run("logged.py:main", executor="local")
    assert again.step("train").run == child.run_id
    assert project.room.step_of(child.run_id) is not None


def test_two_at_once_compute_a_step_once(project: Project, tmp_path: Path) -> None:
    import subprocess

    project.write(
        "once.py",
        f"""
        import os, time
        from everloop.pipelines.steps import pipeline, step

        @step
        def slow(number):
            with open({str(tmp_path / "computed")!r}, "a") as file:
                file.write(f"{{number}}\\n")
            time.sleep(0.3)
            return number

        @pipeline
        def main(): return slow.map([1, 2, 3, 4])
        """,
    )
    (tmp_path / "drive.py").write_text(
        "import sys; from pathlib import Path; from everloop.workspace.local import LocalWorkspace\n"
        "from everloop.pipelines.pipelines import Pipelines\n"
        "ws = LocalWorkspace(Path(sys.argv[1])); run = ws.room(Pipelines).run('once.py:main', executor='inline')\n"
        "print(run.status, run.value(), run.executed)"
    )
    command = [sys.executable, str(tmp_path / "drive.py"), str(project.folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=60)[0].split(" ", 1) for each in both]
    assert [each[0] for each in said] == ["finished", "finished"]
    assert all("[1, 2, 3, 4]" in each[1] for each in said)
    assert sorted((tmp_path / "computed").read_text().split()) == ["1", "2", "3", "4"]


def test_wrong_names_and_parameters_get_one_sentence(project: Project) -> None:
    with pytest.raises(InvalidDefinition, match="has no pipeline called 'trian'") as caught:
        project.run("train.py:trian")
    assert "'train'" in caught.value.hint
    with pytest.raises(InvalidInput, match="has no parameter 'row'") as wrong:
        project.run(params={"row": 3})
    assert "'rows'" in wrong.value.hint
    with pytest.raises(InvalidInput, match="there is no executor 'lokal'"):
        project.run(executor="lokal")
    project.edit("train.py", "def best(fits):", "def best(fits:")
    with pytest.raises(InvalidDefinition, match=r"train\.py, line \d+"):
        project.run()
    with pytest.raises(InvalidInput, match="does not name a pipeline"):
        project.run("train.py")


def test_a_pipeline_that_raises_is_told_with_its_line(project: Project) -> None:
    project.edit("train.py", "    first, rest =", "    1 / 0\n    first, rest =")
    with pytest.raises(Failed, match="ZeroDivisionError") as caught:
        project.run()
    assert "train.py" in caught.value.message


def test_a_read_of_the_newest_version_is_seen_when_it_moves(project: Project) -> None:
    import pyarrow as pa

    from everloop.data.data import Data

    data = project.workspace.room(Data)
    data.add(pa.table({"x": [1, 2]}), name="flights")
    data.add(pa.table({"x": [5]}), name="weather")
    project.write(
        "reads.py",
        """
        import everloop as ev
        from everloop.pipelines.steps import pipeline, step

        @step
        def count(name): return ev.data(name).to_arrow().num_rows

        @step
        def rows(table): return table.to_arrow().num_rows

        @pipeline
        def main(table: str = "data:weather"):
            return count("flights"), count("flights@v1"), rows(ev.data(table))
        """,
    )
    first = project.run("reads.py:main")
    assert first.value() == (2, 2, 1), first.error
    assert project.run("reads.py:main").executed == 0
    data.add(pa.table({"x": [1, 2, 3]}), name="flights")
    data.add(pa.table({"x": [5, 6]}), name="weather")
    moved = project.run("reads.py:main")
    assert moved.value() == (3, 2, 2)
    assert moved.step("count").reason == "data:flights is now v2"
    assert moved.step("rows").status == "executed"
    project.run("reads.py:main")
    assert project.run("reads.py:main").executed == 0
    consumed = {
        edge
        for edge in project.workspace.ledger.edges_of(f"run:{moved.run_id}", upward=True, depth=1)
        if edge[2] == "consumed"
    }
    assert {edge[0] for edge in consumed} >= {"data:flights@v2", "data:weather@v2"}


def test_a_script_runs_its_own_pipeline_in_workers_without_being_started_again(project: Project) -> None:
    import subprocess

    project.write(
        "script.py",
        """
        import sys
        from dataclasses import dataclass
        from pathlib import Path
        import everloop as ev

        @dataclass
        class Fold:
            number: int

        FIRST = Fold(1)

        @ev.step
        def fold(number): return Fold(number + FIRST.number)

        @ev.step
        def number(fold): return fold.number

        @ev.pipeline
        def main(): return number(fold(2))

        print("started")
        if __name__ == "__main__":
            with ev.connect(Path(__file__).parent) as ws:
                run = ws.pipelines.run(main, executor="local")
                print(run.status, run.error, run.value(), run.executed)
        """,
    )
    command = [sys.executable, str(project.folder / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.folder)
    assert done.stdout.split() == ["started", "finished", "3", "2"], done.stdout + done.stderr


def test_a_value_that_workers_do_not_share_is_refused_by_name(project: Project) -> None:
    project.write(
        "clock.py",
        """
        import time, os
        import everloop as ev

        STARTED = (time.time_ns(), os.getpid())

        @ev.step
        def since(): return STARTED

        @ev.pipeline
        def main(): return since()
        """,
    )
    run = project.run("clock.py:main", executor="local")
    assert "STARTED of clock.py is not the same in a worker process" in run.error
    assert project.run("clock.py:main").status == "finished"


def test_steps_that_no_worker_can_import_are_refused_with_a_way_out(project: Project) -> None:
    import everloop as ev

    @ev.step
    def inner(x: int) -> int:
        return x + 1

    @ev.pipeline
    def local(x: int = 1) -> int:
        return inner(x)

    with pytest.raises(InvalidInput, match="cannot import it") as caught:
        project.room.run(local, executor="local")
    assert "inline" in caught.value.hint
    run = project.room.run(local, executor="inline")
    assert run.value() == 2
    assert project.room.run(local, executor="inline").executed == 0


def test_constants_changed_at_run_time_count(project: Project) -> None:
    project.write(
        "settings.py",
        """
        import everloop as ev
        RATES = {"low": 1}

        @ev.step
        def rate(): return RATES["low"]

        @ev.pipeline
        def main(): return rate()
        """,
    )
    project.forget()
    assert project.room.run("settings.py:main", executor="inline").value() == 1
    sys.modules["settings"].RATES["low"] = 5
    changed = project.room.run("settings.py:main", executor="inline")
    assert changed.value() == 5
    assert changed.step("rate").reason == "value RATES changed (settings.py)"
    assert "RATES of settings.py" in project.room.run("settings.py:main", executor="local", force=True).error


def test_ctrl_c_gives_claims_back_and_records_what_was_done(project: Project) -> None:
    project.write(
        "stop.py",
        """
        import everloop as ev

        @ev.step
        def first(): return 1

        @ev.step
        def second(x):
            import os
            if os.path.exists("stop"):
                raise KeyboardInterrupt
            return x + 1

        @ev.pipeline
        def main(): return second(first())
        """,
    )
    (project.folder / "stop").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        with pytest.raises(KeyboardInterrupt):
            project.run("stop.py:main")
        (project.folder / "stop").unlink()
        stopped = project.room.runs()[0]
        assert stopped.status == "interrupted"
        assert project.workspace.room(Tracking).run(stopped.run).status == "interrupted"
        resumed = project.room.resume(stopped.run)
    assert statuses(resumed) == {"first": "cached", "second": "executed"}
    assert resumed.resumed_from == stopped.run


def test_a_claim_that_ran_out_is_taken_over_with_its_run(workspace: LocalWorkspace, clock: FakeClock) -> None:
    room = workspace.room(Pipelines)
    elsewhere = Owner("another machine", 7, 0.0)
    key, begun = "a" * 64, "b" * 32
    assert room.claim([key], "one", elsewhere, [begun])[0].granted
    clock.advance(seconds=50)
    room.renew([key], "one")
    clock.advance(seconds=50)
    assert not room.claim([key], "two", elsewhere, [""])[0].granted
    clock.advance(seconds=20)
    taken = room.claim([key], "two", elsewhere, [""])[0]
    assert (taken.granted, taken.run) == (True, begun)
    assert not room.claim([key], "one", elsewhere, [""])[0].granted
