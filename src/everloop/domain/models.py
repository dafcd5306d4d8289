"""Registered models and their versions as data."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from everloop.domain.gates import GateResult
from everloop.domain.signature import ModelFile, Parity, StoredFile


class ModelState(StrEnum):
    READY = "ready"
    DEPRECATED = "deprecated"
    """Still there and still answering where it is deployed, but not to be promoted."""
    DELETED = "deleted"
    """Kept for the predictions and events that name it; not listed, and neither promoted nor deployed any more."""


class Stage(StrEnum):
    """The stages that clients of MLflow know. Aliases say the same better: a stage is a label without a gate."""

    NONE = ""
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class ModelVersionRecord(msgspec.Struct, frozen=True):
    """One version of a registered model. Nothing of it ever changes but state, stage, aliases, tags and description.

    run, artifact: where it was logged; empty for a version that clients of MLflow made of something else. digest: SHA-256 of
    its `model.json`, which names the digests of all other files, or of the list of its files where MLflow wrote the folder;
    empty where the files are elsewhere, at `source`. data, commit: what it was trained on and with, read from lineage when it
    was registered. logged_model: the logged model it was made from. source, run_link: what a client said of where it is from.
    updated: when its description, stage or state changed last; None: never since it was made.
    """

    name: str
    version: int
    run: str
    artifact: str
    state: ModelState
    created: datetime
    user: str
    digest: str
    size: int
    model: ModelFile
    files: dict[str, StoredFile]
    data: tuple[str, ...] = ()
    commit: str = ""
    metrics: dict[str, float | None] = {}
    params: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    description: str = ""
    card: str | None = None
    logged_model: str = ""
    source: str = ""
    run_link: str = ""
    stage: Stage = Stage.NONE
    tags: dict[str, str] = {}
    updated: datetime | None = None

    @property
    def reference(self) -> str:
        """``model:delay@v3``"""
        return f"model:{self.name}@v{self.version}"


class ModelRecord(msgspec.Struct, frozen=True):
    """A registered model. `latest` is the highest version that was ever given, `versions` how many there are."""

    name: str
    latest: int
    versions: int
    aliases: dict[str, int]
    created: datetime
    updated: datetime
    description: str = ""
    tags: dict[str, str] = {}


class ModelPage(msgspec.Struct, frozen=True):
    """One page of a search for models, each with its newest version of each stage; `next_page` asks for the page after it."""

    models: list[ModelRecord]
    newest: dict[str, list[ModelVersionRecord]] = {}
    next_page: str | None = None


class VersionPage(msgspec.Struct, frozen=True):
    """One page of a search for versions; `next_page` asks for the one after it, None at the end."""

    versions: list[ModelVersionRecord]
    next_page: str | None = None


class AliasChange(msgspec.Struct, frozen=True):
    """From `time` on an alias meant this version; None: it was taken away."""

    alias: str
    version: int | None
    time: datetime
    user: str
    reason: str


class Promotion(msgspec.Struct, frozen=True):
    """What came of asking for an alias. `previous` is the version that had it before."""

    reference: str
    alias: str
    allowed: bool
    gates: list[GateResult]
    time: datetime
    user: str
    previous: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A version in the comparison for the best one: its metric with the interval over blocks of rows, and its gain over the best
    version of the same rows (negative: it is behind; an interval that holds 0 cannot tell them apart)."""

    reference: str
    aliases: tuple[str, ...]
    metrics: dict[str, float | None]
    value: float | None
    low: float | None = None
    high: float | None = None
    behind: float | None = None
    behind_low: float | None = None
    behind_high: float | None = None
    note: str = ""


class Best(msgspec.Struct, frozen=True):
    """The good version, the rule that says so, and all that were looked at."""

    reference: str | None
    rule: str
    candidates: list[Candidate]


class Package(msgspec.Struct, frozen=True):
    """A model built for a target. `parity` is set when it was verified in a fresh process."""

    reference: str
    target: str
    path: str
    bytes: int
    parity: Parity | None = None


class CardEntry(msgspec.Struct, frozen=True):
    """One line of a model card: text, where it came from, and whether it is a gap (something missing, or for
    a person to write).
    """

    text: str
    source: str = ""
    gap: bool = False


class CardSection(msgspec.Struct, frozen=True):
    title: str
    entries: list[CardEntry]


class ModelCard(msgspec.Struct, frozen=True):
    """A model card in the nine sections of Mitchell et al. 2019, written from the ledger."""

    reference: str
    time: datetime
    sections: list[CardSection]

    @property
    def gaps(self) -> list[str]:
        """What is missing, as ``section: text``."""
        return [
            f"{section.title}: {entry.text}"
            for section in self.sections
            for entry in section.entries
            if entry.gap
        ]

    def data(self) -> dict[str, Any]:
        """The card as plain dictionaries and lists."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


def complete(facts: dict[str, bool]) -> list[str]:
    """What is missing of the provenance a model needs, in the order people look for it.

    >>> complete({"code": True, "data": False, "parameters": True, "environment": False})
    ['data', 'environment']
    """
    return [name for name in ("code", "data", "parameters", "environment") if not facts.get(name)]
