"""Commands of tracking, as a user meets them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import pytest

from everloop.cli.demo_diabetes import diabetes
from everloop.cli.main import main
from everloop.client.ambient import using
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace


class Shell:
    """Runs commands in this process, in a workspace with two runs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        assert main(list(arguments)) == code, self._capsys.readouterr().err
        captured = self._capsys.readouterr()
        return captured.out if code == 0 else captured.err

    def json(self, *arguments: str, code: int = 0) -> Any:
        self._capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def shell(
    workspace: LocalWorkspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    tracking: Tracking = workspace.tracking
    for name, model, rmse in (("first", "tree", 0.5), ("second", "linear", 2.0)):
        with tracking.start("flights", name, params={"model": model, "lr": 0.1}) as run:
            run.log_metric("rmse", rmse)
            run.log_text("hello", "notes/hello.txt")
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    return Shell(capsys)


def test_list(shell: Shell) -> None:
    found = shell.json("runs", "list", "--where", 'metrics.rmse < 1 and params.model = "tree"')
    assert [each["name"] for each in found["runs"]] == ["first"]
    assert set(found["runs"][0]) >= {
        "run_id", "experiment", "name", "status", "user", "source", "version",
        "start_time", "end_time", "params", "metrics", "tags",
    }  # fmt: skip
    assert found["total"] == 1
    text = shell.text("runs", "list", "--order-by", "metrics.rmse desc", "--columns", "lr, rmse")
    assert text.index("second") < text.index("first")
    assert "2 matching runs" in text
    assert "model" not in text
    assert shell.text("runs", "list", "--experiment", "Default").strip() == "no runs match"
    assert "1 matching run\n" in shell.text("runs", "list", "--where", "metrics.rmse < 1")


def test_the_list_says_how_runs_that_were_cut_off_go_on(shell: Shell, workspace: LocalWorkspace) -> None:
    tracking: Tracking = workspace.tracking
    assert "everloop resume" not in shell.text("runs", "list")
    cut = []
    for number in range(5):
        cut.append(tracking.start("flights", f"cut {number}"))
        cut[-1].finish("interrupted")
    with tracking.start(resume=cut[4].run_id):
        pass
    lines = shell.text("runs", "list").splitlines()
    assert lines[-4:] == [
        *(f"cut {at} was interrupted; to go on: everloop resume {cut[at].run_id}" for at in (3, 2, 1)),
        "1 more cut off; everloop runs show RUN says how one goes on",
    ]


def test_a_filter_that_cannot_be_read(shell: Shell) -> None:
    assert "          ^\n" in shell.text("runs", "list", "--where", "metrics.rmse ~ 1", code=2)
    one_name = shell.text("runs", "list", "--where", "metrics.rmse-metrics.mae > 0", code=2)
    assert "put spaces round a minus sign" in one_name
    error = shell.json("runs", "list", "--where", "params.model = tree", code=2)["error"]
    assert error["code"] == "invalid_input"
    assert "column 16" in error["message"]


def test_show_and_compare(shell: Shell) -> None:
    detail = shell.json("runs", "show", "first")
    assert detail["run"]["params"] == {"lr": "0.1", "model": "tree"}
    assert detail["artifacts"][0]["path"] == "notes/hello.txt"
    text = shell.text("runs", "show", "first")
    assert "notes/hello.txt" in text
    assert "rmse" in text
    found = shell.json("runs", "compare", "first", "second")
    assert [(each["key"], each["differs"]) for each in found["params"]] == [("model", True), ("lr", False)]
    assert "* model" in shell.text("runs", "compare", "first", "second")
    assert shell.json("runs", "compare", "first", code=2)["error"]["code"] == "invalid_input"
    assert shell.json("runs", "show", "third", code=2)["error"]["code"] == "not_found"


def test_delete_restore_purge(shell: Shell) -> None:
    (deleted,) = shell.json("runs", "delete", "first")["deleted"]
    assert [each["name"] for each in shell.json("runs", "list")["runs"]] == ["second"]
    assert [each["name"] for each in shell.json("runs", "list", "--state", "deleted")["runs"]] == ["first"]
    assert shell.json("runs", "restore", deleted)["restored"] == [deleted]
    assert shell.json("runs", "purge", deleted, code=2)["error"]["code"] == "conflict"
    shell.text("runs", "delete", deleted)
    assert shell.json("runs", "purge", deleted)["purged"] == [deleted]
    assert [each["name"] for each in shell.json("runs", "list", "--state", "all")["runs"]] == ["second"]


def test_export(shell: Shell, tmp_path: Path) -> None:
    for ending in ("csv", "json", "parquet"):
        answer = shell.json("runs", "export", str(tmp_path / f"runs.{ending}"), "--order-by", "metrics.rmse")
        assert answer["runs"] == 2
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["Run Name"], row["model"], row["rmse"]) for row in rows] == [
        ("first", "tree", "0.5"),
        ("second", "linear", "2.0"),
    ]
    assert len(json.loads((tmp_path / "runs.json").read_text())["runs"]) == 2
    assert pq.read_table(tmp_path / "runs.parquet")["metrics.rmse"].to_pylist() == [0.5, 2.0]
    assert shell.text("runs", "export", "-", "--format", "csv").startswith(
        "Date,User,Run Name,Source,Version,"
    )
    shell.json("runs", "export", str(tmp_path / "runs.xlsx"), code=2)
    shell.json("runs", "export", str(tmp_path / "none" / "runs.csv"), code=2)


