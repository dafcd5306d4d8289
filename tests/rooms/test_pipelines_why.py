"""`everloop run --why`: the text of what changed since a step was last computed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from everloop.pipelines.changed import StepChange, step_changes
from everloop.pipelines.code.passages import difference
from everloop.pipelines.outcome import PipelineRun
from everloop.workspace.local import LocalWorkspace

FLOW = '''
    """A flow."""

    from whymodel import Net
    from everloop.pipelines.steps import pipeline, step

    RATE = 2
    TABLE = {}
    TABLE["a"] = 1

    def helper(x):
        # twice
        return RATE * x

    @step
    def fit(x):
        return helper(x) + TABLE["a"]

    @step
    def score(x):
        return Net().forward(x)

    @pipeline
    def main(x: int = 1):
        return [score(fit(x)), *fit.map([5, 6])]
    '''
NET = """
    class Net:
        def forward(self, x):
            return x

        def other(self):
            return 1
    """


@pytest.fixture
def folder(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = workspace.project
    made.mkdir(parents=True, exist_ok=True)
    (made / "whyflow.py").write_text(textwrap.dedent(FLOW))
    (made / "whymodel.py").write_text(textwrap.dedent(NET))
    return made


def run(workspace: LocalWorkspace, *, dry_run: bool = False) -> PipelineRun:
    for name in ("whyflow", "whymodel"):
        sys.modules.pop(name, None)
    return workspace.pipelines.run("whyflow.py:main", executor="inline", dry_run=dry_run)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)


def told(workspace: LocalWorkspace, done: PipelineRun) -> dict[str, StepChange]:
    return {each.name: each for each in reversed(step_changes(workspace.pipelines, done))}


def test_the_text_that_changed_is_shown_once_for_all_steps_that_it_concerns(
    workspace: LocalWorkspace, folder: Path
) -> None:
    first = run(workspace)
    assert told(workspace, first) == {}, "nothing was computed before"
    edit(folder / "whyflow.py", "RATE * x", "RATE * x + 1")
    edit(folder / "whymodel.py", "return x\n", "return -x\n")

    planned = told(workspace, run(workspace, dry_run=True))
    assert planned["whyflow.py::helper"].steps == ("fit", "fit#2[0]", "fit#2[1]")
    assert planned["whyflow.py::helper"].former == first.reference

    found = told(workspace, run(workspace))
    helper = found["whyflow.py::helper"]
    assert helper.steps == ("fit", "fit#2[0]", "fit#2[1]")
    assert (helper.kind, helper.said) == ("function", "function helper changed (whyflow.py, line 11)")
    lines = (folder / "whyflow.py").read_text().splitlines()
    at = lines.index("def helper(x):") + 1
    assert helper.diff.splitlines() == [
        "--- a/whyflow.py",
        "+++ b/whyflow.py",
        f"@@ -{at},3 +{at},3 @@",
        " def helper(x):",
        "     # twice",
        "-    return RATE * x",
        "+    return RATE * x + 1",
    ]
    assert planned["whyflow.py::helper"].diff == helper.diff
    net = found["whymodel.py::Net"]
    assert net.steps == ("score",)
    assert "-        return x\n+        return -x" in net.diff
    assert found["x"].diff == "", "an input is no text"
    assert "changed" in found["x"].said
    assert told(workspace, run(workspace)) == {}, "all is cached"


def test_constants_what_is_new_and_a_former_run_that_is_purged(
    workspace: LocalWorkspace, folder: Path
) -> None:
    first = run(workspace)
    edit(folder / "whyflow.py", "RATE = 2", "RATE = 3")
    edit(folder / "whyflow.py", 'TABLE["a"] = 1', 'TABLE["a"] = fresh()')
    edit(folder / "whyflow.py", "TABLE = {}", "def fresh():\n    return 7\n\nTABLE = {}")
    found = told(workspace, run(workspace, dry_run=True))
    assert "-RATE = 2\n+RATE = 3" in found["whyflow.py::RATE"].diff
    assert '-TABLE["a"] = 1\n+TABLE["a"] = fresh()' in found["whyflow.py::TABLE"].diff
    assert found["whyflow.py::fresh"].said.startswith("function fresh is new")
    assert found["whyflow.py::fresh"].diff.splitlines()[-2:] == ["+def fresh():", "+    return 7"]

    workspace.tracking.delete_runs([first.run_id])
    workspace.tracking.purge_runs([first.run_id])
    found = told(workspace, run(workspace, dry_run=True))
    assert all(each.diff == "" for each in found.values())


def test_the_diffs_of_a_file_are_a_patch_that_git_takes(tmp_path: Path) -> None:
    before = (
        "import os\n\nA = 1\n\n\ndef f():\n    return A\n\n\nclass C:\n    def g(self):\n        return 1\n"
    )
    after = before.replace("A = 1\n", "B = 0\nA = 2\n").replace("return 1\n", "if B:\n            return 2\n")
    (tmp_path / "m.py").write_text(before)
    parts = [
        difference("m.py", each, before.encode(), after.encode()) for each in ("A", "B", "f", "C", "C.g")
    ]
    assert parts[2] == ""
    assert parts[3].splitlines()[3:] == [" class C:", *parts[4].splitlines()[3:]]
    for each in (parts[0], parts[3]):
        subprocess.run(
            ["git", "apply", "--unidiff-zero", "--recount"],
            input=each + "\n",
            text=True,
            cwd=tmp_path,
            check=True,
        )
    assert (tmp_path / "m.py").read_text() == after.replace("B = 0\n", "")
