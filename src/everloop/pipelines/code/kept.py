"""Facts of files that outlive the process, so that the next one need not parse a whole project again.

Facts are kept by the digest of the file's content: a file is read each time, and what was kept for another content is never
taken for it, whatever its times say. What wrote the facts counts too: this code itself, and the version of Python that parses.
All is one file in the workspace's folder, written whole; one that is damaged or of another version counts as absent.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from functools import cache, cached_property
from pathlib import Path

import msgspec

from everloop.pipelines.code.facts import ModuleFacts

WORKSPACE = ".everloop"
FILE = "code.facts"

UNUSED = 1_000
"""Facts of how many files are kept at least that this run had no use for: of other pipelines, and from before an edit."""

_WRITERS = ("doing.py", "facts.py", "kept.py", "normal.py", "scopes.py", "source.py")
_DIGEST = 32

_decode = msgspec.msgpack.Decoder(dict[bytes, msgspec.Raw]).decode
_decode_facts = msgspec.msgpack.Decoder(ModuleFacts).decode
_encode = msgspec.msgpack.Encoder().encode


class Kept:
    """The facts that are kept for one project, as far as this process asks for them. Without a workspace, none are."""

    def __init__(self, root: Path) -> None:
        self._place = root / WORKSPACE / FILE
        self._used: dict[bytes, ModuleFacts] = {}
        self._grown = False

    @cached_property
    def _before(self) -> dict[bytes, msgspec.Raw]:
        """What is kept, the least recently used first."""
        try:
            content = self._place.read_bytes()
            payload = memoryview(content)[2 * _DIGEST :]
            if content[: 2 * _DIGEST] == writers() + hashlib.sha256(payload).digest():
                return _decode(payload)
        except (OSError, msgspec.MsgspecError):
            pass
        return {}

    def get(self, content: bytes) -> ModuleFacts | None:
        """The facts of a content, by its digest."""
        known = self._used.get(content)
        if known is None and (kept := self._before.get(content)) is not None:
            known = self._used[content] = _decode_facts(kept)
        return known

    def use(self, content: bytes, facts: ModuleFacts, *, grown: bool) -> None:
        """Keep these facts. `grown`: they are new, or more than those that were kept."""
        self._used[content] = facts
        if grown:
            self._before.pop(content, None)
            self._grown = True

    def save(self) -> None:
        """Write what is new. Where nothing can be written the next process parses again, which is no reason to fail."""
        if not self._grown or not self._place.parent.is_dir():
            return
        self._grown = False
        unused = [content for content in self._before if content not in self._used]
        facts = {content: self._before[content] for content in unused[-max(UNUSED, len(self._used)) :]}
        for content, used in list(self._used.items()):
            known = self._before.get(content)
            facts[content] = msgspec.Raw(_encode(used)) if known is None else known
        self._before = facts
        payload = _encode(facts)
        written = self._place.with_name(f"{FILE}.{os.getpid()}-{threading.get_ident()}")
        try:
            written.write_bytes(writers() + hashlib.sha256(payload).digest() + payload)
            written.replace(self._place)
        except OSError:
            written.unlink(missing_ok=True)


@cache
def writers() -> bytes:
    """The digest of all that decides what facts say of a content."""
    digest = hashlib.sha256(f"{sys.version} {sys.implementation.cache_tag} {msgspec.__version__}".encode())
    for name in _WRITERS:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.digest()
