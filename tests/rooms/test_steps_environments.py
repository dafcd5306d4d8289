"""Environments of steps: packages of their own, built once, in the key; nothing else that is installed is seen there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.projects import Project, project_in, statuses, wheel

import everloop as ev
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.pipelines.environments.building import Environments
from everloop.workspace.local import LocalWorkspace

CODE = """
    import everloop as ev
    import pyarrow as pa
    from beside import doubled

    @ev.step(environment=ev.environment("requirements.txt"))
    def ask(rows: pa.Table) -> dict:
        import sys
        import tiny

        try:
            import sklearn
        except ImportError:
            sklearn = None
        print("asked in", sys.executable)
        return {"answer": doubled(tiny.ANSWER), "rows": rows.num_rows, "sees others": sklearn is not None, "table": rows}

    @ev.step
    def rows() -> pa.Table:
        return pa.table({"x": [1, 2]})

    @ev.pipeline
    def work():
        return ask(rows())
"""


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write("work.py", CODE)
        made.write("beside.py", "def doubled(n):\n    return 2 * n\n")
        made.write("requirements.txt", "# the packages\n./tiny-1.0-py3-none-any.whl\n")
        wheel(made.folder, 21)
        yield made


def test_a_step_runs_with_its_own_packages_and_no_others(project: Project) -> None:
    run = project.run("work.py:work", "local")
    assert run.status == "finished", run.error
    found = run.value()
    assert (found["answer"], found["rows"], found["sees others"]) == (42, 2, False)
    (built,) = project.workspace.folder.glob("environments/*/ready.json")
    log = run.step("ask").log
    assert log is not None
    assert str(built.parent) in project.workspace.objects.read(log).decode()
    assert project.run("work.py:work", "local").executed == 0
    # Another content of the package is another environment, although its version is the same.
    wheel(project.folder, 22)
    again = project.run("work.py:work", "local")
    assert (statuses(again)["ask"], again.value()["answer"]) == ("executed", 44)
    assert again.step("ask").reason.startswith("environment tiny sha256:")
    assert len(list(project.workspace.folder.glob("environments/*/ready.json"))) == 2


def test_what_is_there_is_not_built_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ev.environment([str(project.folder / "tiny-1.0-py3-none-any.whl")])
    first = Environments(project.folder).python(wanted)
    monkeypatch.setattr(Environments, "_call", lambda *_: pytest.fail("a program was started"))
    assert Environments(project.folder).python(wanted) == first


def test_an_environment_that_cannot_be_had_is_one_clear_error(project: Project) -> None:
    project.write("requirements.txt", "--index-url file:///nowhere/\nno-such-package==9\n")
    with pytest.raises(InvalidInput, match="the environment no-such-package==9 cannot be resolved: ") as told:
        project.run("work.py:work", "local")
    assert "\n" not in str(told.value)


def test_a_step_with_an_environment_is_not_run_in_this_process(project: Project) -> None:
    with pytest.raises(
        InvalidInput, match="a step with an environment of its own cannot run in this process"
    ):
        project.run("work.py:work", "inline")


@pytest.mark.parametrize(
    ("requirements", "python", "says"),
    [
        (["-r other.txt"], "", "'-r other.txt' cannot stand in the requirements of a step"),
        ([], "", "an environment without packages"),
        (["tiny"], "3.8", "an environment cannot have Python '3.8'"),
        ("nowhere.txt", "", "there is no file nowhere.txt"),
    ],
)
def test_a_wrong_declaration_is_told_at_once(requirements, python: str, says: str) -> None:
    with pytest.raises(InvalidDefinition, match=says):
        ev.environment(requirements, python=python)
    with pytest.raises(InvalidDefinition, match="its environment is none"):
        ev.step(environment=requirements)(lambda: None)
