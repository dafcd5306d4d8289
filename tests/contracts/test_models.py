"""Logged models and the catalogue promise the same on every database."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from everloop.domain.logged_models import LoggedModelOrder, MeasuredPoint
from everloop.domain.models import ModelState, Stage
from everloop.domain.runs import ArtifactRecord
from everloop.domain.traces import Trace
from everloop.errors import Conflict, NotFound
from everloop.workspace.local import LocalWorkspace


@pytest.fixture(params=["sqlite", "postgres"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalWorkspace]:
    ledger = request.getfixturevalue("ledger_url") if request.param == "postgres" else ""
    (tmp_path / "everloop.toml").write_text(f'ledger = "{ledger}"\n')
    with LocalWorkspace(tmp_path) as made:
        yield made


def test_logged_models_are_kept_and_found(workspace: LocalWorkspace) -> None:
    tracking = workspace.tracking
    stored = workspace.objects.put(b"bytes")
    ids = []
    for name, value in (("Ä", 0.5), ("a", math.nan), ("B", -math.inf), ("c", None)):
        made = tracking.create_logged_model("0", name, "tree", params={"lr": "0.1"}, tags={"n": name})
        tracking.add_logged_model_files(made.model_id, [ArtifactRecord("a/b", stored.digest, stored.size)])
        if value is not None:
            point = MeasuredPoint.of("rmse", value, 1, datetime(2026, 1, 1, tzinfo=UTC), made.model_id)
            tracking.measure_models([point, point])
        ids.append(made.model_id)
    found = tracking.search_logged_models(["0"], order_by=[LoggedModelOrder("metrics.rmse")], limit=3)
    assert [each.name for each in found.models] == ["B", "Ä", "a"]
    assert [len(each.measured) for each in found.models] == [1, 1, 1]
    assert found.models[0].metrics == {"rmse": -math.inf}
    assert [each.name for each in tracking.search_logged_models(["0"], "name IN ('Ä', 'c')").models] == [
        "c",
        "Ä",
    ]
    run = tracking.create_run(experiment="")
    tracking.link_models(run.run_id, inputs=ids[:1], outputs={ids[1]: 7, ids[2]: 8})
    linked = {each.model_id: (each.role, each.step) for each in tracking.models_of_runs([run.run_id])}
    assert linked == {ids[0]: ("input", 0), ids[1]: ("output", 7), ids[2]: ("output", 8)}
    tracking.delete_logged_model(ids[0])
    with pytest.raises(NotFound):
        tracking.logged_model_files(ids[0])


def test_the_catalogue_is_kept_and_found(workspace: LocalWorkspace) -> None:
    registry = workspace.registry
    for name in ("b", "A", "c"):
        registry.create_model(name, tags={"k": name})
        for number in range(3):
            registry.add_version(name, source=f"s3://{name}/{number}", tags={"k": str(number)})
    assert [each.name for each in registry.search_models("tags.k != 'c'").models] == ["A", "b"]
    assert len(registry.search_versions("source_path LIKE '%/1' AND version_number >= 2").versions) == 3
    registry.set_stage("A@v1", Stage.STAGING)
    registry.claim_alias("A@v2", "best-one")
    assert [(each.version, each.stage) for each in registry.newest_versions("A")] == [(1, "Staging"), (3, "")]
    registry.rename_model("A", "D")
    assert registry.version("A@best-one").reference == "model:D@v2"
    assert registry.version("D@v2").tags == {"k": "1"}
    with pytest.raises(Conflict):
        registry.rename_model("D", "b")
    registry.delete_model("D")
    assert registry.version("model:D@v2").state is ModelState.DELETED
    registry.create_model("D")
    assert registry.add_version("D", source="s3://x").version == 4
    assert [each.name for each in registry.models()] == ["D", "b", "c"] or [
        each.name for each in registry.models()
    ] == ["b", "c", "D"]  # as the database sorts names


def test_traces_are_kept_and_found(workspace: LocalWorkspace) -> None:
    tracking = workspace.tracking
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(3):
        made = Trace(
            f"tr-{number}",
            0,
            start + timedelta(seconds=number),
            "OK" if number else "ERROR",
            duration=number * 1_000 or None,
            request="why?",
            facts={"mlflow.sourceRun": "r1"},
            tags={"n": str(number), "mlflow.traceName": "answer"},
        )
        assert tracking.record_trace(made).tags == made.tags
    found = tracking.search_traces(["0"], "run_id = 'r1' AND name = 'answer'", ["execution_time DESC"], 2)
    assert [each.id for each in found.traces] == ["tr-2", "tr-1"]
    rest = tracking.search_traces(
        ["0"], "run_id = 'r1' AND name = 'answer'", ["execution_time DESC"], 2, found.next_page or ""
    )
    assert ([each.id for each in rest.traces], rest.next_page) == (["tr-0"], None), (
        "what goes on still is last"
    )
    assert [each.id for each in tracking.search_traces(["0"], limit=1).traces] == ["tr-2"]
    said = tracking.assess_trace("tr-1", {"assessment_name": "right", "feedback": {"value": True}})
    tracking.assess_trace("tr-1", {"rationale": "so"}, said.id)
    (kept,) = tracking.trace("tr-1").assessments
    assert kept.said == {"assessment_name": "right", "feedback": {"value": True}, "rationale": "so"}
    stored = workspace.objects.put(b"[]")
    tracking.add_trace_files("tr-1", [ArtifactRecord("traces.json", stored.digest, stored.size)])
    assert tracking.delete_traces("0", ["tr-1", "tr-2", "nobody"]) == 2
    assert [each.id for each in tracking.traces(["tr-0", "tr-1"])] == ["tr-0"]
    assert not [holder for _, holder, _ in workspace.ledger.held_objects() if holder == "trace tr-1"]
