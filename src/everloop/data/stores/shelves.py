"""A shelf: an object store that is shared without a ledger, such as a folder on a network disk or a bucket on S3.

Beside the objects stands a note for each version, ``datasets/<name's digest>/v3.json``, written once and never changed. Objects
that a note names stay when a workspace that keeps its own objects in the same store collects.
"""

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.datasets import Manifest, VersionRecord
from everloop.domain.handover import RESULT_NOTES, decoded_results
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
            try:
                needs = _needs(self.objects, version)
            except NotFound:
                raise Conflict(
                    f"the list of files of {version.reference} is not in {self.label}", hint="send it again"
                ) from None
            there = self.objects.put_note(_key(version), note, needs=needs)
            if there == note:
                added.append(version.reference)
                continue
            if _decoded(there).version.digest != version.digest:
                raise another_version(version.reference, self.label)
            present.append(version.reference)
        return Received(added, present)

    def take_down(self, references: list[str]) -> list[str]:
        """Take versions off the shelf, or all of a dataset; gives their references. Their bytes go with the next collection."""
        going = [sent.version for reference in references for sent in self.sent(reference)]
        for version in going:
            self.objects.drop_note(_key(version))
        return [version.reference for version in going]


def another_version(reference: str, where: str) -> Conflict:
    """The error for a number that means one thing here and another there."""
    return Conflict(
        f"{reference} in {where} is another version than the one of this number here",
        hint="give it another name there: --as NAME",
    )


def needed_by_notes(store: "ContentStore", *, without: Collection[str] = ()) -> set[str]:
    """The digests of all objects that versions and results of steps on the shelf need; of versions but those `without`. Raises
    Corrupted when that cannot be told."""
    needed = {each for _, note in store.notes(RESULT_NOTES) for each in decoded_results(note).needs}
    for sent in _sent(store):
        if sent.version.reference not in without:
            needed |= _needs(store, sent.version)
    return needed


def _needs(store: "ContentStore", version: VersionRecord) -> set[str]:
    manifest = Manifest.decode(store.read(version.digest))
    return {version.digest} | {file.digest for file in manifest.stored}


def _sent(store: "ContentStore", name: str = "") -> list[SentVersion]:
    return [_decoded(note) for _, note in store.notes(_folder(name) if name else _NOTES)]


def _decoded(note: bytes) -> SentVersion:
    try:
        return msgspec.json.decode(note, type=SentVersion)
    except msgspec.MsgspecError as error:
        raise Corrupted(f"the note of a version in the store cannot be read: {error}") from None


def _key(version: VersionRecord) -> str:
    return f"{_folder(version.name)}v{version.version}.json"


def _folder(name: str) -> str:
    return f"{_NOTES}{hashlib.sha256(checked_name(name, 'dataset name').encode()).hexdigest()[:32]}/"
