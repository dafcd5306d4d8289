"""A shelf: an object store that is shared without a ledger, such as a folder on a network disk or a bucket on S3.

Beside the objects stands a note for each version, ``datasets/<name's digest>/v3.json``, written once and never changed. Objects
that a note names stay when a workspace that keeps its own objects in the same store collects.
"""

import hashlib
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.datasets import Manifest
from everloop.domain.names import checked_name
from everloop.domain.references import Kind, Reference
from everloop.domain.transfers import Received, SentVersion
from everloop.errors import Conflict, Corrupted, NotFound, nearest

if TYPE_CHECKING:
    from everloop.store.objects import ContentStore

_NOTES = "datasets/"


class Shelf:
    """The versions in a store without a ledger; `everloop.data.stores.transferring.Place` says what is promised."""

    def __init__(self, store: "ContentStore") -> None:
        self.objects = store

    @property
    def label(self) -> str:
        return self.objects.name

    def dataset_names(self) -> list[str]:
        return sorted({sent.version.name for sent in _sent(self.objects)})

    def sent(self, reference: str) -> list[SentVersion]:
        wanted = Reference.parse(reference, Kind.DATA)
        found = [sent for sent in _sent(self.objects, wanted.name) if sent.version.name == wanted.name]
        if not found:
            hint = nearest(wanted.name, self.dataset_names())
            raise NotFound(f"no dataset in {self.label} is called '{wanted.name}'", hint=hint)
        if wanted.version is not None:
            found = [sent for sent in found if sent.version.version == wanted.version]
            if not found:
                raise NotFound(f"{self.label} has no {wanted}", hint="leave the version out to take all")
        return sorted(found, key=lambda sent: sent.version.version)

    def receive(self, versions: list[SentVersion]) -> Received:
        added: list[str] = []
        present: list[str] = []
        for sent in versions:
            version = sent.version
            note = canonical(sent)
            there = self.objects.put_note(f"{_folder(version.name)}v{version.version}.json", note)
            if there == note:
                added.append(version.reference)
                continue
            if _decoded(there).version.digest != version.digest:
                raise another_version(version.reference, self.label)
            present.append(version.reference)
        return Received(added, present)


def another_version(reference: str, where: str) -> Conflict:
    """The error for a number that means one thing here and another there."""
    return Conflict(
        f"{reference} in {where} is another version than the one of this number here",
        hint="give it another name there: --as NAME",
    )


def needed_by_notes(store: "ContentStore") -> set[str]:
    """The digests of all objects that versions on the shelf need. Raises Corrupted when that cannot be told."""
    needed: set[str] = set()
    for sent in _sent(store):
        needed.add(sent.version.digest)
        needed |= {file.digest for file in Manifest.decode(store.read(sent.version.digest)).stored}
    return needed


def _sent(store: "ContentStore", name: str = "") -> list[SentVersion]:
    return [_decoded(note) for _, note in store.notes(_folder(name) if name else _NOTES)]


def _decoded(note: bytes) -> SentVersion:
    try:
        return msgspec.json.decode(note, type=SentVersion)
    except msgspec.MsgspecError as error:
        raise Corrupted(f"the note of a version in the store cannot be read: {error}") from None


def _folder(name: str) -> str:
    return f"{_NOTES}{hashlib.sha256(checked_name(name, 'dataset name').encode()).hexdigest()[:32]}/"
