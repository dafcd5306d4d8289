"""Stores of MLflow's come over whole: every generation, as a database and as files, beside the ledger and through a server."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everloop.domain.adoption import AdoptedRun, MetricColumns
from everloop.domain.runs import RunRecord
from everloop.errors import InvalidInput, NotFound
from everloop.exchange import bringing
from everloop.exchange.bringing import bring_in
from everloop.exchange.mlflow import ahead
from everloop.exchange.mlflow.ahead import Ahead
from everloop.exchange.mlflow.database import DatabaseSource
from everloop.exchange.mlflow.opening import open_source
from everloop.exchange.source import Head, Report
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

RELEASES = ["1.30.1", "2.9.2", "2.22.0", "3.17.2"]
FORMS = ["mlflow.db", "mlruns"]
PLACE = "/srv/tracking"
"""Where the stores were written."""
NAME = "churn: the first, “quoted” # y"

Unpack = Callable[[str], Path]


def bring(workspace: Workspace, where: Path, *moved: tuple[str, str], **options: Any) -> Report:
    source = open_source(str(where), moved)
    try:
        return bring_in(workspace, source, **options)
    finally:
        source.close()


def named(workspace: Workspace) -> dict[str, RunRecord]:
    return {run.name: run for run in workspace.tracking.search(state="all").runs}


def points(workspace: Workspace, run: RunRecord, key: str) -> list[tuple[int, int, float]]:
    found = workspace.tracking.history(run_id=run.run_id, key=key)
    columns = (
        np.frombuffer(found.steps, "<i8"),
        np.frombuffer(found.times, "<i8"),
        np.frombuffer(found.values, "<f8"),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def edited(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as db:
        assert db.execute(statement, values).rowcount
    db.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("release", RELEASES)
def test_everything_comes_over(workspace: LocalWorkspace, unpacked: Unpack, release: str, form: str) -> None:
    folder = unpacked(release)
    report = bring(workspace, folder / form, (f"{PLACE}/arts", str(folder / "arts")))
    assert (report.skipped, report.changed) == ([], [])

    runs = named(workspace)
    parent = runs["parent"]
    assert parent.experiment == NAME
    assert (parent.status, parent.user, parent.version) == (
        "finished",
        "ann",
        "0123456789abcdef" * 2 + "01234567",
    )
    assert parent.params == {
        "alpha": "0.5",
        "l1/ratio": "0.1",
        "text": "two\nlines, ünïcode 🎈",
        "empty": "",
        "quoted": "'a': \"b\"",
    }
    assert parent.tags["team"] == "a b"
    assert parent.tags["mlflow.note.content"] == "a *note*"
    began = 1_700_000_000_000_000
    assert points(workspace, parent, "loss") == [(n, began + n * 1_500_000, 1.0 / (n + 1)) for n in range(50)]
    odd = [value for _, _, value in points(workspace, parent, "odd")]
    assert math.isnan(odd[0])
    assert odd[1:] == [math.inf, -math.inf]
    assert [(step, value) for step, _, value in points(workspace, parent, "val/rmse")] == [
        (-3, 0.1 + 0.2),
        (-2, 5e-324),
    ]
    assert parent.metrics == {"loss": 0.02, "odd": -math.inf, "val/rmse": 5e-324}
    assert runs["child"].parent == parent.run_id
    assert (runs["fails"].status, runs["deleted"].status, runs["unfinished"].status) == (
        "failed",
        "killed",
        "interrupted",
    )
    assert (runs["deleted"].state, runs["deleted"].params) == ("deleted", {"p": "q"})

    files = {file.path: file for file in workspace.tracking.artifacts(run_id=parent.run_id)}
    assert sorted(files) == ["empty.txt", "notes/hello wörld.txt"]
    assert workspace.objects.read(files["notes/hello wörld.txt"].digest) == b"hello\n"

    experiments = {each.name: each for each in workspace.tracking.experiments(state="all")}
    assert experiments["abandoned"].state == "deleted"
    assert experiments[NAME].tags["mlflow.note.content"].startswith("Two lines\nof notes: a # b, long enough")
    if release != "1.30.1":
        [data] = workspace.tracking.datasets_of(run_ids=[runs["with data"].run_id])[runs["with data"].run_id]
        assert (data.name, data.source, data.context) == (
            "tiny",
            '{"url": "https://example.com/x.csv"}',
            "training",
        )
    if (release, form) != ("1.30.1", "mlruns"):
        check_registry(workspace, release, runs["model"])


def check_registry(workspace: Workspace, release: str, run: RunRecord) -> None:
    models = {model.name: model for model in workspace.registry.models()}
    assert models["Twice is nice"].tags == {"owner": "ann"}
    assert models["Twice is nice"].description == "a model\nthat doubles"
    assert models["empty one"].versions == 0
    third, first = workspace.registry.versions(name="Twice is nice")
    assert (third.version, first.version) == (3, 1)  # the second was deleted, and its number stays taken
    assert (first.stage, first.description, first.tags) == (
        "Production",
        "the first",
        {"checked": "yes: it was"},
    )
    assert first.run == run.run_id
    assert first.aliases == (() if release == "1.30.1" else ("champion",))
    assert first.model.flavour == "python_function"
    assert [field.name for field in first.model.signature.inputs] == ["x"]
    assert "python_model.pkl" in first.files
    if release == "3.17.2":
        [link] = workspace.tracking.models_of_runs(run_ids=[run.run_id])
        model = workspace.tracking.logged_model(model_id=link.model_id)
        assert (model.name, model.source_run, model.tags["k"], link.role) == (
            "model",
            run.run_id,
            "v",
            "output",
        )
        assert first.logged_model == model.model_id
        [prompt] = workspace.registry.versions(name="greet")
        assert prompt.tags["mlflow.prompt.text"] == "Say {{word}} nicely"


@pytest.mark.parametrize("form", FORMS)
def test_twice_is_once(workspace: LocalWorkspace, unpacked: Unpack, form: str) -> None:
    folder = unpacked("3.17.2")
    moved = (f"{PLACE}/arts", str(folder / "arts"))
    first = bring(workspace, folder / form, moved)
    head = workspace.ledger.head()
    again = bring(workspace, folder / form, moved)
    assert workspace.ledger.head() == head
    assert not any(again.imported.values())
    assert again.present["runs"] == first.imported["runs"] == 8
    assert again.present["versions"] == first.imported["versions"] == 3
    assert list(workspace.governance.verify().faults) == []


def test_through_a_server_too(
    any_workspace: Workspace, unpacked: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "everloop.exchange.bringing.POINTS_IN_A_MESSAGE", 40
    )  # some points go by the object store
    folder = unpacked("3.17.2")
    report = bring(any_workspace, folder / "mlruns")
    assert (report.imported["runs"], report.imported["points"], report.skipped) == (8, 59, [])
    assert len(points(any_workspace, named(any_workspace)["parent"], "loss")) == 50
    assert len(any_workspace.registry.versions(name="Twice is nice")) == 2


def test_numbers_of_experiments_are_kept_where_they_are_free(
    workspace: LocalWorkspace, unpacked: Unpack
) -> None:
    workspace.tracking.create_experiment(name="ours")
    bring(workspace, unpacked("2.9.2") / "mlflow.db")
    numbers = {each.name: each.id for each in workspace.tracking.experiments(state="all")}
    assert numbers == {"Default": 0, "ours": 1, "abandoned": 2, NAME: 3}
    assert workspace.tracking.create_experiment(name="next").id == 4


def test_on_postgres_too(tmp_path: Path, unpacked: Unpack, ledger_url: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "everloop.toml").write_text(f'ledger = "{ledger_url}"\n')
    with LocalWorkspace(project) as workspace:
        report = bring(workspace, unpacked("3.17.2") / "mlruns")
        assert (report.imported["runs"], report.skipped) == (8, [])
        assert len(points(workspace, named(workspace)["parent"], "loss")) == 50
        bring(workspace, unpacked("2.9.2") / "mlflow.db")
        numbers = [each.id for each in workspace.tracking.experiments(state="all")]
        assert workspace.tracking.create_experiment(name="next").id == max(numbers) + 1
        assert not any(bring(workspace, unpacked("3.17.2") / "mlruns").imported.values())


def test_an_experiment_joins_the_one_of_its_name(workspace: LocalWorkspace, unpacked: Unpack) -> None:
    ours = workspace.tracking.create_experiment(name=NAME, tags={"mlflow.note.content": "ours"})
    report = bring(workspace, unpacked("2.9.2") / "mlflow.db")
    assert report.present["experiments"] == 2
    assert named(workspace)["parent"].experiment_id == ours.id
    assert workspace.tracking.experiment(experiment=NAME).tags["mlflow.note.content"] == "ours"
    workspace.tracking.rename_experiment(experiment=NAME, name="other")
    bring(workspace, unpacked("2.9.2") / "mlflow.db")  # it is known under its new name
    assert len(workspace.tracking.experiments(state="all")) == 3


def test_only_some_experiments(workspace: LocalWorkspace, unpacked: Unpack) -> None:
    report = bring(workspace, unpacked("2.9.2") / "mlflow.db", only=["abandoned"])
    assert report.imported["runs"] == 1
    assert workspace.registry.models() == []
    with pytest.raises(InvalidInput, match="no experiment 'abandonned'"):
        bring(workspace, unpacked("2.9.2") / "mlflow.db", only=["abandonned"])


class TestArtifacts:
    def test_what_was_not_found_comes_with_a_later_import(
        self, workspace: LocalWorkspace, unpacked: Unpack
    ) -> None:
        folder = unpacked("3.17.2")
        shutil.rmtree(folder / "mlruns")
        report = bring(workspace, folder / "mlflow.db")
        [left] = [each for each in report.skipped if "churn" in each.name]
        assert left.kind == "artifacts"
        assert f"--artifacts {PLACE}/arts/churn_first=FOLDER" in left.reason
        [first] = [each for each in workspace.registry.versions(name="Twice is nice") if each.version == 1]
        assert first.files == {}

        report = bring(workspace, folder / "mlflow.db", (f"{PLACE}/arts", str(folder / "arts")))
        assert (report.imported["artifacts"], report.imported["runs"]) == (2, 0)
        assert len(workspace.tracking.artifacts(run_id=named(workspace)["parent"].run_id)) == 2
        [first] = [each for each in workspace.registry.versions(name="Twice is nice") if each.version == 1]
        assert "MLmodel" in first.files

    def test_a_cloud_address_is_named(self, workspace: LocalWorkspace, unpacked: Unpack) -> None:
        database = unpacked("2.22.0") / "mlflow.db"
        edited(database, "UPDATE runs SET artifact_uri = 's3://bucket/7/' || run_uuid || '/artifacts'")
        report = bring(workspace, database)
        [left] = [each for each in report.skipped if each.kind == "artifacts"]
        assert left.name.startswith("s3://bucket/7 (8 of")
        assert "s3:// is not read" in left.reason

    def test_an_address_cannot_name_any_folder_of_this_machine(
        self, workspace: LocalWorkspace, unpacked: Unpack, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "key").write_text("k")
        database = unpacked("2.22.0") / "mlflow.db"
        edited(database, "UPDATE runs SET artifact_uri = ?", str(tmp_path / "secret"))
        report = bring(workspace, database)
        assert report.imported["artifacts"] == 0
        assert any("does not name it" in each.reason for each in report.skipped)

    def test_links_do_not_lead_out(self, workspace: LocalWorkspace, unpacked: Unpack, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("k")
        root = unpacked("2.22.0") / "mlruns"
        [artifacts] = [file.parent for file in root.rglob("empty.txt")]
        (artifacts / "key").symlink_to(tmp_path / "key")
        (artifacts / "folder").symlink_to(tmp_path)
        (artifacts / "inside").symlink_to(artifacts / "empty.txt")
        (artifacts.parent / "params" / "key").symlink_to(tmp_path / "key")
        os.mkfifo(artifacts / "pipe")
        report = bring(workspace, root)
        parent = named(workspace)["parent"]
        assert "key" not in parent.params
        paths = [file.path for file in workspace.tracking.artifacts(run_id=parent.run_id)]
        assert paths == ["empty.txt", "inside", "notes/hello wörld.txt"]
        assert sorted(each.name.partition("/")[2] for each in report.skipped) == [
            "folder",
            "key",
            "key",
            "pipe",
        ]


class Interrupted:
    """A source that breaks off while it is read."""

    def __init__(self, source: Any, after: int) -> None:
        self._source, self._left = source, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for run in self._source.read(heads):
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
            yield run


def test_an_interrupted_import_goes_on(
    workspace: LocalWorkspace, unpacked: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloop.exchange.bringing.RUNS_AT_ONCE", 2)
    database = unpacked("2.22.0") / "mlflow.db"
    with pytest.raises(KeyboardInterrupt):
        bring_in(workspace, Interrupted(open_source(str(database)), 5))
    assert len(named(workspace)) == 4  # whole batches
    report = bring(workspace, database)
    assert (report.present["runs"], report.imported["runs"]) == (4, 4)
    assert len(points(workspace, named(workspace)["parent"], "loss")) == 50


def test_a_run_that_went_on_is_brought_up_to_date(workspace: LocalWorkspace, unpacked: Unpack) -> None:
    database = unpacked("2.22.0") / "mlflow.db"
    bring(workspace, database)
    run = named(workspace)["unfinished"]
    edited(
        database,
        "UPDATE runs SET status = 'FINISHED', end_time = 1800000000000 WHERE run_uuid = ?",
        run.run_id,
    )
    columns = "(key, value, timestamp, run_uuid, step, is_nan)"
    edited(database, f"INSERT INTO metrics {columns} VALUES ('m', 4, 1700000000001, ?, 1, 0)", run.run_id)
    report = bring(workspace, database)
    assert report.imported["continued"] == 1
    again = named(workspace)["unfinished"]
    assert (again.status, again.metrics) == ("finished", {"m": 4.0})
    assert again.end_time == datetime.fromtimestamp(1_800_000_000, UTC)
    assert len(points(workspace, again, "m")) == 2


def test_another_store_with_the_same_model_clashes(workspace: LocalWorkspace, unpacked: Unpack) -> None:
    bring(workspace, unpacked("2.22.0") / "mlflow.db")
    report = bring(workspace, unpacked("3.17.2") / "mlflow.db", files=False)
    assert [(each.name, each.reason) for each in report.skipped if each.kind == "model"] == [
        ("Twice is nice version 1", "another one here has that number"),
        ("Twice is nice version 3", "another one here has that number"),
        ("Twice is nice alias champion", "it means version 1 here"),
    ]


class TestWhatDoesNotFit:
    def test_keys_and_values(self, workspace: LocalWorkspace, unpacked: Unpack) -> None:
        database = unpacked("2.22.0") / "mlflow.db"
        edited(database, "UPDATE params SET key = 'al=pha' WHERE key = 'alpha'")
        edited(database, "UPDATE params SET value = ? WHERE key = 'text'", "x" * 7_000)
        edited(database, "UPDATE metrics SET key = 'loss (val)' WHERE key = 'loss'")
        edited(database, "UPDATE metrics SET timestamp = -5 WHERE key = 'acc'")
        report = bring(workspace, database)
        parent = named(workspace)["parent"]
        assert parent.params["al_pha"] == "0.5"
        assert len(parent.params["text"]) == 6_000
        assert len(points(workspace, parent, "loss _val_")) == 50
        assert [each.change for each in report.changed] == [
            "called al_pha here",
            "cut to 6000 of 7000 characters",
            "called loss _val_ here",
        ]

    def test_a_run_without_its_description_is_named_and_the_rest_comes(
        self, workspace: LocalWorkspace, unpacked: Unpack
    ) -> None:
        root = unpacked("2.22.0") / "mlruns"
        metas = sorted(file for file in root.glob("*/*/meta.yaml") if file.parent.parent.name.isdigit())
        metas[0].write_text("")
        metas[1].unlink()
        metas[2].write_text("run_id: [unclosed")
        report = bring(workspace, root)
        assert report.imported["runs"] == 5
        reasons = sorted(each.reason for each in report.skipped if each.kind == "run")
        assert reasons[0].startswith("its meta.yaml cannot be read: line ")
        assert reasons[1] == "its meta.yaml is empty"
        assert reasons[2] == "there is no meta.yaml in its folder"

    def test_a_line_that_is_no_point(self, workspace: LocalWorkspace, unpacked: Unpack) -> None:
        root = unpacked("2.22.0") / "mlruns"
        [metric] = root.glob("*/*/metrics/loss")
        metric.write_text(metric.read_text() + "17 x 3\n1700000000000 0.5\n")
        report = bring(workspace, root)
        assert [each.reason for each in report.skipped] == ["line 51 is no point: '17 x 3'"]
        assert (
            len(points(workspace, named(workspace)["parent"], "loss")) == 51
        )  # the oldest files have no steps


class TestRefused:
    def test_what_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "text.db").write_text("no database")
        sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE runs (x)").connection.close()
        for name, kind, said in (
            ("text.db", InvalidInput, "is no SQLite database"),
            ("other.db", InvalidInput, "it has no table 'experiments'"),
            ("nowhere", NotFound, "there is no file or folder"),
            ("", InvalidInput, "is no mlruns folder"),
        ):
            with pytest.raises(kind, match=said):
                open_source(str(tmp_path / name))

    def test_a_database_that_is_cut_off(self, workspace: LocalWorkspace, unpacked: Unpack) -> None:
        database = unpacked("3.17.2") / "mlflow.db"
        data = database.read_bytes()
        database.write_bytes(data[: len(data) // 3])
        with pytest.raises(InvalidInput, match="cannot be read"):
            bring(workspace, database)

    def test_other_databases(self) -> None:
        with pytest.raises(InvalidInput, match="of the kind mysql are not read"):
            open_source("mysql://host/mlflow")


@pytest.mark.parametrize("lives", [True, False])
def test_what_is_read_ahead_is_what_is_there(
    workspace: LocalWorkspace, unpacked: Unpack, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    """Two runs a batch, the next two being read by another process meanwhile, which dies or does not."""
    monkeypatch.setattr(ahead, "LARGE", 0)
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(bringing, "RUNS_AT_ONCE", 2)
    taken: list[dict[str, MetricColumns] | None] = []
    take, popen = Ahead.take, subprocess.Popen

    def counted(self: Ahead, runs: Sequence[str]) -> dict[str, MetricColumns] | None:
        taken.append(take(self, runs))
        return taken[-1]

    monkeypatch.setattr(Ahead, "take", counted)
    if not lives:
        monkeypatch.setattr(
            ahead.subprocess, "Popen", lambda command, **pipes: popen([sys.executable, "-c", ""], **pipes)
        )
    database = unpacked("3.17.2") / "mlflow.db"
    source = DatabaseSource(database)
    expected = source.metrics_of([head.given for head in source.heads()])
    source.close()
    assert expected
    bring(workspace, database)
    assert len(taken) > 3
    assert [each is not None for each in taken[1:]] == [lives] * (len(taken) - 1)
    for each in taken[1:] if lives else []:
        assert each is not None
        assert {run: metrics.points for run, metrics in each.items()} == {
            run: expected[run].points for run in each
        }
    parent = named(workspace)["parent"]
    assert parent.metrics == {"loss": 0.02, "odd": -math.inf, "val/rmse": 5e-324}
    assert len(points(workspace, parent, "loss")) == 50


def test_what_a_run_logs_before_it_ends_is_not_missed(
    unpacked: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its points were read ahead while it was running; by the time it is looked at it has logged one more and ended."""
    database = unpacked("3.17.2") / "mlflow.db"
    source = DatabaseSource(database)
    [head] = [each for each in source.heads() if each.status == "interrupted"]
    early = source.metrics_of([head.given]) or {}
    monkeypatch.setattr(Ahead, "take", lambda self, runs: dict(early))
    point = (
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('late', 2.5, 1, ?, 7, 0)"
    )
    edited(database, point, head.given)
    edited(database, "UPDATE runs SET status = 'FINISHED' WHERE run_uuid = ?", head.given)
    [run] = source.read([head])
    source.close()
    assert run.status == "finished"
    assert "late" in run.metrics.keys


def test_long_batches_go_in_several_calls(
    workspace: LocalWorkspace, unpacked: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everloop.exchange.bringing.BYTES_IN_A_MESSAGE", 2_500)
    calls: list[int] = []
    adopt = workspace.tracking.adopt_runs

    def counted(**given: Any) -> Any:
        calls.append(len(given["found"]))
        return adopt(**given)

    monkeypatch.setattr(workspace.tracking, "adopt_runs", counted)
    assert bring(workspace, unpacked("3.17.2") / "mlruns").imported["runs"] == sum(calls) == 8
    assert len(calls) > 3
