"""One definition of an operation gives the local call, the HTTP endpoint, the OpenAPI entry, the remote call, the permission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.support.workspaces import served

from everloop.client.remote import RemoteWorkspace, remote_class
from everloop.client.transport import Transport
from everloop.errors import Conflict, InvalidInput, PermissionDenied, Unavailable
from everloop.governance.identity import Actor, Permission, Role, acting_as
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.workspace.local import LocalWorkspace


class Sum(msgspec.Struct, frozen=True):
    total: float
    count: int


class Abacus(Room):
    """A room with one new operation; nothing else is written for it anywhere."""

    name = "abacus"

    @operation(Permission.WRITE)
    def add(self, numbers: list[float], scale: int = 1, label: str | None = None) -> Sum:
        """Add numbers up."""
        if label == "taken":
            raise Conflict("the label 'taken' is taken", hint="choose another")
        with self.change() as tx:
            tx.event("abacus.added", label or "abacus", {"count": len(numbers)})
        return Sum(sum(numbers) * scale, len(numbers))

    def mean(self, numbers: list[float]) -> float:
        """Not an operation: works where the caller is, by way of the operation."""
        result = self.add(numbers)
        return result.total / result.count


@pytest.fixture
def address(workspace: LocalWorkspace) -> Iterator[str]:
    with served(workspace, rooms={"abacus": Abacus}) as url:
        yield url


@pytest.fixture
def remote(workspace: LocalWorkspace, address: str) -> Iterator[Abacus]:
    transport = Transport(address)
    yield remote_class(Abacus, transport)(workspace)
    transport.close()


def test_called_in_place(workspace: LocalWorkspace) -> None:
    room = workspace.room(Abacus)
    assert room.add([1, 2], scale=2) == Sum(6, 2)
    assert room.mean([1, 2, 3]) == 2


def test_called_over_http(address: str) -> None:
    answer = httpx.post(f"{address}/api/v1/abacus/add", json={"numbers": [1, 2], "scale": 2})
    assert (answer.status_code, answer.json()) == (200, {"total": 6.0, "count": 2})


def test_called_through_the_remote_room(workspace: LocalWorkspace, remote: Abacus) -> None:
    assert remote.add([1, 2], scale=2) == Sum(6, 2)
    assert remote.add(numbers=[1]) == Sum(1, 1)
    assert remote.mean([1, 2, 3]) == 2
    assert workspace.governance.log(newest_first=True)[0].action == "abacus.added"


def test_described_in_openapi(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    entry = document["paths"]["/api/v1/abacus/add"]["post"]
    assert entry["summary"] == "Add numbers up."
    assert entry["x-permission"] == "write"
    name = entry["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    assert schema["required"] == ["numbers"]
    assert set(schema["properties"]) == {"numbers", "scale", "label"}


def test_errors_arrive_as_they_were_raised(remote: Abacus) -> None:
    with pytest.raises(Conflict) as caught:
        remote.add([1], label="taken")
    assert caught.value.hint == "choose another"


def test_a_viewer_may_not_write(workspace: LocalWorkspace) -> None:
    with acting_as(Actor("vera", Role.VIEWER)), pytest.raises(PermissionDenied, match="vera is viewer"):
        workspace.room(Abacus).add([1])


def test_the_token_decides_over_http(workspace: LocalWorkspace, address: str) -> None:
    viewer = workspace.governance.create_token("vera", "viewer").secret
    engineer = workspace.governance.create_token("emil", "engineer").secret

    def status(secret: str | None) -> int:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return httpx.post(f"{address}/api/v1/abacus/add", json={"numbers": []}, headers=headers).status_code

    assert [status(None), status("wrong"), status(viewer), status(engineer)] == [401, 401, 403, 200]
    assert workspace.governance.log(newest_first=True)[0].actor == "emil"


def test_every_address_asks_who_it_is(workspace: LocalWorkspace, address: str) -> None:
    secret = workspace.governance.create_token("vera", "viewer").secret
    for path in (
        "features/get",
        "features/look_up",
        "abacus/total",
    ):  # the door comes first, also where nothing is
        url = f"{address}/api/v1/{path}"
        shown = [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "everloop_token=wrong"}]
        assert [httpx.post(url, json={}, headers=headers).status_code for headers in shown] == [401, 401, 401]
        known = httpx.post(url, json={}, headers={"Authorization": f"Bearer {secret}"})
        assert known.status_code == 404
        assert known.headers["X-Content-Type-Options"] == "nosniff"
    person = httpx.get(f"{address}/", headers={"Accept": "text/html"})
    assert (person.status_code, person.headers["location"]) == (303, "/login")
    assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "does not fit add"),
        (b"[]", "does not fit add"),
        (b"{}", "numbers"),
        (b'{"numbers": ["a"]}', "numbers"),
        (b'{"numbers": [], "scale": 123456789012345678901234567890}', "does not fit add"),
        (b'{"numbers": [], "unknown": 1}', "unknown"),
        (b'{"numbers": ' + b"[" * 100_000, "does not fit add"),
        (b"\xff", "does not fit add"),
        (b'{"numbers": ["\xff"]}', "does not fit add"),
    ],
)
def test_a_body_that_does_not_fit_is_a_4xx_with_a_sentence(address: str, body: bytes, said: str) -> None:
    answer = httpx.post(f"{address}/api/v1/abacus/add", content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_body_of_50_mb_is_refused(address: str) -> None:
    answer = httpx.post(f"{address}/api/v1/abacus/add", content=b'{"numbers": [' + b"1," * 25_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_an_unknown_operation_gets_the_nearest_name(address: str) -> None:
    answer = httpx.post(f"{address}/api/v1/abacus/ad", json={})
    assert answer.status_code == 404
    assert "abacus/add" in answer.json()["error"]["hint"]


def test_an_address_for_buttons_alone_is_a_page_for_people_and_json_for_programs(address: str) -> None:
    page = httpx.get(f"{address}/logout", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (405, "text/html; charset=utf-8")
    assert "/logout does not answer GET" in page.text
    assert "go back to the page" in page.text
    error = httpx.get(f"{address}/api/v1/abacus/add").json()["error"]
    assert error == {
        "code": "http",
        "message": "/api/v1/abacus/add does not answer GET",
        "hint": "see /openapi.json",
    }


def test_other_web_sites_are_kept_out(address: str) -> None:
    foreign = httpx.post(
        f"{address}/api/v1/abacus/add", json={"numbers": []}, headers={"Origin": "http://evil.example"}
    )
    rebound = httpx.get(f"{address}/openapi.json", headers={"Host": "evil.example"})
    assert (foreign.status_code, rebound.status_code) == (403, 403)


def test_a_server_that_is_away_is_said_in_one_sentence(workspace: LocalWorkspace) -> None:
    transport = Transport("http://127.0.0.1:9", pause=lambda seconds: None)
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        remote_class(Abacus, transport)(workspace).add([1])
    assert "everloop up" in caught.value.hint
    transport.close()


def test_numbers_too_long_for_the_ledger_are_bad_input(workspace: LocalWorkspace) -> None:
    with pytest.raises(InvalidInput, match="too large"):
        workspace.governance.log(after=10**30)


def test_what_a_project_declares_counts_also_where_the_workspace_is_a_servers(
    workspace: LocalWorkspace, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a model would pass without being asked, because its gates are declared where the command was called."""
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "everloop.toml").write_text(
        'definitions = ["strict_gates"]\nexecutor = "local:1"\nledger = "postgresql://elsewhere/mine"\n'
    )
    (tmp_path / "mine" / "strict_gates.py").write_text(
        'import everloop as ev\nstrict = ev.gates("tumour", ev.gate.answers_in_fresh_process())\n'
    )
    monkeypatch.chdir(tmp_path / "mine" / "deep")
    with RemoteWorkspace(address, folder=tmp_path / "client") as made:
        assert made.project == tmp_path / "mine"
        declared = made.registry.gates_for("tumour")
        assert declared is not None
        assert [each.name for each in declared.gates] == ["answers_in_fresh_process"]
        assert (made.settings.name, made.settings.executor, made.settings.ledger) == (address, "local:1", "")
