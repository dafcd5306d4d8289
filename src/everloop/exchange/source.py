"""What a reader of another tool's store promises, and the report of what became of what it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from everloop.domain.adoption import AdoptedExperiment, AdoptedLoggedModel, AdoptedModel, AdoptedRun


class Head(msgspec.Struct, frozen=True):
    """As much of a run as tells whether it must be read. `run_id`: here; `given`: there. `files`: what the store calls the place
    of its artifacts, blank where there is none."""

    run_id: str
    given: str
    experiment: str
    status: str
    files: str = ""


class Skipped(msgspec.Struct, frozen=True):
    """Something that was left, and why. `kind`: run, artifacts, param, …"""

    kind: str
    name: str
    reason: str


class Changed(msgspec.Struct, frozen=True):
    """Something that came in another shape than it had, and which."""

    kind: str
    name: str
    change: str


class ForeignFile(msgspec.Struct, frozen=True):
    """A file of a run or model: its path within, its size if that is known, and where its bytes are."""

    path: str
    content: Path | Callable[[], AbstractContextManager[BinaryIO]]
    size: int = 0


class Report(msgspec.Struct):
    """What an import did, as counts by kind: what is new here, and what was here before."""

    source: str
    imported: dict[str, int] = {}
    present: dict[str, int] = {}
    skipped: list[Skipped] = []
    changed: list[Changed] = []

    def count(self, kind: str, new: int, present: int = 0) -> None:
        """Add to the counts of a kind."""
        self.imported[kind] = self.imported.get(kind, 0) + new
        self.present[kind] = self.present.get(kind, 0) + present


class Unreachable(Exception):
    """The files of a run or model cannot be had. `place` is what they have in common with those of others."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(reason)
        self.place, self.reason = place, reason


class Source(Protocol):
    """A store that another tool wrote.

    Reading changes nothing there. What cannot be understood at all raises `everloop.errors.InvalidInput` when the source is made,
    before anything is written; a part that cannot be read is named in `skipped`, and the rest goes on. In `AdoptedRun` and
    `AdoptedLoggedModel`, `experiment` is the store's own name of it, a key of `experiments`.
    """

    origin: str
    """Names the store in reports and events."""
    skipped: list[Skipped]
    """What could not be read so far."""

    def experiments(self) -> dict[str, AdoptedExperiment]:
        """By the identifier they have there."""
        ...

    def heads(self) -> Sequence[Head]:
        """All runs, oldest first where the store knows."""
        ...

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        """These runs whole, but for artifacts; one that cannot be read is left out and named in `skipped`."""
        ...

    def files(self, head: Head) -> Iterable[ForeignFile]:
        """The artifacts of a run. Raises Unreachable."""
        ...

    def logged_models(self) -> Iterator[tuple[AdoptedLoggedModel, Callable[[], Iterable[ForeignFile]]]]:
        """Logged models, each with a way to its files, which may raise Unreachable."""
        ...

    def models(self) -> Iterator[AdoptedModel]:
        """Registered models."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class RunsOnly:
    """Base of sources that know of runs and nothing more."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.skipped: list[Skipped] = []

    def files(self, head: Head) -> Iterable[ForeignFile]:
        return ()

    def logged_models(self) -> Iterator[tuple[AdoptedLoggedModel, Callable[[], Iterable[ForeignFile]]]]:
        return iter(())

    def models(self) -> Iterator[AdoptedModel]:
        return iter(())

    def close(self) -> None:
        pass
