"""Traces: recorded by a decorator, read back with their steps, searched, tagged, judged and deleted."""

import time
from typing import Any

import mlflow
import pytest
from conftest import refused

pytestmark = pytest.mark.newest


@pytest.fixture
def asked(experiment: Any, run: Any) -> Any:
    """Three traces of a program of two steps: two answers and a failure."""

    @mlflow.trace(name="lookup")
    def lookup(word: str) -> str:
        if word == "bad":
            raise KeyError(word)
        return word.upper()

    @mlflow.trace(name="answer", attributes={"model": "tiny"})
    def answer(word: str) -> str:
        mlflow.update_current_trace(tags={"word": word}, client_request_id=f"request {word}")
        return f"it is {lookup(word)}"

    answer("one")
    time.sleep(0.01)  # traces begin at a millisecond, by which they are ordered
    answer("two")
    time.sleep(0.01)
    with pytest.raises(KeyError):
        answer("bad")
    mlflow.flush_trace_async_logging()
    return experiment


def words(traces: Any) -> list[str]:
    return [each.info.tags["word"] for each in traces]


def test_traces_come_back_with_their_steps(client: Any, asked: Any, run: Any) -> None:
    found = mlflow.search_traces(locations=[asked.experiment_id], return_type="list")
    assert words(found) == ["bad", "two", "one"]
    last = found[-1]
    assert (last.info.state, last.info.client_request_id) == ("OK", "request one")
    assert last.info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
    assert [(each.name, each.outputs) for each in last.data.spans] == [
        ("answer", "it is ONE"),
        ("lookup", "ONE"),
    ]
    assert last.data.spans[0].attributes["model"] == "tiny"
    assert found[0].info.state == "ERROR"
    again = mlflow.get_trace(last.info.trace_id)
    assert again.data.spans[1].inputs == {"word": "one"}
    assert again.info.execution_duration == last.info.execution_duration
    assert abs(again.info.request_time / 1000 - time.time()) < 600


def test_traces_are_searched_ordered_and_paged(client: Any, asked: Any, run: Any) -> None:
    here = [asked.experiment_id]

    def found(where: str = "", **more: Any) -> list[str]:
        return words(mlflow.search_traces(locations=here, filter_string=where, return_type="list", **more))

    assert found("trace.status = 'OK'") == ["two", "one"]
    assert found("tags.word IN ('one', 'bad')") == ["bad", "one"]
    assert found("tags.word LIKE 't%'") == ["two"]
    assert found("trace.name = 'answer' AND timestamp > 0", order_by=["timestamp ASC"]) == [
        "one",
        "two",
        "bad",
    ]
    assert found(f"metadata.`mlflow.sourceRun` = '{run.info.run_id}'", max_results=2) == ["bad", "two"]
    assert found(run_id=run.info.run_id) == ["bad", "two", "one"]
    assert found("attributes.execution_time > 100000") == []
    assert found("tags.word = 'one' OR metadata.nope IS NOT NULL") == ["one"]
    first = client.search_traces(locations=here, max_results=2)
    rest = client.search_traces(locations=here, max_results=2, page_token=first.token)
    assert words(first) + words(rest) == ["bad", "two", "one"]
    assert not rest.token
    two, one = (each.info.trace_id for each in mlflow.search_traces(locations=here, return_type="list")[1:])
    mlflow.log_feedback(trace_id=one, name="right", value=True)
    mlflow.log_feedback(trace_id=two, name="score", value=2.5)
    assert found("span.name = 'lookup' AND span.status = 'ERROR'") == ["bad"]
    assert found("span.name = 'answer' AND span.attributes.model = 'tiny'") == ["bad", "two", "one"]
    assert found("trace.text ILIKE '%it is two%'") == ["two"]
    assert found("trace.text RLIKE '(?i)it is (two|three)'") == ["two"]
    assert found("feedback.right = 'true'") == ["one"]
    assert found("feedback.score > 2 AND end_time > 0") == ["two"]
    elsewhere = client.create_run(asked.experiment_id).info.run_id
    client.link_traces_to_run([one], elsewhere)
    assert found(run_id=elsewhere) == ["one"]
    for wrong in ("nope = 'x'", "span.nope = 'x'", "trace.status = 1", "a OR b"):
        refused(lambda wrong=wrong: mlflow.search_traces(locations=here, filter_string=wrong))


def test_traces_are_tagged_judged_and_deleted(client: Any, asked: Any) -> None:
    one = mlflow.search_traces(locations=[asked.experiment_id], return_type="list")[-1].info.trace_id
    mlflow.set_trace_tag(one, "seen", "yes")
    assert mlflow.get_trace(one).info.tags["seen"] == "yes"
    mlflow.delete_trace_tag(one, "seen")
    assert "seen" not in mlflow.get_trace(one).info.tags
    refused(lambda: mlflow.delete_trace_tag(one, "seen"), "RESOURCE_DOES_NOT_EXIST")
    said = mlflow.log_feedback(trace_id=one, name="right", value=True, rationale="it is so")
    mlflow.log_expectation(trace_id=one, name="wanted", value={"answer": "ONE"})
    kept = {each.name: each for each in mlflow.get_trace(one).info.assessments}
    assert (kept["right"].value, kept["right"].rationale) == (True, "it is so")
    assert kept["wanted"].value == {"answer": "ONE"}
    mlflow.update_assessment(one, said.assessment_id, mlflow.entities.Feedback(name="right", value=False))
    other = mlflow.override_feedback(trace_id=one, assessment_id=said.assessment_id, value="perhaps")
    assert not mlflow.get_assessment(one, said.assessment_id).valid
    mlflow.delete_assessment(trace_id=one, assessment_id=other.assessment_id)
    assert mlflow.get_assessment(one, said.assessment_id).valid
    mlflow.delete_assessment(trace_id=one, assessment_id=said.assessment_id)
    assert [each.name for each in mlflow.get_trace(one).info.assessments] == ["wanted"]
    assert client.delete_traces(asked.experiment_id, trace_ids=[one]) == 1
    assert words(mlflow.search_traces(locations=[asked.experiment_id], return_type="list")) == ["bad", "two"]
    assert client.delete_traces(asked.experiment_id, max_timestamp_millis=int(time.time() * 1000) + 1) == 2
    refused(lambda: client.get_trace("tr-" + "0" * 32), "RESOURCE_DOES_NOT_EXIST")
