"""Groups of runs, saved views, comparisons over seeds, and what differs between two runs."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.rooms.test_tracking_commands import Shell

from everloop.domain.canonical import canonical
from everloop.domain.runs import Captured
from everloop.errors import InvalidInput, NotFound
from everloop.tracking import records
from everloop.tracking.capture import Code, CodeFile, Environment
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

AUC = {
    "tree": (0.80, 0.82, 0.84),
    "boosted": (0.81, 0.83, 0.84),
    "linear": (0.60, 0.61, 0.60),
}


def made(tracking: Tracking, metrics: dict[str, float], **given: Any) -> str:
    run = tracking.create_run(**given)
    point = records.encode((records.POINTS, metrics, 0, 0))
    tracking.ship(run.run_id, 0, records.batch([point]))
    tracking.finish_run(run.run_id)
    return run.run_id


@pytest.fixture
def repeated(any_workspace: Workspace) -> Tracking:
    """Three models, three seeds each."""
    tracking: Tracking = any_workspace.tracking
    for model, values in AUC.items():
        for seed, value in enumerate(values):
            params = {"model": model, "seed": str(seed)}
            made(tracking, {"auc": value, "loss": math.nan}, name=f"{model}-{seed}", params=params)
    made(tracking, {"auc": 0.9}, name="odd", tags={"team": "ops"})
    return tracking


def test_groups_have_means_with_intervals_and_a_tie_is_a_tie(repeated: Tracking) -> None:
    found = repeated.group_runs(
        ["params.model"], where="params.model is not null", order_by="metrics.auc desc"
    )
    assert [group.values for group in found.groups] == [["boosted"], ["tree"], ["linear"]]
    assert [group.tied for group in found.groups] == [True, True, False]
    tree = found.groups[1].metrics["auc"]
    assert (tree.runs, tree.least, tree.greatest) == (3, 0.80, 0.84)
    assert tree.mean == pytest.approx(0.82)
    assert (tree.low, tree.high) == (pytest.approx(0.7703, abs=1e-4), pytest.approx(0.8697, abs=1e-4))
    assert "loss" not in found.groups[1].metrics  # it was never a number
    assert len(found.groups[1].run_ids) == 3


def test_a_single_run_cannot_be_told_from_others(repeated: Tracking) -> None:
    found = repeated.group_runs(
        ["params.model", "tags.team"], metrics=["metrics.auc"], order_by="metrics.auc desc"
    )
    assert found.groups[0].values == [None, "ops"]
    assert found.groups[0].metrics["auc"].low is None
    assert [group.tied for group in found.groups[1:]] == [None, None, None]
    assert found.runs == 10


def test_what_cannot_be_grouped_is_refused(repeated: Tracking) -> None:
    for by, more in (([], {}), (["metrics.auc"], {}), (["params.model"], {"metrics": ["tags.a"]})):
        with pytest.raises(InvalidInput):
            repeated.group_runs(by, **more)
    with pytest.raises(InvalidInput, match="ranked by"):
        repeated.group_runs(["params.model"], order_by="params.model")


def test_compared_runs_that_repeat_each_other_are_one_side(repeated: Tracking) -> None:
    names = ["tree-0", "linear-0", "tree-1", "linear-1", "tree-2", "linear-2", "boosted-0"]
    found = repeated.compare(names)
    assert [group.runs for group in found.groups] == [[0, 2, 4], [1, 3, 5], [6]]
    assert [group.params for group in found.groups][:2] == [{"model": "tree"}, {"model": "linear"}]
    linear, boosted = (each for each in found.deltas if each.metric == "auc")
    assert linear.delta == pytest.approx(-0.2167, abs=1e-4)
    assert linear.high is not None
    assert linear.high < 0
    assert linear.tie is False
    assert (boosted.low, boosted.tie) == (None, None)
    assert repeated.compare(["tree-0", "tree-1"]).deltas[0].delta == pytest.approx(0.02)


def test_views_are_saved_replaced_and_forgotten(any_workspace: Workspace) -> None:
    tracking: Tracking = any_workspace.tracking
    tracking.save_view("good", where="metrics.auc > .8", columns=["auc"], group_by=["params.model"])
    tracking.save_view("all", state="all")
    again = tracking.save_view(
        "good", where="metrics.auc > .9", order_by=["metrics.auc desc"], nested=True, widths={"auc": 120}
    )
    assert [view.name for view in tracking.views()] == ["all", "good"]
    assert tracking.view("good") == again
    assert (again.columns, again.nested, again.widths) == ([], True, {"auc": 120})
    with pytest.raises(InvalidInput, match="at column 13"):
        tracking.save_view("bad", where="metrics.auc ~ 1")
    with pytest.raises(InvalidInput, match="cannot be shown"):
        tracking.save_view("two\nlines")
    with pytest.raises(NotFound) as caught:
        tracking.view("god")
    assert "good" in caught.value.hint
    tracking.delete_view("good")
    assert [view.name for view in tracking.views()] == ["all"]


class Project:
    """A git repository, and runs captured in it."""

    def __init__(self, workspace: LocalWorkspace) -> None:
        self.tracking: Tracking = workspace.tracking
        self._objects = workspace.objects
        self.folder = workspace.project
        self.folder.mkdir(parents=True, exist_ok=True)
        self._git("init", "-q")

    def commit(self, **files: str) -> str:
        for name, content in files.items():
            (self.folder / f"{name}.py").write_text(content)
            self._git("add", f"{name}.py")
        self._git("-c", "user.name=ann", "-c", "user.email=a@b.c", "commit", "-qm", "x")
        return self._git("rev-parse", "HEAD")

    def run(self, commit: str, packages: list[str], deleted: tuple[str, ...] = (), **files: bytes) -> str:
        kept = [
            CodeFile(f"{name}.py", self._objects.put(content).digest, len(content), "100644")
            for name, content in files.items()
        ]
        code = self._objects.put(canonical(Code(commit, "main", kept, list(deleted), [])))
        place = Environment("3.11.7", "CPython", "Linux", "cpu", 2, packages, {}, {})
        environment = self._objects.put(canonical(place))
        captured = Captured(commit=commit, code=code.digest, environment=environment.digest)
        return self.tracking.create_run(captured=captured).run_id

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_two_runs_differ_in_code_data_packages_parameters_and_metrics(workspace: LocalWorkspace) -> None:
    project = Project(workspace)
    first = project.commit(train="a = 1\nb = 2\n", old="x\n", same="s\n")
    second = project.commit(train="a = 1\nb = 3\n", new="n\n")
    tracking = project.tracking
    one = project.run(first, ["numpy==1.0", "gone==2"], dirty=b"d\n")
    other = project.run(second, ["numpy==1.1"], deleted=("old.py",), dirty=b"e\n", image=b"\0\1")
    tracking.log(one, params={"lr": "0.1"})
    tracking.log(other, params={"lr": "0.2"})
    tracking.consumed(one, ["data:flights@v1", "data:weather@v1"])
    tracking.consumed(other, ["data:flights@v2", "data:weather@v1"])
    for run, value in ((one, 0.5), (other, 0.75)):
        point = records.encode((records.POINT, "auc", value, 0, 0))
        tracking.ship(run, 0, records.batch([point]))

    found = tracking.diff(one, f"run:{other}")

    files = {each.path: each for each in found.code.files}
    assert {path: each.change for path, each in files.items()} == {
        "train.py": "changed",
        "new.py": "added",
        "old.py": "removed",
        "dirty.py": "changed",
        "image.py": "added",
    }
    assert "-b = 2\n+b = 3\n" in files["train.py"].diff
    assert files["train.py"].diff.startswith("--- a/train.py\n+++ b/train.py\n@@")
    assert "-d\n+e\n" in files["dirty.py"].diff
    assert files["image.py"].note == "binary or large"
    assert [(each.key, each.before, each.after) for each in found.data] == [("flights", "v1", "v2")]
    assert [(each.key, each.change) for each in found.packages] == [("gone", "removed"), ("numpy", "changed")]
    assert [(each.key, each.before, each.after) for each in found.params] == [("lr", "0.1", "0.2")]
    assert [(each.key, each.delta) for each in found.metrics] == [("auc", 0.25)]
    assert not found.same


def test_a_run_is_the_same_as_its_repeat(workspace: LocalWorkspace) -> None:
    project = Project(workspace)
    commit = project.commit(train="a = 1\n")
    one, other = (project.run(commit, ["numpy==1.0"], dirty=b"d\n") for _ in range(2))
    found = project.tracking.diff(one, other)
    assert found.same
    assert found.code.files == []


def test_a_commit_that_is_not_here_is_said(workspace: LocalWorkspace) -> None:
    project = Project(workspace)
    commit = project.commit(train="a = 1\n")
    one = project.run(commit, [], dirty=b"no newline")
    other = project.run("f" * 40, [], dirty=b"no newline\n")
    found = project.tracking.diff(one, other)
    assert "ffffffffffff is not in this repository" in found.code.note
    assert "-no newline\n\\ No newline at end of file\n+no newline\n" in found.code.files[0].diff


@pytest.fixture
def shell(
    workspace: LocalWorkspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    tracking: Tracking = workspace.tracking
    for model, values in AUC.items():
        for seed, value in enumerate(values):
            made(tracking, {"auc": value}, name=f"{model}-{seed}", params={"model": model, "seed": str(seed)})
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    return Shell(capsys)


def test_a_wrong_name_gets_the_nearest(shell: Shell) -> None:
    for arguments, named in (
        (["--columns", "modle"], "'model'"),
        (["--columns", "metrics.auk"], "'auc'"),
        (["--order-by", "metrics.auk"], "'auc'"),
        (["--where", "metrics.auk > 1"], "'auc'"),
        (["--group-by", "modle"], "'model'"),
        (["--experiment", "Defalt"], "'Default'"),
        (["--view", "nope"], "everloop runs views"),
    ):
        said = shell.text("runs", "list", *arguments, code=2)
        assert named in said, arguments
        assert len(said.splitlines()) == 2


def test_columns_groups_and_views(shell: Shell) -> None:
    arguments = (
        "runs",
        "list",
        "--columns",
        "params.model,auc,user",
        "--order-by",
        "metrics.auc",
        "--limit",
        "2",
    )
    heads, _, first, *_ = shell.text(*arguments, "--save-view", "worst").splitlines()
    assert heads.split()[-3:] == ["model", "auc", "user"]
    assert first.split()[-3:-1] == ["linear", "0.6"]
    assert shell.json("runs", "views")["views"][0]["columns"] == ["params.model", "auc", "user"]
    text = shell.text("runs", "list", "--view", "worst", "--limit", "1")
    assert "linear" in text
    grouped = shell.text(
        "runs", "list", "--view", "worst", "--group-by", "model", "--order-by", "metrics.auc desc"
    )
    rows = {line.split()[0]: line for line in grouped.splitlines()}
    assert rows["boosted"].endswith("best")
    assert rows["tree"].endswith("tie")
    assert rows["linear"].endswith("worse")
    assert "0.82 ± 0.05" in rows["tree"]
    groups = shell.json("runs", "list", "--group-by", "model")["groups"]
    assert {each["values"][0]: each["runs"] for each in groups} == {"boosted": 3, "linear": 3, "tree": 3}
    shell.text("runs", "views", "--delete", "worst")
    assert shell.json("runs", "views") == {"views": []}


def test_compare_rename_and_diff_commands(shell: Shell) -> None:
    text = shell.text("runs", "compare", "tree-0", "tree-1", "linear-0", "linear-1")
    assert "differs" in text
    assert "2 runs with model=linear" in text
    shell.text("runs", "rename", "tree-0", "oak [bold]")
    assert "oak [bold]" in shell.text("runs", "list")
    found = shell.json("diff", "oak [bold]", "run:" + shell.json("runs", "show", "linear-0")["run"]["run_id"])
    assert (found["kind"], found["params"][0]["key"]) == ("run", "model")
    assert "parameters" in shell.text("diff", "tree-1", "linear-0")
    assert "one kind" in shell.text("diff", "data:flights@v1", "tree-1", code=2)


def test_versions_of_data_differ_by_their_own_rule(shell: Shell, tmp_path: Path) -> None:
    table = tmp_path / "flights.csv"
    for rows in ("a,b\n1,2\n", "a,b\n1,2\n3,4\n"):
        table.write_text(rows)
        shell.json("data", "add", str(table), "--name", "flights")
    found = shell.json("diff", "data:flights@v1", "data:flights@v2")
    assert found == json.loads(json.dumps(shell.json("data", "diff", "flights@v1", "flights@v2")))


def test_a_table_stays_readable_with_very_many_keys_and_long_values(
    shell: Shell, workspace: LocalWorkspace
) -> None:
    params = {f"key{number:03}": "x\n" * 100 for number in range(60)}
    made(workspace.tracking, {}, name="wide\x1b[31m", params=params)
    text = shell.text("runs", "list", "--where", "params.key000 is not null")
    assert "20 more columns can be named with --columns" in text
    heads, _, row, _ = text.splitlines()
    assert "key039" in heads
    assert "key040" not in heads
    assert "\x1b" not in row
    assert "x x x" in row
    assert "…" in row
