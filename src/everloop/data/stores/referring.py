"""Looking at the files that versions only refer to: whether each is where it was, with the bytes that were pinned."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256

from everloop.data.incoming.addresses import open_address, shown_address, size_at
from everloop.domain.datasets import FileEntry, Manifest
from everloop.domain.transfers import Damage, Use
from everloop.errors import EverloopError

_PIECE = 1 << 20


class References:
    """The files that some versions refer to, each with those that do.

    One file may be pinned with several digests, by versions that were made before and after it changed: then only one of them can
    be whole.
    """

    def __init__(self, manifests: Iterable[tuple[str, Manifest]]) -> None:
        self._users: Mapping[FileEntry, set[Use]] = defaultdict(set)
        for reference, manifest in manifests:
            for file in manifest.files:
                if file.source:
                    pinned = FileEntry("", file.digest, file.size, file.source)
                    self._users[pinned].add(Use(reference, file.path))

    def __len__(self) -> int:
        return len(self._users)

    def faults(self, *, full: bool) -> list[Damage]:
        """What is wrong: by size, or with `full` by every byte, which are fetched for that from wherever they are."""
        found = []
        for file, users in sorted(self._users.items(), key=lambda each: each[0].source):
            message = _wrong(file, full=full)
            if message:
                found.append(Damage(shown_address(file.source), file.digest, message, sorted(users)))
        return found


def _wrong(file: FileEntry, *, full: bool) -> str:
    try:
        size = size_at(file.source)
        if size is not None and size != file.size:
            return f"it has {size:,} bytes, and had {file.size:,} when the version was made"
        if full and _digest_at(file.source) != file.digest:
            return "it has other bytes than when the version was made"
    except EverloopError as error:
        return error.message
    return ""


def _digest_at(address: str) -> str:
    digest = sha256()
    with open_address(address) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
