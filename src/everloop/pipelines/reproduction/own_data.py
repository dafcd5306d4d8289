"""Datasets of a rebuild: what its steps add is its own, what the original read is read in the versions it had."""

from __future__ import annotations

from typing import Any

import msgspec

from everloop.data.data import Data
from everloop.data.dataset import Dataset
from everloop.domain.datasets import VersionRecord
from everloop.domain.references import Kind, Reference
from everloop.errors import NotFound
from everloop.governance.rooms import Context


class OwnData(Data):
    """The data room of a rebuild's workspace, with that of the original behind it.

    A name that the rebuild has added to means its own versions, any other what it means in the original. Nothing is ever added to
    the original.
    """

    def __init__(self, context: Context, original: Data) -> None:
        super().__init__(context)
        self._original = original
        self._adding = False

    def version(self, reference: str) -> VersionRecord:
        wanted = Reference.parse(reference, Kind.DATA)
        try:
            return super().version(str(msgspec.structs.replace(wanted, version=None)))
        except NotFound:
            return self._original.version(reference)

    def newest(self, name: str) -> VersionRecord | None:
        own = super().newest(name)
        return own if own is not None or self._adding else self._original.newest(name)

    def dataset(self, reference: str) -> Dataset:
        if super().newest(Reference.parse(reference, Kind.DATA).name) is not None:
            return super().dataset(reference)
        return self._original.dataset(reference)

    def add(self, *arguments: Any, **options: Any) -> Any:
        """Into the rebuild's own, where a first version is a first version whatever the original holds."""
        self._adding = True
        try:
            return super().add(*arguments, **options)
        finally:
            self._adding = False
