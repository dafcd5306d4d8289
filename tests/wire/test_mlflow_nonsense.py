"""Whatever is said to an endpoint of MLflow's protocol, the answer is JSON, and never a failure of the server: clients would try
again for minutes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer
from tests.support.workspaces import served

from everloop.server.mlflow.endpoints import Endpoint
from everloop.server.mlflow.wire import ENDPOINTS
from everloop.workspace.local import LocalWorkspace

TABLE = [
    (method, path, endpoint) for module in ENDPOINTS for (method, path), endpoint in module.table.items()
]
JSON = [each for each in TABLE if each[2].answer is not None]
ERRORS = {400, 401, 403, 404, 405, 409, 416, 501}

IDENTIFIERS = st.sampled_from(["0", "1", "7", "0" * 32, "m-" + "0" * 32, "champion", "main"])
TEXTS = st.one_of(
    IDENTIFIERS,
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "../x",
            "a/b",
            "a\0b",
            "🚀",
            "رحلة",
            "x" * 600,
            "-1",
            "NaN",
            "%2e%2e",
            "name = 'a",
            "a desc",
        ]
    ),
    st.text(max_size=8),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 5, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 2**70]),
    st.floats(),
)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXTS, st.lists(TEXTS, max_size=2), st.just({}), st.just({"key": "a"})
)


def messages(kind: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Mostly what fits the type, sometimes not."""
    fitting: st.SearchStrategy[Any]
    if get_origin(kind) is list:
        fitting = st.lists(messages(get_args(kind)[0], depth + 1), max_size=3)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fitting = st.fixed_dictionaries(
            {}, optional={name: messages(hint, depth + 1) for name, hint in get_type_hints(kind).items()}
        )
    elif kind in (float, int) or int in get_args(kind) or float in get_args(kind):
        fitting = NUMBERS
    elif kind is bool:
        fitting = st.booleans()
    else:
        fitting = TEXTS
    return fitting if depth == 0 else st.one_of(fitting, fitting, fitting, ANYTHING)


class Asking:
    """A served workspace with something in it."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self.http.post("/api/2.0/mlflow/experiments/create", json={"name": "one"})
        made = self.http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "1"}).json()
        self.run = made["run"]["info"]["run_id"]

    def ask(self, method: str, path: str, endpoint: Endpoint, fields: dict[str, Any]) -> httpx.Response:
        for name in get_type_hints(endpoint.asked):
            if "{" + name in path:
                value = fields.pop(name, None)
                text = quote(str(value) if value not in (None, "", ".", "..") else "x", safe="")
                path = path.replace("{" + name + ":path}", text).replace("{" + name + "}", text)
        if method == "GET":
            plain = {
                name: value for name, value in fields.items() if isinstance(value, str | int | float | list)
            }
            query = {
                name: [each for each in value if isinstance(each, str)] if isinstance(value, list) else value
                for name, value in plain.items()
            }
            return self.http.get(f"/api/{path}", params=query)
        body = json.dumps(fields)  # with bare NaN and Infinity, and half characters as escapes
        return self.http.request(
            method, f"/api/{path}", content=body, headers={"Content-Type": "application/json"}
        )


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder: Path = tmp_path_factory.mktemp("nonsense")
    with LocalWorkspace(folder / "project") as workspace, served(workspace) as url:
        found = Asking(url)
        yield found
        found.http.close()


@pytest.mark.parametrize(
    ("method", "path", "endpoint"), JSON, ids=[f"{method} {path}" for method, path, _ in JSON]
)
def test_nonsense_is_refused_politely(asking: Asking, method: str, path: str, endpoint: Endpoint) -> None:
    @fewer(0.4)
    @given(messages(endpoint.asked), st.booleans())
    def check(fields: dict[str, Any], of_the_run: bool) -> None:
        if of_the_run and "run_id" in get_type_hints(endpoint.asked):
            fields |= {"run_id": asking.run}
        answer = asking.ask(method, path, endpoint, fields)
        body = answer.json()
        if answer.status_code != 200:
            assert answer.status_code in ERRORS, (fields, body)
            assert body["error_code"], fields
            assert body["message"], fields

    check()


@pytest.mark.parametrize("path", ["runs/create", "experiments/create", "logged-models"])
def test_a_letter_that_is_not_utf8_is_a_sentence(asking: Asking, path: str) -> None:
    answer = asking.http.post(
        f"/api/2.0/mlflow/{path}",
        content=b'{"name": "\xff", "run_name": "\xff"}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert "the body is not JSON" in answer.json()["message"]
