"""Adding to a server: what it has is not sent again, unless it went meanwhile."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.support.workspaces import FakeClock, served

from everloop.client.remote import RemoteWorkspace
from everloop.client.transport import Transport
from everloop.data.incoming.stat_index import StatIndex
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


@pytest.fixture
def remote(workspace: LocalWorkspace, tmp_path: Path, clock: FakeClock) -> Iterator[Workspace]:
    with served(workspace) as url, RemoteWorkspace(url, folder=tmp_path / "client", clock=clock) as made:
        yield made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each batch that goes to the server."""
    sizes: list[int] = []
    put = Transport.put

    def counted(self: Transport, path: str, pieces: Iterable[bytes]) -> bytes:
        held = list(pieces)
        sizes.append(sum(map(len, held)))
        return put(self, path, iter(held))

    monkeypatch.setattr(Transport, "put", counted)
    return sizes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(1_000_000))
    (source / "small").write_bytes(b"small")
    clock = StatIndex(tmp_path / "ticks")
    while clock.now() <= (source / "small").stat().st_ctime_ns:
        pass  # else what was just written might change again within one tick, and is not trusted
    return source


def test_only_what_changed_is_sent(remote: Workspace, folder: Path, sent: list[int]) -> None:
    remote.data.add(folder, "d")
    assert sent.pop() > 1_000_000
    (folder / "small").write_bytes(b"changed")
    assert remote.data.add(folder, "d").reference == "data:d@v2"
    assert sum(sent) < 2_000
    assert remote.data.dataset("d").open("small").read() == b"changed"
    assert remote.data.dataset("d").open("large").read() == (folder / "large").read_bytes()


def test_what_went_meanwhile_is_sent_again(
    remote: Workspace,
    workspace: LocalWorkspace,
    folder: Path,
    tmp_path: Path,
    sent: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote.data.add(folder, "d")
    asked = remote.objects.missing

    def before_it_is_collected(digests: Iterable[str]) -> set[str]:
        missing = asked(digests)
        monkeypatch.setattr(remote.objects, "missing", asked)
        for pack in (tmp_path / "project" / ".everloop" / "objects" / "packs").iterdir():
            pack.unlink()
        return missing

    monkeypatch.setattr(remote.objects, "missing", before_it_is_collected)
    (folder / "small").write_bytes(b"changed")
    remote.data.add(folder, "d")
    assert [size > 1_000_000 for size in sent] == [True, False, True]
    assert workspace.data.dataset("d@v2").open("large").read() == (folder / "large").read_bytes()
