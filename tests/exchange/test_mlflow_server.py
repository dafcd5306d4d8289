"""A server that misbehaves: away for a moment, refusing, speaking something else, or naming paths that lead elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from everloop.errors import InvalidInput, Unauthenticated, Unavailable
from everloop.exchange.bringing import bring_in
from everloop.exchange.mlflow.server import ServerSource
from everloop.workspace.local import LocalWorkspace

RUN = "ab" * 16
Answer = Callable[[httpx.Request], httpx.Response]


def source(answer: Answer, **environment: str) -> ServerSource:
    client = httpx.Client(base_url="http://tracking", transport=httpx.MockTransport(answer))
    return ServerSource("http://tracking", client=client, environment=environment, pause=lambda seconds: None)


def answering(answers: dict[str, Any]) -> Answer:
    """A server with these answers by the end of the path; 404 for all else."""

    def answer(request: httpx.Request) -> httpx.Response:
        for path, found in answers.items():
            if request.url.path.endswith(path):
                return found(request) if callable(found) else httpx.Response(200, json=found)
        return httpx.Response(404, html="<h1>Not Found</h1>")

    return answer


INFO = {
    "run_id": RUN,
    "status": "FINISHED",
    "start_time": "1700000000000",  # servers of old write numbers as text
    "end_time": "1700000001000",
    "artifact_uri": f"s3://bucket/1/{RUN}/artifacts",
    "lifecycle_stage": "active",
}
STORE: dict[str, Any] = {
    "experiments/search": {
        "experiments": [{"experiment_id": "1", "name": "churn", "lifecycle_stage": "active"}]
    },
    "runs/search": {"runs": [{"info": INFO, "data": {}}]},
    "runs/get": {
        "run": {
            "info": INFO,
            "data": {"metrics": [{"key": "loss", "value": "NaN", "timestamp": 1, "step": 0}]},
        }
    },
    "artifacts/list": {"files": []},
    "registered-models/search": {},
}


def pages(request: httpx.Request) -> httpx.Response:
    """A history in two pages; a point that is in both is one."""
    points = [
        {"key": "loss", "value": value, "timestamp": "1700000000000", "step": step}
        for step, value in ((0, 1.5), (1, "NaN"))
    ]
    if "page_token" in request.url.params:
        return httpx.Response(200, json={"metrics": points[1:]})
    return httpx.Response(200, json={"metrics": points, "next_page_token": "more"})


def test_a_store_comes_over_page_by_page(workspace: LocalWorkspace) -> None:
    report = bring_in(workspace, source(answering(STORE | {"metrics/get-history": pages})))
    assert (report.imported["runs"], report.imported["points"], report.skipped) == (1, 2, [])
    assert workspace.tracking.run(run_id=RUN).start_time.timestamp() == 1_700_000_000


def test_paths_that_lead_elsewhere_are_refused(workspace: LocalWorkspace) -> None:
    files = [
        {"path": "../../escape", "is_dir": False, "file_size": 1},
        {"path": "/etc/passwd", "is_dir": False, "file_size": 1},
        {"path": "..", "is_dir": True},
        {"path": "", "is_dir": True},
        {"path": "fine.txt", "is_dir": False, "file_size": 2},
    ]

    def listed(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"files": files if request.url.params["path"] == "" else []})

    answers = STORE | {
        "artifacts/list": listed,
        "get-artifact": lambda request: httpx.Response(200, content=b"ok"),
    }
    answers |= {"metrics/get-history": pages}
    report = bring_in(workspace, source(answering(answers)))
    assert [file.path for file in workspace.tracking.artifacts(run_id=RUN)] == ["fine.txt"]
    assert [each.reason for each in report.skipped] == [
        "'../../escape' is not a path within a run",
        "'/etc/passwd' is not a path within a run",
    ]


def test_artifacts_that_the_server_cannot_read_are_named(workspace: LocalWorkspace) -> None:
    answers = STORE | {"metrics/get-history": pages, "artifacts/list": lambda request: httpx.Response(500)}
    report = bring_in(workspace, source(answering(answers)))
    [left] = report.skipped
    assert "the server does not give them" in left.reason
    assert report.imported["runs"] == 1


def test_a_server_that_is_away_for_a_moment_is_asked_again() -> None:
    answers = iter([503, 429, 200])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers), json=STORE["experiments/search"])

    assert list(source(answer).experiments()) == ["1"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "pw"},
            "Basic " + base64.b64encode(b"ann:pw").decode(),
        ),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({}, None),
    ],
)
def test_the_login_is_that_of_the_client(environment: dict[str, str], expected: str | None) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200, content=json.dumps({}))

    source(answer, **environment)
    assert seen == [expected]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda request: httpx.Response(401), Unauthenticated),
        (lambda request: httpx.Response(200, html="<html>"), InvalidInput),
        (lambda request: httpx.Response(200, json=[1]), InvalidInput),
        (lambda request: httpx.Response(400), InvalidInput),
        (lambda request: httpx.Response(503), Unavailable),
    ],
)
def test_what_is_no_answer_is_said_at_once(answer: Answer, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        source(answer)


def test_nobody_there() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unavailable, match="cannot be reached"):
        source(answer)
