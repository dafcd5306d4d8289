"""`everloop run` and `everloop reproduce` as typed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

STEPS = """
    import everloop as ev

    @ev.step
    def double(x):
        print("doubling", x)
        if x == 13:
            raise ValueError("unlucky")
        return 2 * x

    @ev.step
    def hidden(x, how="__add__"):
        return getattr(x, how)(1)

    @ev.pipeline
    def main(x: int = 2):
        return double(x)

    @ev.pipeline
    def unseen(x: int = 2):
        return hidden(x)
    """


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "steps.py").write_text(textwrap.dedent(STEPS))
    return tmp_path


def everloop(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    command = [sys.executable, "-m", "everloop", *arguments]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout)


def test_run_then_run_again_then_reproduce(project: Path) -> None:
    first = everloop(project, "run", "steps.py:main", "--param", "x=4", "--json")
    assert first.returncode == 0, first.stderr
    told = answer(first)
    assert told["status"] == "finished"
    assert told["executed"] == 1
    assert (
        told["steps"][0].items()
        >= {"name": "double", "status": "executed", "reason": "never computed before"}.items()
    )

    again = everloop(project, "run", "steps:main", "--param", "x=4")
    assert "1 cached" in again.stdout
    assert "nothing changed" in again.stdout

    planned = answer(everloop(project, "run", "steps.py:main", "--param", "x=5", "--dry-run", "--json"))
    assert planned["status"] == "planned"
    assert planned["run"] is None
    assert planned["steps"][0]["reason"] == "would run: parameter x 4 -> 5"

    graded = everloop(project, "reproduce", told["run"][:12], "--json")
    assert graded.returncode == 0, graded.stderr
    assert answer(graded)["grade"] == "bits"
    assert answer(graded)["evidence"]


def test_why_shows_the_lines_that_changed(project: Path) -> None:
    assert "changes" not in answer(
        everloop(project, "run", "steps.py:main", "--executor", "inline", "--json")
    )
    (project / "steps.py").write_text(textwrap.dedent(STEPS).replace("return 2 * x", "return 3 * x"))
    shown = everloop(project, "run", "steps.py:main", "--dry-run", "--why").stdout
    assert "double: function double changed (steps.py, line 5), since run:" in shown
    assert "\n-    return 2 * x\n+    return 3 * x\n" in shown
    told = answer(everloop(project, "run", "steps.py:main", "--executor", "inline", "--why", "--json"))
    (change,) = told["changes"]
    assert change["steps"] == ["double"]
    assert change["name"] == "steps.py::double"
    assert "-    return 2 * x\n+    return 3 * x" in change["diff"]


def test_a_failed_step_is_exit_1_with_its_last_lines(project: Path) -> None:
    done = everloop(project, "run", "steps.py:main", "--param", "x=13")
    assert done.returncode == 1
    assert "step double failed: ValueError: unlucky" in done.stdout
    assert "steps.py" in done.stdout
    assert "doubling 13" in done.stdout
    told = everloop(project, "run", "steps.py:main", "--param", "x=13", "--json")
    assert told.returncode == 1
    assert answer(told)["status"] == "failed"


def test_code_that_cannot_be_seen_through_is_noted(project: Path) -> None:
    told = answer(everloop(project, "run", "steps.py:unseen", "--json"))
    assert "steps.py, line 13: getattr() with a computed name" in told["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "steps.py:mian"], "'main'"),
        (["run", "stops.py:main"], "no file stops.py"),
        (["run", "stops:main"], "no module is called 'stops'"),
        (["run", "steps.py"], "FILE.py:NAME"),
        (["run", "steps.py:main", "--param", "y=1"], "no parameter 'y'"),
        (["run", "steps.py:main", "--param", "x"], "NAME=VALUE"),
        (["run", "steps.py:main", "--executor", "rai"], "did you mean 'ray'"),
        (["reproduce", "endpoint:delay"], "cannot be reproduced"),
        (["reproduce", "model:delay@v1"], "delay"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(project: Path, arguments: list[str], said: str) -> None:
    (project / "everloop.toml").touch()
    done = everloop(project, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_syntax_error_names_file_and_line(project: Path) -> None:
    (project / "broken.py").write_text("import everloop as ev\ndef f(:\n")
    done = everloop(project, "run", "broken.py:f", "--json")
    assert done.returncode == 2
    assert "broken.py, line 2" in answer(done)["error"]["message"]
