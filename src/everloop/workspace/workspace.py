"""The workspace: rooms as attributes, the same whether they are in this process or behind a server."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from everloop.domain.ids import Ids
from everloop.domain.settings import Settings
from everloop.domain.times import Clock
from everloop.governance.rooms import Room

if TYPE_CHECKING:
    from everloop.data.data import Data
    from everloop.data.labels.labels import Labels
    from everloop.features.features import Features
    from everloop.governance.audit import Governance
    from everloop.loop.loop import Loop
    from everloop.monitoring.monitoring import Monitoring
    from everloop.pipelines.pipelines import Pipelines
    from everloop.registry.registry import Registry
    from everloop.rollout.rollout import Rollouts
    from everloop.serving.serving import Serving
    from everloop.store.ledger import Ledger
    from everloop.store.objects import Objects
    from everloop.tracking.tracking import Tracking
    from everloop.workspace.provenance import Provenance

R = TypeVar("R", bound=Room)

ROOMS: dict[str, str] = {
    "governance": "everloop.governance.audit:Governance",
    "data": "everloop.data.data:Data",
    "labels": "everloop.data.labels.labels:Labels",
    "features": "everloop.features.features:Features",
    "tracking": "everloop.tracking.tracking:Tracking",
    "pipelines": "everloop.pipelines.pipelines:Pipelines",
    "registry": "everloop.registry.registry:Registry",
    "serving": "everloop.serving.serving:Serving",
    "monitoring": "everloop.monitoring.monitoring:Monitoring",
    "rollout": "everloop.rollout.rollout:Rollouts",
    "loop": "everloop.loop.loop:Loop",
    "provenance": "everloop.workspace.provenance:Provenance",
}
"""Every room with operations, in the order of the life cycle: attribute of the workspace -> where its class is."""


@cache
def room_class(name: str) -> type[Room]:
    """The class of a room, imported now."""
    module, _, attribute = ROOMS[name].partition(":")
    found: type[Room] = getattr(importlib.import_module(module), attribute)
    return found


class Workspace(ABC):
    """All rooms of one place. Open one with `everloop.workspace(...)`; also the `Context` its rooms are given."""

    if TYPE_CHECKING:
        governance: Governance
        data: Data
        labels: Labels
        features: Features
        tracking: Tracking
        pipelines: Pipelines
        registry: Registry
        serving: Serving
        monitoring: Monitoring
        rollout: Rollouts
        loop: Loop
        provenance: Provenance

    clock: Clock
    ids: Ids
    settings: Settings
    folder: Path
    project: Path
    location: str

    def __init__(
        self, *, clock: Clock, ids: Ids, settings: Settings, folder: Path, project: Path, location: str
    ) -> None:
        self.clock, self.ids, self.settings = clock, ids, settings
        self.folder, self.project, self.location = folder, project, location
        self._rooms: dict[type[Room], Room] = {}

    @property
    @abstractmethod
    def ledger(self) -> Ledger: ...

    @property
    @abstractmethod
    def objects(self) -> Objects: ...

    @property
    @abstractmethod
    def remote(self) -> bool: ...

    @abstractmethod
    def build(self, kind: type[R]) -> R:
        """Make a room of this workspace: in place, or as calls to a server."""

    def room(self, kind: type[R]) -> R:
        if kind not in self._rooms:
            self._rooms[kind] = self.build(kind)
        return self._rooms[kind]  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        if name in ROOMS:
            return self.room(room_class(name))
        if hasattr(
            type(self), name
        ):  # a property that failed inside: what it missed is the error, not its own name
            return object.__getattribute__(self, name)
        raise AttributeError(f"a workspace has no '{name}'; its rooms are {', '.join(ROOMS)}")

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
