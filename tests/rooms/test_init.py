"""`everloop init`: what it writes works as it stands, with scikit-learn and without; it does not write over what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.cli import init as command
from everloop.cli.main import main


def run(folder: Path, *arguments: str) -> dict[str, object]:
    """A command as a user types it in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "everloop", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def follow_its_first_page(folder: Path) -> None:
    """What is typed first, up to a champion."""
    added = run(
        folder, "data", "add", "data/diabetes.csv", "--name", "diabetes", "--checks", "definitions.py"
    )
    assert (added["rows"], added["quarantine"]) == (442, None)
    done = run(folder, "run", "training.py:train")
    assert done["status"] == "finished"
    (folder / "notes.txt").write_text("a file that no step reads")
    again = run(folder, "run", "training.py:train")
    assert {step["status"] for step in again["steps"]} == {"cached"}  # type: ignore[attr-defined]
    (judged,) = run(folder, "runs", "list", "--where", "metrics.rmse > 0")["runs"]  # type: ignore[misc, str-unpack]
    assert judged["metrics"]["rmse"] < 0.9 * judged["metrics"]["rmse_of_the_mean"]
    assert run(folder, "models", "register", judged["run_id"], "--name", "progression")["version"] == 1
    assert run(folder, "models", "promote", "progression@v1")["allowed"] is True


@pytest.mark.parametrize("with_sklearn", [True, False])
def test_a_new_project_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_sklearn: bool) -> None:
    if not with_sklearn:
        monkeypatch.setattr(command, "scikit_learn_is_here", lambda: False)
    folder = tmp_path / "my project"
    written = command.make_project(folder)
    assert written == sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    text = {name: (folder / name).read_text() for name in written}
    assert ("sklearn" in text["training.py"].partition("INPUTS")[2]) == with_sklearn
    assert 'name = "my project"' in text["everloop.toml"]
    assert not [name for name in written if "$" in text[name]]

    if with_sklearn:
        follow_its_first_page(folder)
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # a new project needs none, and those of these tests take seconds
    )
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder, env=kept, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout
    assert "2 passed" in tests.stdout


def test_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    assert main(["init", "--json"]) == 0, "a folder with nothing but a repository is empty"
    first = json.loads(capsys.readouterr().out)
    assert first["path"] == str(tmp_path)
    assert {"everloop.toml", "definitions.py", "tests/test_training.py", ".github/workflows/test.yml"} <= set(
        first["files"]
    )
    (tmp_path / "training.py").write_text("mine\n")
    assert main(["init", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"] == f"{tmp_path} is not empty: .github, .gitignore, data …"
    assert "--force" in error["hint"]
    assert (tmp_path / "training.py").read_text() == "mine\n"
    assert main(["init", "--force", "--json"]) == 0
    assert (tmp_path / "training.py").read_text() != "mine\n"
    (tmp_path / "file").write_text("")
    assert main(["init", "file"]) == 2
