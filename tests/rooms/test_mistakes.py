"""Slips of a user's hand at the command line: one sentence and exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pyarrow as pa
import pytest

from everloop.cli.main import main
from everloop.domain.runs import Owner
from everloop.errors import InvalidInput
from everloop.features.parity.comparing import compare
from everloop.workspace.local import LocalWorkspace


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("data add . --name .", "the dataset name '.' means a folder"),
        ("data add rows.csv --name rows --checks leaves.py", "SystemExit: 3"),
        ("run leaves.py:train", "leaves.py, line 1: SystemExit: 3"),
        ("alerts silence alert:0 --because quiet --days nan", "--days is more than 0"),
        ("alerts silence alert:0 --because quiet --days 1e300", "--days is more than 0"),
        ("triggers history --status wierd", "'wierd' is not one of"),
        ("export openlineage --to folder", "folder: Is a directory"),
        (f"init {'x' * 300}", "File name too long"),
    ],
)
def test_a_slip_is_told_in_a_sentence(
    workspace: LocalWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    says: str,
) -> None:
    monkeypatch.chdir(workspace.project)
    Path("rows.csv").write_text("a\n1\n")
    Path("leaves.py").write_text("raise SystemExit(3)\n")
    Path("folder").mkdir()
    with workspace.tracking.start("any"):
        pass
    before = workspace.provenance.status().counts
    assert main([*shlex.split(line), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert says in error["message"]
    assert workspace.provenance.status().counts == before


def test_operations_refuse_what_does_not_fit_together(workspace: LocalWorkspace) -> None:
    with pytest.raises(InvalidInput, match="2 keys and 1 children"):
        workspace.pipelines.claim(["a", "b"], "run", Owner("here", 1, 0.0), [""])


@pytest.mark.parametrize("tolerance", [-1.0, math.nan])
def test_a_tolerance_with_which_nothing_would_differ_is_refused(tolerance: float) -> None:
    with pytest.raises(InvalidInput, match="tells nothing apart"):
        compare(None, pa.table({"a": [1]}), time="at", tolerance=tolerance)  # type: ignore[arg-type]
