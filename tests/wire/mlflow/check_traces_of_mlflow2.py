"""Traces of clients before 3.0, who begin a trace, send its steps and end it in calls of their own."""

from typing import Any
from unittest.mock import MagicMock

import mlflow
import pytest
from conftest import refused

pytestmark = pytest.mark.skipif(
    not mlflow.__version__.startswith("2."),
    reason="the way of MLflow 2; the newer client's is in check_traces",
)


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow 2.22 does not set what OpenTelemetry of today counts with, and loses every trace without it."""
    from mlflow.tracing.processor.mlflow import MlflowSpanProcessor

    monkeypatch.setattr(MlflowSpanProcessor, "_shutdown", False, raising=False)
    monkeypatch.setattr(MlflowSpanProcessor, "_metrics", MagicMock(), raising=False)


def test_traces_are_kept_searched_tagged_and_deleted(client: Any, run: Any, able: None) -> None:
    @mlflow.trace
    def lookup(word: str) -> str:
        return {"one": "ONE"}[word]

    here = [run.info.experiment_id]
    assert lookup("one") == "ONE"
    with pytest.raises(KeyError):
        lookup("bad")
    began = client.start_trace("by hand", inputs={"a": 1}, tags={"word": "hand"})
    child = client.start_span("part", began.request_id, began.span_id, inputs=1)
    client.end_span(began.request_id, child.span_id, outputs=2)
    (open_yet,) = client.search_traces(here, "status = 'IN_PROGRESS'") or [None]
    assert open_yet is None  # its steps are not there yet, so the client leaves it out
    client.end_trace(began.request_id, outputs=3)
    found = {each.info.tags["mlflow.traceName"]: each for each in client.search_traces(here, "status = 'OK'")}
    assert [each.name for each in found["by hand"].data.spans] == ["by hand", "part"]
    one = client.get_trace(found["lookup"].info.request_id)
    assert one.data.spans[0].outputs == "ONE"
    assert one.info.request_metadata["mlflow.sourceRun"] == run.info.run_id
    assert one.info.execution_time_ms is not None
    (failed,) = client.search_traces(here, "attributes.status = 'ERROR'")
    assert failed.info.request_metadata["mlflow.traceInputs"] == '{"word": "bad"}'
    assert len(client.search_traces(here, run_id=run.info.run_id)) == 3
    page = client.search_traces(here, max_results=2, order_by=["timestamp_ms ASC"])
    rest = client.search_traces(here, max_results=2, order_by=["timestamp_ms ASC"], page_token=page.token)
    assert [len(page), len(rest)] == [2, 1]
    client.set_trace_tag(one.info.request_id, "seen", "yes")
    assert [each.info.request_id for each in client.search_traces(here, "tags.seen = 'yes'")] == [
        one.info.request_id
    ]
    client.delete_trace_tag(one.info.request_id, "seen")
    assert client.delete_traces(here[0], request_ids=[one.info.request_id]) == 1
    refused(lambda: client.get_trace(one.info.request_id), "RESOURCE_DOES_NOT_EXIST")
