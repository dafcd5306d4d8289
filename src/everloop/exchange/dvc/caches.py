"""Where DVC keeps bytes: its cache and remotes that are folders, by MD5, in the layouts of DVC 3 and of those before it."""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from everloop.domain.datasets import checked_path
from everloop.errors import InvalidInput
from everloop.exchange.dvc.tracked import FOLDER, Output
from everloop.exchange.source import Skipped

_HEX = frozenset("0123456789abcdef")
_PIECE = 1 << 20
_TEXT_BLOCK = 512
_TEXT_CHARACTERS = bytes(range(32, 127)) + b"\n\r\t\f\b"


class Lost(Exception):
    """The bytes of an output, or of a file in a folder, cannot be had. The message is the reason."""


class Listed(msgspec.Struct, frozen=True):
    """A file of an output: its path within (the output's own name for a single file), and where its bytes are."""

    path: str
    md5: str
    place: Path


class _Entry(msgspec.Struct):
    md5: str
    relpath: str


_ENTRIES = msgspec.json.Decoder(list[_Entry])


class Caches:
    """The folders in which a DVC repository keeps content. Each file is checked against its MD5 once."""

    def __init__(self, folder: Path) -> None:
        self.skipped: list[Skipped] = []
        self._roots = list(self._found(folder))
        self.own = self._roots[0]
        """The repository's own cache."""
        self._checked: dict[tuple[str, bool], Path] = {}

    def files(self, output: Output) -> list[Listed]:
        """The files of an output, all of them there and whole. Raises Lost."""
        if not output.is_folder:
            return [Listed(output.path.rpartition("/")[2], output.md5, self.place(output.md5, output.plain))]
        listing = self.place(output.md5, True).read_bytes()
        try:
            entries = _ENTRIES.decode(listing)
            paths = [checked_path(entry.relpath) for entry in entries]
        except (msgspec.MsgspecError, InvalidInput) as error:
            raise Lost(f"the list of its files cannot be read: {error}") from None
        return [
            Listed(path, entry.md5, self.place(entry.md5, output.plain))
            for path, entry in zip(paths, entries, strict=True)
        ]

    def place(self, md5: str, plain: bool) -> Path:
        """Where the content of this MD5 is. Raises Lost when it is nowhere, or only damaged."""
        known = self._checked.get((md5, plain))
        if known is not None:
            return known
        digits = md5.removesuffix(FOLDER)
        if len(digits) != 32 or not _HEX.issuperset(digits):
            raise Lost(f"'{md5}' is no MD5")
        damaged = False
        for root in self._roots:
            # DVC 3 keeps the content of repositories that DVC 2 made in the old layout.
            for below in (root / "files" / "md5", root):
                place = below / md5[:2] / md5[2:]
                if not place.is_file():
                    continue
                if self._is_whole(place, digits, plain):
                    self._checked[md5, plain] = place
                    return place
                damaged = True
        if damaged:
            raise Lost(f"its content in the cache is damaged: it does not match its MD5 {digits}")
        raise Lost(f"its content (MD5 {digits}) is neither in the cache nor in a remote that is a folder")

    def _is_whole(self, place: Path, md5: str, plain: bool) -> bool:
        with place.open("rb") as file:
            digest = hashlib.md5(usedforsecurity=False)
            if plain or place.name.endswith(FOLDER):
                while piece := file.read(_PIECE):
                    digest.update(piece)
                return digest.hexdigest() == md5
            return _old_md5(file.read) == md5

    def _found(self, folder: Path) -> Iterator[Path]:
        """The cache, then the default remote, then the others."""
        config = configparser.ConfigParser(interpolation=None, strict=False)
        here = folder / ".dvc"
        for name in ("config", "config.local"):
            try:
                config.read(here / name, encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError) as error:
                self.skipped.append(Skipped("config", f".dvc/{name}", f"it cannot be read: {error}"))
        yield (here / config.get("cache", "dir", fallback="cache")).resolve()
        default = config.get("core", "remote", fallback="")
        sections = [name for name in config.sections() if name.strip("'").startswith("remote ")]
        for section in sorted(sections, key=lambda name: _remote(name) != default):
            url = config.get(section, "url", fallback="").removeprefix("file://")
            if "://" in url or url.startswith("azure:"):
                reason = f"it is at {url}; bring its content into the cache first: dvc fetch --all-commits"
                self.skipped.append(Skipped("remote", _remote(section), reason))
            elif url:
                yield (here / url).resolve()


def _remote(section: str) -> str:
    return section.strip("'").removeprefix("remote ").strip('"')


def _old_md5(read: Callable[[int], bytes]) -> str:
    """The MD5 that DVC before version 3 gave a file: CRLF is LF in each piece of a megabyte that looks like text."""
    digest = hashlib.md5(usedforsecurity=False)
    while piece := read(_PIECE):
        digest.update(piece.replace(b"\r\n", b"\n") if _looks_like_text(piece[:_TEXT_BLOCK]) else piece)
    return digest.hexdigest()


def _looks_like_text(block: bytes) -> bool:
    """As DVC tells it: no zero byte, and at most 30 % of the first 512 bytes are no text of ASCII."""
    if b"\0" in block:
        return False
    return len(block.translate(None, _TEXT_CHARACTERS)) / len(block) <= 0.30
