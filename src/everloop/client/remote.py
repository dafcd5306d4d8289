"""A workspace behind a server: every operation becomes one request, every other method works as it does locally."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cached_property, wraps
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from everloop.client.objects import RemoteObjects
from everloop.client.transport import Transport
from everloop.domain.ids import Ids, system_ids
from everloop.domain.settings import Settings
from everloop.domain.times import Clock, system_clock
from everloop.governance.operations import Operation, operations_of
from everloop.governance.rooms import Room
from everloop.workspace.locations import nearest_project
from everloop.workspace.settings import read_settings
from everloop.workspace.workspace import Workspace

if TYPE_CHECKING:
    from everloop.store.ledger import Ledger
    from everloop.store.objects import Objects

R = TypeVar("R", bound=Room)


def remote_class(kind: type[R], transport: Transport) -> type[R]:
    """The class of a room whose operations are requests. Nothing is written by hand: parameters, path and types of the answer
    are those of the definition."""
    calls = {
        name: _request(described, kind.name, transport) for name, described in operations_of(kind).items()
    }
    return type(f"Remote{kind.__name__}", (kind,), calls)


def _request(described: Operation, room: str, transport: Transport) -> Callable[..., Any]:
    path = f"/api/v1/{room}/{described.name}"

    @wraps(described.function)
    def call(self: Room, *args: Any, **kwargs: Any) -> Any:
        body = msgspec.json.encode(described.bind(self, args, kwargs))
        return msgspec.json.decode(transport.post(path, body), type=described.response)

    call.__operation__ = described  # type: ignore[attr-defined]
    return call


class RemoteWorkspace(Workspace):
    """Rooms behind ``http(s)://…``. Working files (journals on their way, caches) rest in a folder of this user's own."""

    def __init__(
        self,
        url: str,
        *,
        transport: Transport | None = None,
        folder: Path | None = None,
        clock: Clock = system_clock,
        ids: Ids | None = None,
    ) -> None:
        self.transport = transport or Transport(url)
        project = nearest_project(Path.cwd())
        super().__init__(
            clock=clock,
            ids=ids or system_ids(clock),
            settings=_settings_here(project, url),
            folder=folder or _own_folder(url),
            project=project,
            location=url,
        )

    @property
    def ledger(self) -> Ledger:
        raise AttributeError(
            "a remote workspace has no ledger: only operations touch it, and they run on the server"
        )

    @cached_property
    def objects(self) -> Objects:
        return RemoteObjects(self.transport)

    @property
    def remote(self) -> bool:
        return True

    def build(self, kind: type[R]) -> R:
        return remote_class(kind, self.transport)(self)

    def close(self) -> None:
        self.transport.close()


def _settings_here(project: Path, url: str) -> Settings:
    """What the project says of work done here: its definitions, its executor. Where things are kept is the server's affair."""
    return msgspec.structs.replace(
        read_settings(project), name=url, ledger="", objects="", online="", openlineage=""
    )


def _own_folder(url: str) -> Path:
    """A folder that outlives the process, so that what could not be sent is sent later."""
    base = Path.home() / ".cache" / "everloop"
    try:
        folder = base / sha256(url.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written, as in many containers
        folder = Path(tempfile.gettempdir()) / f"everloop-{sha256(url.encode()).hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
    return folder
