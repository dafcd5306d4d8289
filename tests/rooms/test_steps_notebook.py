"""Notebooks as steps: parameters in, variables out, the executed notebook kept, stored outputs no part of the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.projects import Project, project_in

import everloop as ev
from everloop.errors import Failed, InvalidDefinition, InvalidInput
from everloop.workspace.local import LocalWorkspace

CODE = """
    import everloop as ev

    report = ev.notebook_step("books/analysis.ipynb", outputs=("score", "rows"))

    @ev.step
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @ev.pipeline
    def work(scale: int = 2):
        found = report(numbers=numbers(4), scale=scale)
        return found["score"]
"""
CELLS = [
    "%matplotlib inline\nfrom beside import total",
    ("numbers = [1]\nscale: int = 1  # default", "parameters"),
    "# what comes out\nscore = total(numbers) * scale\nprint('score', score)\nscore",
    "rows = len(numbers)",
]


def notebook(path: Path, cells: list[Any], **more: Any) -> Path:
    """Write a notebook; a cell is its text, or (text, tag)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = [
        {
            "cell_type": "code",
            "source": (each if isinstance(each, str) else each[0]).splitlines(keepends=True),
            "metadata": {} if isinstance(each, str) else {"tags": [each[1]]},
            "outputs": [],
            "execution_count": None,
        }
        | more
        for each in cells
    ]
    prose = {"cell_type": "markdown", "source": "# A report", "metadata": {}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [prose, *code]}))
    return path


@pytest.fixture
def project(workspace: LocalWorkspace) -> Iterator[Project]:
    with project_in(workspace) as made:
        made.write("work.py", CODE)
        made.write("books/beside.py", "def total(values):\n    return sum(values)\n")
        notebook(made.folder / "books/analysis.ipynb", CELLS)
        yield made


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_notebook_stands_in_a_pipeline_and_is_kept_as_it_was_run(project: Project, executor: str) -> None:
    run = project.run("work.py:work", executor)
    assert run.status == "finished", run.error
    assert (run.value(), run.value("report")) == (12, {"score": 12, "rows": 4})
    step = run.step("report").run
    assert step is not None
    (kept,) = project.workspace.tracking.artifacts(step)
    assert kept.path == "analysis.ipynb"
    executed = json.loads(project.workspace.objects.read(kept.digest))
    shown = [(each["source"], each["outputs"]) for each in executed["cells"] if each["cell_type"] == "code"]
    assert "".join(shown[2][0]) == "numbers = [0, 1, 2, 3]\nscale = 2"
    assert [(each.get("text"), each.get("data")) for each in shown[3][1]] == [
        ("score 12\n", None),
        (None, {"text/plain": "12"}),
    ]
    assert project.run("work.py:work", executor).executed == 0


def test_what_running_it_leaves_in_the_file_changes_nothing_and_code_does(project: Project) -> None:
    project.run("work.py:work")
    path = project.folder / "books/analysis.ipynb"
    shown = {"outputs": [{"output_type": "stream", "name": "stdout", "text": "old"}], "execution_count": 7}
    notebook(path, [*CELLS[:2], CELLS[2].replace("# what", "# all that"), CELLS[3]], **shown)
    assert project.run("work.py:work").executed == 0
    project.edit("books/beside.py", "sum(values)", "sum(values) + 1")
    run = project.run("work.py:work")
    assert run.step("report").reason == "function total changed (books/beside.py, line 1)"
    assert run.value() == 14
    notebook(path, [*CELLS[:3], "rows = 0"])
    again = project.run("work.py:work")
    assert "rows changed (books/analysis.ipynb" in again.step("report").reason
    assert again.value("report")["rows"] == 0


def test_a_failing_cell_is_told_with_its_line_and_the_notebook_is_kept(project: Project) -> None:
    notebook(project.folder / "books/analysis.ipynb", [*CELLS[:3], "x = 1\nrows = x / 0"])
    run = project.run("work.py:work")
    assert "analysis.ipynb, cell 4, line 2: ZeroDivisionError: division by zero" in run.error
    step = run.step("report").run
    assert step is not None
    (kept,) = project.workspace.tracking.artifacts(step)
    last = json.loads(project.workspace.objects.read(kept.digest))["cells"][-1]["outputs"]
    assert [each["output_type"] for each in last] == ["error"]


def test_outside_of_a_pipeline_it_is_an_ordinary_call(tmp_path: Path) -> None:
    path = notebook(tmp_path / "one.ipynb", [("n = 3", "parameters"), "double = n * 2"])
    step = ev.notebook_step(str(path), outputs="double")
    assert (step(), step(n=5), step.name) == (6, 10, "one")
    with pytest.raises(InvalidInput, match="got an unexpected keyword argument 'm'"):
        step.bind((), {"m": 1})
    with pytest.raises(Failed, match=r"one\.ipynb does not set 'doubel'"):
        ev.notebook_step(str(path), outputs="doubel")()


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x = 1\n!ls", "bad.ipynb, cell 1, line 2: '!ls' is a command of IPython, not Python"),
        ("%%time\nx = 1", "bad.ipynb, cell 1, line 1: '%%time' is a command of IPython, not Python"),
        ("x = (", "bad.ipynb, cell 1, line 1: '(' was never closed"),
    ],
)
def test_what_cannot_be_run_is_told_with_cell_and_line(tmp_path: Path, cell: str, says: str) -> None:
    with pytest.raises(InvalidDefinition) as told:
        ev.notebook_step(str(notebook(tmp_path / "bad.ipynb", [cell])))()
    assert str(told.value) == says