def test_resume_says_what_cannot_be_resumed(shell: Shell, workspace: LocalWorkspace) -> None:
    assert shell.json("resume", "first", code=2)["error"]["code"] == "conflict"
    run = workspace.tracking.create_run(name="foreign")
    workspace.tracking.finish_run(run.run_id, "failed")
    assert "not started by a command" in shell.json("resume", "foreign", code=2)["error"]["message"]


def test_without_a_workspace_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "list"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_talks_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published table to its printed digits; one cell differs by a rounding edge (56.98, not 56.97)."""
    pytest.importorskip("sklearn")

    def demo() -> Any:
        capsys.readouterr()
        diabetes.main(["--dir", str(tmp_path / "demo"), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    found = demo()
    assert len(found["runs"]) == 12
    table = found["table"]
    assert table["columns"] == [
        "Date",
        "User",
        "Run Name",
        "Source",
        "Version",
        "alpha",
        "l1_ratio",
        "mae",
        "r2",
        "rmse",
    ]
    assert [row[3] for row in table["rows"]] == ["train.py"] * 12
    assert [row[5:] for row in table["rows"]] == [
        ["0.07", "0.3", "66.44", "0.063", "78.73"],
        ["0.05", "0.3", "65.39", "0.091", "77.55"],
        ["0.05", "0.2", "65.81", "0.079", "78.03"],
        ["0.04", "0.2", "65.08", "0.099", "77.17"],
        ["0.03", "0.2", "64.07", "0.128", "75.93"],
        ["0.02", "0.2", "62.37", "0.173", "73.95"],
        ["0.05", "0.9", "56.98", "0.296", "68.23"],
        ["0.05", "0.8", "60.33", "0.223", "71.69"],
        ["0.05", "0.7", "62.2", "0.177", "73.77"],
        ["0.05", "0.5", "64.28", "0.122", "76.18"],
        ["0.03", "0.4", "62.93", "0.159", "74.58"],
        ["0.06", "0.6", "64.16", "0.126", "76.04"],
    ]
    assert demo() == found
    with LocalWorkspace(tmp_path / "demo") as workspace, using(workspace):
        assert workspace.tracking.search('metrics.rmse < 1 and params.model = "tree"').runs == []
    assert isinstance(diabetes, click.Command)


def test_experiments_are_listed_renamed_put_aside_and_brought_back(
    shell: Shell, workspace: LocalWorkspace
) -> None:
    workspace.tracking.create_run(experiment="churn")
    assert "churn" in shell.text("runs", "experiments", "list")
    renamed = shell.json("runs", "experiments", "rename", "churn", "churn 日本")
    number = str(renamed["id"])
    assert f"restore {number}" in shell.text("runs", "experiments", "delete", "churn 日本")
    assert workspace.tracking.search(experiment=[number], state="active").runs == []
    listed = shell.json("runs", "experiments", "list", "--where", "name like 'churn%'", "--state", "all")
    assert [(each["name"], each["state"]) for each in listed["experiments"]] == [("churn 日本", "deleted")]
    workspace.tracking.create_experiment("churn 日本")
    assert "taken by another" in shell.text("runs", "experiments", "restore", number, code=2)
    shell.text("runs", "experiments", "rename", "churn 日本", "newer")
    assert shell.json("runs", "experiments", "restore", number)["state"] == "active"
    assert "no experiment" in shell.text("runs", "experiments", "delete", "chrn", code=2)
