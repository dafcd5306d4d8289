"""What a Feast repository declares, as values: what the process that ran its files tells the one that imports it."""

from __future__ import annotations

from typing import Literal

import msgspec


class FeastField(msgspec.Struct, frozen=True):
    """A field of a schema. type: as Feast calls it, such as ``Float32``; blank when it is not said."""

    name: str
    type: str = ""


class FeastEntity(msgspec.Struct, frozen=True):
    name: str
    join_keys: list[str]


class FeastSource(msgspec.Struct, frozen=True):
    """Where rows come from. kind: the class. batch: the name of the source that a push or stream source writes to."""

    kind: str
    name: str
    path: str = ""
    timestamp_field: str = ""
    created_field: str = ""
    field_mapping: dict[str, str] = {}
    batch: str = ""
    format: str = ""


class FeastView(msgspec.Struct, frozen=True):
    """A feature view. ttl: seconds, 0 for no limit. fields: empty when Feast takes all columns."""

    kind: str
    name: str
    entities: list[str]
    source: FeastSource | None
    fields: list[FeastField]
    ttl: float
    transformed: bool = False


class FeastOnDemand(msgspec.Struct, frozen=True):
    """An on-demand feature view. inputs: pairs of a feature view and its field; request: fields that a caller brings along.
    code: the function as it stands in its file, without decorators; blank when it cannot be had."""

    name: str
    mode: str
    inputs: list[tuple[str, FeastField]]
    request: list[FeastField]
    outputs: list[FeastField]
    function: str
    code: str
    place: str


class FeastService(msgspec.Struct, frozen=True):
    """A feature service: pairs of a view and a feature; a blank feature means all."""

    name: str
    features: list[tuple[str, str]]


class Left(msgspec.Struct, frozen=True):
    """What could not be read, and why."""

    kind: Literal["file", "object"]
    name: str
    reason: str


class Repository(msgspec.Struct, frozen=True):
    """All that the files of a repository declare."""

    entities: list[FeastEntity] = []
    views: list[FeastView] = []
    on_demand: list[FeastOnDemand] = []
    services: list[FeastService] = []
    sources: list[FeastSource] = []
    left: list[Left] = []
