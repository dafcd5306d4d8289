"""Traces are found by their steps and by what was said of them, on SQLite and on Postgres."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.workspaces import FakeClock

from everloop.domain.runs import ArtifactRecord
from everloop.domain.traces import Trace
from everloop.errors import InvalidInput, NotFound
from everloop.workspace.local import LocalWorkspace


@pytest.fixture(params=["sqlite", "postgres"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[LocalWorkspace]:
    project = tmp_path / "project"
    project.mkdir()
    if request.param == "postgres":
        (project / "everloop.toml").write_text(f'ledger = "{request.getfixturevalue("ledger_url")}"\n')
    with LocalWorkspace(project, clock=clock) as opened:
        yield opened


def record(workspace: LocalWorkspace, name: str, spans: list[dict[str, Any]]) -> None:
    """A trace whose steps are in its file, as a client of MLflow sends it."""
    number = workspace.tracking.experiment("Default").id
    made = Trace(name, number, workspace.clock(), "OK", duration=500_000, tags={"word": name})
    workspace.tracking.record_trace(made)
    stored = workspace.objects.put(msgspec.json.encode({"spans": spans}))
    workspace.tracking.add_trace_files(name, [ArtifactRecord("traces.json", stored.digest, stored.size)])


def step(name: str, status: str = "OK", **attributes: str) -> dict[str, Any]:
    said = {key: msgspec.json.encode(value).decode() for key, value in attributes.items()}
    return {"name": name, "status": {"code": f"STATUS_CODE_{status}"}, "attributes": said}


def test_traces_are_found(workspace: LocalWorkspace, clock: FakeClock) -> None:
    tracking = workspace.tracking
    record(workspace, "a", [step("ask", model="tiny"), step("look", "ERROR", kind="b%c")])
    clock.advance(seconds=1)
    record(workspace, "b", [step("ask", "ERROR", model="large"), step("look", kind="x")])
    clock.advance(seconds=1)
    record(workspace, "c", [])
    right = tracking.assess_trace("a", {"assessment_name": "right", "feedback": {"value": True}})
    tracking.assess_trace("b", {"assessment_name": "right", "feedback": {"value": False}})
    tracking.assess_trace("b", {"assessment_name": "score", "feedback": {"value": 4}})
    tracking.assess_trace("a", {"assessment_name": "score", "feedback": {"value": 2.5}})
    tracking.assess_trace("a", {"assessment_name": "score", "feedback": {"value": 9}})
    tracking.assess_trace("c", {"assessment_name": "wanted", "expectation": {"value": "C"}})
    run = tracking.create_run(experiment="Default").run_id
    tracking.link_traces(["c", "nobody"], run=run, prompts=["greet/1"])
    tracking.link_traces(["c"], run=run)

    def found(where: str, *order: str) -> str:
        return "".join(each.id for each in tracking.search_traces(["Default"], where, list(order)).traces)

    assert found("span.name = 'ask'") == "ba"
    # Tests that must all hold, hold for one step.
    assert found("span.name = 'ask' and span.status = 'ERROR'") == "b"
    assert (
        found("word = 'a' or span.name = 'look' and span.status = 'ERROR'".replace("word", "tags.word"))
        == "a"
    )
    assert found("not span.name = 'ask'") == "c"
    assert found("span.attributes.model = 'tiny'") == "a"
    assert found("span.attributes.model in ('tiny', 'large') and span.attributes.kind is null") == ""
    assert found("span.attributes.nope is null") == "cba"
    assert found("span.content like '%b%'") == "ba"
    assert found("text ilike '%TINY%'") == "a"
    assert (
        found("trace.text RLIKE 't[aeiou]ny' or span.name rlike '^l..k$' and span.status rlike '^(?:OK)?$'")
        == "ba"
    )
    assert found("span.attributes.model rlike '^(?:large|huge)$'") == "b"
    assert found("feedback.right = 'true'") == "a"
    assert found("feedback.right != 'true'") == "b"
    assert found("feedback.right is null") == "c"
    assert found("feedback.score > 3") == "ba"
    assert found("feedback.score < 3") == "a"
    assert found("feedback.score = '4'") == "b"
    assert found("feedback.score * 2 > 17") == "a"  # reckoned with: what was said last
    assert found("", "feedback.score desc") == "abc"
    assert found("expectation.wanted = 'C'") == "c"
    assert found(f"run_id = '{run}'") == "c"
    assert found("prompt = 'greet/1'") == "c"
    ended = clock().isoformat()
    assert found(f"end_time > '{ended}'") == "c"
    tracking.assess_trace(
        "a", {"assessment_name": "right", "feedback": {"value": "no"}, "overrides": right.id}
    )
    assert (found("feedback.right = 'true'"), found("feedback.right = 'no'")) == ("", "a")
    with pytest.raises(InvalidInput, match="Feedback assessment"):
        tracking.assess_trace("a", {"expectation": {"value": 1}}, right.id)
    with pytest.raises(InvalidInput, match="a span has no"):
        found("span.nope = 'x'")
    with pytest.raises(NotFound):
        tracking.link_traces(["a"], run="0" * 32)
    record(workspace, "a", [step("anew")])
    assert (found("span.name = 'ask'"), found("span.name = 'anew'")) == ("b", "a")
    assert tracking.delete_traces("Default", ["a", "c"]) == 2
    assert found("") == "b"
    assert workspace.governance.verify().faults == []


def test_zero_characters_stop_no_search(workspace: LocalWorkspace) -> None:
    tracking = workspace.tracking
    record(workspace, "a", [step("as\0k", k="v\0w"), {"name": "x\0", "attributes": {"k\0": "not \0 json"}}])
    whole = tracking.trace("a")
    tracking.record_trace(msgspec.structs.replace(whole, facts={"f\0": "a\0b"}))
    tracking.assess_trace("a", {"assessment_name": "n\0", "feedback": {"value": "t\0"}})
    for where in (
        "span.name = 'ask' and span.attributes.k = 'vw'",
        "span.attributes.k = 'not  json'",
        "span.content like '%vw%'",
        "metadata.f = 'ab'",
        "feedback.n = 't'",
    ):
        assert [each.id for each in tracking.search_traces(["Default"], where).traces] == ["a"], where


def test_what_is_no_file_of_steps_is_a_file(workspace: LocalWorkspace) -> None:
    record(workspace, "a", [])
    for content in (
        b"not json",
        b"[1]",
        b'{"spans": 3}',
        b'{"spans": [1, {"name": null, "attributes": "x"}]}',
    ):
        stored = workspace.objects.put(content)
        workspace.tracking.add_trace_files("a", [ArtifactRecord("traces.json", stored.digest, stored.size)])
    assert len(workspace.tracking.search_traces(["Default"], "span.status = 'UNSET'").traces) == 1
