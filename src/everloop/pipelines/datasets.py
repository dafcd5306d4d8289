"""Datasets as arguments and results of steps: handles pass by reference, names are pinned to the version they mean now."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from everloop.domain.pipelines import Read
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidReference, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.opened_files import asked, is_file, unchanged
from everloop.pipelines.values.encoding import NOT_SPECIAL

_VERSION = re.compile(r"data:[^@:]+@v[1-9][0-9]*\Z")


def lowered_dataset(value: Any) -> Any:
    """The tree of a dataset handle, `NOT_SPECIAL` for anything else. Its content counts in keys, its version does not."""
    module = sys.modules.get("everloop.data.dataset")
    if module is None or not isinstance(value, module.Dataset):
        return NOT_SPECIAL
    return {"~dataset": {"reference": value.reference, "name": value.name, "content": value.digest}}


def lifted_datasets(context: Context) -> Mapping[str, Callable[[Any], Any]]:
    """What brings handles back."""

    def dataset(body: Any) -> Any:
        from everloop.data.data import Data

        return context.room(Data).dataset(body["reference"])

    return {"~dataset": dataset}


def references_in(tree: Any) -> Iterable[str]:
    """The dataset versions that are in a tree: handles, and names with their version."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "~dataset" in each:
                yield each["~dataset"]["reference"]
            else:
                waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, str) and _VERSION.match(each):
            yield each


class Newest:
    """The newest versions of datasets and feature views, each asked for once a run; files of the project as they are."""

    def __init__(self, context: Context, root: Path) -> None:
        self._context = context
        self._root = root
        self._known: dict[str, str] = {}

    def pinned(self, value: Any) -> Any:
        """``data:flights`` as ``data:flights@v3``; anything else as it is."""
        if not isinstance(value, str) or not value.startswith("data:"):
            return value
        try:
            reference = Reference.parse(value)
        except InvalidReference:
            return value
        return value if reference.version is not None else self.of(value)

    def of(self, asked: str) -> str:
        """The version a name means now; the name itself where it means nothing."""
        if asked not in self._known:
            self._known[asked] = self._find(Reference.parse(asked)) or asked
        return self._known[asked]

    def reads(self, seen: Iterable[str], given: Iterable[str]) -> tuple[Read, ...]:
        """What a step read by itself, beyond the handles it was given. A version that is the newest may have been asked for as
        such, so it counts as asked for by name: the step is executed again when the name moves on."""
        self._known.clear()
        found = []
        for each in sorted(set(seen) - set(given)):
            if is_file(each):
                found.append(Read(asked(each), each))
                continue
            reference = Reference.parse(each)
            if reference.kind not in (Kind.DATA, Kind.FEATURE, Kind.MODEL):
                continue
            name = f"{reference.kind}:{reference.name}"
            found.append(Read(name if self.of(name) == each else each, each))
        return tuple(found)

    def still(self, reads: Iterable[Read]) -> bool:
        """Whether a step that read these would read the same now."""
        return all(
            unchanged(read.found, self._root)
            if is_file(read.found)
            else read.asked == read.found or self.of(read.asked) == read.found
            for read in reads
        )

    def said(self, read: Read) -> str:
        """Why a step that read this is executed again."""
        if is_file(read.found):
            return f"file {read.asked.removeprefix('file:')} changed"
        if Reference.parse(read.found).kind is Kind.MODEL:
            return f"it reads {read.asked} by itself, and an alias may have moved"
        return f"{read.asked} is now {self.of(read.asked).rpartition('@')[2]}"

    def _find(self, reference: Reference) -> str | None:
        if reference.kind is Kind.MODEL:
            return None  # aliases belong to a room above: a step that asks for models by itself is never taken from the cache
        if reference.kind is Kind.DATA:
            from everloop.data.data import Data

            newest = self._context.room(Data).newest(reference.name)
            return None if newest is None else newest.reference
        from everloop.features.features import Features

        try:
            return self._context.room(Features).view(str(reference)).reference
        except NotFound:
            return None
