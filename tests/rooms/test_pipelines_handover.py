"""Results of steps go from one workspace to another: what a colleague or CI computed is not computed again, and nothing is
believed that does not fit together."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner

from everloop.cli.main import cli, main
from everloop.client.ambient import using
from everloop.domain.canonical import canonical
from everloop.domain.handover import RESULT_NOTES, SentResults
from everloop.domain.pipelines import Component
from everloop.errors import NotFound
from everloop.pipelines.handover.shelves import ResultShelf
from everloop.pipelines.outcome import PipelineRun
from everloop.store.objects import ContentStore, open_objects
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

STEPS = """
    import everloop as ev
    import numpy as np
    import pyarrow as pa

    @ev.step
    def load(table: str) -> pa.Table:
        return ev.data(table).to_arrow()

    @ev.step
    def newest() -> int:
        return ev.data("rows").to_arrow().num_rows

    @ev.step
    def scaled(factor: float) -> list:
        return [factor, np.arange(4.0) * factor]

    @ev.step
    def fit(table: pa.Table, weights: list) -> dict:
        run = ev.active_run()
        for step in range(3):
            run.log_metric("loss", 1.0 / (step + 1), step=step)
        run.log_table(table, "seen.parquet")
        return {"weight": float(weights[1].sum()), "rows": table.num_rows}

    @ev.pipeline
    def train(factor: float = 2.0, rows: str = "data:rows"):
        return fit(load(rows), scaled(factor)), newest()
    """
ROWS = pa.table({"x": [1, 2, 3]})


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[ContentStore]:
    store = open_objects(str(tmp_path / "shelf"))
    yield store
    store.close()


@contextmanager
def opened(folder: Path) -> Iterator[LocalWorkspace]:
    folder.mkdir(exist_ok=True)
    (folder / "steps_of_two.py").write_text(textwrap.dedent(STEPS))
    workspace = LocalWorkspace(folder)
    with workspace, using(workspace):
        yield workspace


def run(workspace: Workspace) -> PipelineRun:
    sys.modules.pop("steps_of_two", None)
    done = workspace.pipelines.run("steps_of_two.py:train", executor="inline")
    assert done.status == "finished", done.error
    return done


def test_what_one_has_computed_the_other_uses(tmp_path: Path, shelf: ContentStore) -> None:
    with opened(tmp_path / "ann") as ann:
        ann.data.add(ROWS, "rows")
        first = run(ann)
        planned = ann.pipelines.push_results("train", ResultShelf(shelf), dry_run=True)
        assert (planned.added, planned.present, planned.dry_run) == (4, 0, True)
        assert list(shelf.digests()) == []
        pushed = ann.pipelines.push_results("train", ResultShelf(shelf))
        assert (pushed.added, pushed.refused, pushed.objects) == (4, [], planned.objects)
        again = ann.pipelines.push_results("train", ResultShelf(shelf))
        assert (again.added, again.present, again.bytes) == (0, 4, 0)
        user = ann.tracking.run(first.run_id).user
    with opened(tmp_path / "ben") as ben:
        # The same number, other rows: what was computed from Ann's is nothing to Ben.
        ben.data.add(pa.table({"x": [9]}), "rows")
        found = ben.pipelines.pull_results("train", ResultShelf(shelf))
        assert found.added == 1  # `scaled` read no data
        assert {each.reason for each in found.refused} == {
            "it was computed from data:rows@v1, which has another content here"
        }
    with opened(tmp_path / "cat") as cat:
        assert {each.reason for each in cat.pipelines.pull_results("train", ResultShelf(shelf)).refused} == {
            "it was computed from data:rows@v1, which is not here"
        }
        cat.data.add(ROWS, "rows")
        pulled = cat.pipelines.pull_results("train", ResultShelf(shelf))
        assert (pulled.added, pulled.present, pulled.refused) == (3, 1, [])
        second = run(cat)
        assert (second.executed, second.value()) == (0, first.value())
        # Who computed it, when and with what is here as well.
        fitted = second.step("fit").run
        assert fitted is not None
        assert fitted == first.step("fit").run
        detail = cat.tracking.describe(fitted)
        assert (detail.run.user, detail.run.tags["everloop.origin"]) == (user, str(tmp_path / "ann"))
        assert detail.run.metrics["loss"] == pytest.approx(1 / 3)
        assert cat.tracking.history(fitted, "loss").count == 3
        assert [each.path for each in detail.artifacts] == ["seen.parquet"]
        assert cat.objects.missing({detail.artifacts[0].digest, detail.captured.environment}) == set()
        loaded = second.step("load").run
        assert loaded is not None
        assert cat.tracking.describe(loaded).consumed == ["data:rows@v1"]
        assert cat.governance.verify().ok
        cat.data.gc(grace=0.0)
        assert run(cat).executed == 0


def test_what_does_not_fit_together_is_refused(tmp_path: Path, shelf: ContentStore) -> None:
    with opened(tmp_path / "ann") as ann:
        ann.data.add(ROWS, "rows")
        run(ann)
        ann.pipelines.push_results("train", ResultShelf(shelf))
    (note,) = (msgspec.json.decode(each, type=SentResults) for _, each in shelf.notes(RESULT_NOTES))
    with opened(tmp_path / "ben") as ben:
        ben.data.add(ROWS, "rows")
        for _, stored in [(each, shelf.read(each)) for each in note.needs]:
            ben.objects.put(stored)

        def refusals(sent: SentResults) -> set[str]:
            said = ben.pipelines.receive_results(sent)
            return {each.reason for each in said.refused} | ({"taken"} if said.added else set())

        def changed(**fields: object) -> SentResults:
            results = [msgspec.structs.replace(each, **fields) for each in note.results]
            return msgspec.structs.replace(note, results=results)

        (scaled,) = (each.result.value for each in note.results if each.result.step.endswith("scaled"))
        lie = msgspec.structs.replace(scaled, tree=scaled.tree.replace("2.0", "7.0", 1))
        (liar,) = (each for each in note.results if each.result.value == scaled)
        forged = msgspec.structs.replace(liar, result=msgspec.structs.replace(liar.result, value=lie))
        assert refusals(msgspec.structs.replace(note, results=[forged])) == {
            "its value is not the one that its digest names"
        }
        other = (Component("parameter", "factor", "3.0"),)
        assert refusals(changed(components=other)) == {"its key is not that of its code and arguments"}
        assert refusals(msgspec.structs.replace(note, code={})) == {
            "its code is not the code that its key names"
        }
        assert refusals(msgspec.structs.replace(note, runs=[])) == {
            "the run that computed it did not come along"
        }
        assert refusals(note) == {"taken"}


def test_a_server_takes_and_gives(
    tmp_path: Path, workspace: LocalWorkspace, any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "ann") as ann:
        ann.data.add(ROWS, "rows")
        first = run(ann)
        ann.data.push("rows", any_workspace.data)
        pushed = ann.pipelines.push_results("train", any_workspace.pipelines)
        assert (pushed.added, pushed.refused) == (4, [])
    with opened(tmp_path / "ben") as ben:
        ben.data.pull("rows", any_workspace.data)
        with pytest.raises(NotFound, match="no pipeline 'trian' has run"):
            ben.pipelines.pull_results("trian", ann.pipelines)
        pulled = ben.pipelines.pull_results("train", any_workspace.pipelines)
        assert pulled.added == 4
        assert run(ben).value() == first.value()


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path / "ann") as ann:
        ann.data.add(ROWS, "rows")
        run(ann)
    shutil.copytree(tmp_path / "ann", tmp_path / "ben", ignore=shutil.ignore_patterns(".everloop"))
    with opened(tmp_path / "ben") as ben:
        ben.data.add(ROWS, "rows")

    def said(who: str, *arguments: str) -> dict[str, object]:
        monkeypatch.setenv("EVERLOOP_WORKSPACE", str(tmp_path / who))
        out = CliRunner().invoke(cli, ["pipelines", *arguments, "--json"], catch_exceptions=False)
        assert out.exit_code == 0, out.output
        return msgspec.json.decode(out.stdout, type=dict[str, object])

    shelf = str(tmp_path / "shelf")
    assert said("ann", "push", "train", "--to", shelf, "--dry-run")["added"] == 4
    assert said("ann", "push", "--to", shelf)["added"] == 4
    found = said("ben", "pull", "--from", shelf)
    assert (found["added"], found["refused"]) == (4, [])
    with opened(tmp_path / "ben") as ben:
        assert run(ben).executed == 0

    # What is old is taken down, and its bytes can be freed; what came later stays, also where both came in one note.
    assert said("ann", "rm", "--at", shelf, "--older-than", "1d") == {
        "pipelines": [{"pipeline": "train", "removed": 0, "left": 4, "dry_run": False}],
        "removed": 0,
    }
    with closing(open_objects(shelf)) as store:
        ((name, note),) = store.notes(RESULT_NOTES)
        sent = msgspec.json.decode(note, type=SentResults)
        old, *new = sent.results
        long_ago = msgspec.structs.replace(old.result, time=old.result.time - timedelta(days=2))
        aged = msgspec.structs.replace(sent, results=[msgspec.structs.replace(old, result=long_ago), *new])
        store.drop_note(name)
        store.put_note(name, canonical(aged))
    assert said("ann", "rm", "train", "--at", shelf, "--older-than", "1d", "--dry-run")["removed"] == 1
    assert said("ann", "rm", "--at", shelf, "--older-than", "1d")["removed"] == 1
    with closing(open_objects(shelf)) as store:
        ((_, note),) = store.notes(RESULT_NOTES)
        left = msgspec.json.decode(note, type=SentResults)
        assert {each.id for each in left.results} == {each.id for each in new}
        assert not store.missing(left.needs)
    assert said("ann", "push", "--to", shelf)["added"] == 1
    assert said("ann", "rm", "train", "--at", shelf)["removed"] == 4
    with closing(open_objects(shelf)) as store:
        assert list(store.notes(RESULT_NOTES)) == []
    for wrong, told in (
        (["rm", "--at", shelf], "name a pipeline, or say --older-than"),
        (["rm", "train", "--at", shelf], "has no results of a pipeline 'train'"),
        (["rm", "train", "--at", str(tmp_path / "ann")], "is a workspace, not a shelf"),
    ):
        assert main(["pipelines", *wrong]) == 2
        assert told in capfd.readouterr().err
