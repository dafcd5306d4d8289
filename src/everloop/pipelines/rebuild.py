"""A workspace to rebuild in: its own ledger and objects, over the objects and data of the original, which it only reads.

The folder holds ``.everloop/rebuild.json``; every process that opens the folder for steps (the driver of the rebuild and its
workers) goes through `opened`, so all of them see the same. Datasets are pinned to the versions that the original read.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import sqlalchemy as sa

from everloop.domain.pipelines import StepRecord, StoredValue
from everloop.domain.references import Kind, Reference
from everloop.engine.here import HereExecutor
from everloop.errors import NotFound
from everloop.governance.rooms import Context
from everloop.store.objects import Fault, Objects, Source, Stored, Writer
from everloop.store.objects.recipes import Chunk
from everloop.store.schema.pipelines import step_results

MARK = "rebuild.json"


class Rebuild(msgspec.Struct, frozen=True):
    """What is rebuilt: from which workspace, what to run, and the version each dataset had (``flights`` -> 3)."""

    original: str
    source: str
    params: dict[str, Any]
    executor: str
    versions: dict[str, int]


class Rebuilt(msgspec.Struct, frozen=True):
    """What came of it: the steps of the new run."""

    run: str
    status: str
    error: str
    steps: list[StepRecord]
    output: StoredValue | None
    seconds: float


class OverlaidObjects:
    """`Objects` that reads through to another store and writes only to its own."""

    def __init__(self, own: Objects, below: Objects) -> None:
        self._own, self._below = own, below

    def put(self, source: Source) -> Stored:
        return self._own.put(source)

    def writer(self) -> AbstractContextManager[Writer]:
        return self._own.writer()

    def open(self, digest: str) -> BinaryIO:
        return self._holder(digest).open(digest)

    def read(self, digest: str) -> bytes:
        return self._holder(digest).read(digest)

    def read_many(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        asked = list(digests)
        below = self._own.missing(asked)
        yield from self._own.read_many(digest for digest in asked if digest not in below)
        yield from self._below.read_many(below)

    def stat(self, digest: str) -> Stored:
        return self._holder(digest).stat(digest)

    def chunks(self, digest: str) -> list[Chunk]:
        return self._holder(digest).chunks(digest)

    @property
    def far(self) -> bool:
        return self._own.far

    def missing(self, digests: Iterable[str]) -> set[str]:
        return self._below.missing(self._own.missing(digests))

    def digests(self) -> Iterator[str]:
        return self._own.digests()

    def verify(self) -> Iterator[Fault]:
        return self._own.verify()

    def _holder(self, digest: str) -> Objects:
        return self._below if self._own.missing([digest]) else self._own


def opened(location: str) -> Context:
    """The workspace of this process at a location, as the ambient one: overlaid when it is one to rebuild in."""
    # Rooms stand below the workspace, so it is asked for by name.
    ambient = importlib.import_module("everloop.client.ambient")
    context: Any = ambient.workspace(location)
    mark = Path(location) / ".everloop" / MARK
    if "://" in location or not mark.is_file():
        return context
    from everloop.data.data import Data
    from everloop.features.features import Features
    from everloop.pipelines.reproduction.own_data import OwnData

    task = msgspec.json.decode(mark.read_bytes(), type=Rebuild)
    original = ambient.connect(task.original)
    context.objects = OverlaidObjects(context.objects, original.objects)
    data = original.room(Data)
    _pin(data, task.versions)
    context._rooms[Data] = OwnData(context, data)
    context._rooms[Features] = original.room(Features)
    return context


@contextmanager
def opened_beside(folder: Path) -> Iterator[Context]:
    """The workspace of a rebuild to look into, without making it the ambient one."""
    context: Any = importlib.import_module("everloop.client.ambient").connect(folder)
    with context:
        yield context


def _pin(data: Any, versions: dict[str, int]) -> None:
    """Let the newest version of a dataset be the one that the original read."""
    version = data.version

    def pinned(reference: str) -> Any:
        wanted = Reference.parse(reference, Kind.DATA)
        if wanted.version is None and wanted.name in versions:
            wanted = msgspec.structs.replace(wanted, version=versions[wanted.name])
        return version(str(wanted))

    def newest(name: str) -> Any:
        try:
            return pinned(name)
        except NotFound:
            return None

    data.version, data.newest = pinned, newest


def main(folder: str, step: str = "") -> None:
    """Rebuild in a folder; what came of it is written there as ``rebuilt.json``. With `step`, that step of the rebuild before is
    computed once more from the same inputs, and ``again.json`` says what came of that."""
    from everloop.pipelines.pipelines import Pipelines

    context = opened(folder)
    mark = Path(folder) / ".everloop" / MARK
    task = msgspec.json.decode(mark.read_bytes(), type=Rebuild)
    if step:
        _forget(context, read_rebuilt(mark.with_name("rebuilt.json").read_bytes()), step)
    # What a step is compared with must have drawn anew: then nothing is forked.
    with contextlib.closing(HereExecutor("" if step else "to prove")) as here:
        # This process is as fresh as a worker would be: steps may run in it.
        executor = here if task.executor == here.name else task.executor
        run = context.room(Pipelines).run(task.source, task.params, executor=executor, force=not step)
    answer = Rebuilt(run.run_id, run.status, run.error, list(run.steps), run.output, run.seconds)
    mark.with_name("again.json" if step else "rebuilt.json").write_bytes(msgspec.json.encode(answer))


def _forget(context: Context, rebuilt: Rebuilt, step: str) -> None:
    """Drop the stored result of a step, so that it is computed although nothing has changed."""
    keys = [each.key for each in rebuilt.steps if each.name == step and each.key]
    with context.ledger.transaction("rebuild") as tx:
        tx.execute(sa.delete(step_results).where(step_results.c.key.in_(keys)))


read_rebuilt = partial(msgspec.json.decode, type=Rebuilt)

if __name__ == "__main__":
    main(*sys.argv[1:])
