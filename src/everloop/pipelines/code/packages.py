"""Distributions: which one a module belongs to, its version, and what it requires, read from the ``*.dist-info`` folders.

Names of folders are enough for most questions (0.3 ms); the standard library's `importlib.metadata` takes 20 to 170 ms.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from everloop.domain.canonical import sha256

_REQUIRES = re.compile(rb"^Requires-Dist:\s*([A-Za-z0-9][A-Za-z0-9._-]*)(.*)$", re.MULTILINE)


class Site:
    """The distributions of one ``site-packages`` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._infos: dict[str, tuple[Path, str]] = {}
        self._owners: dict[str, set[str]] | None = None
        for entry in os.scandir(folder):
            if entry.name.endswith(".dist-info"):
                name, _, version = entry.name.removesuffix(".dist-info").partition("-")
                self._infos[normalized(name)] = (Path(entry.path), version)

    def version(self, distribution: str) -> str | None:
        """The version; one installed from a path keeps its version while its code changes, so its file list is added."""
        found = self._infos.get(distribution)
        if found is None:
            return None
        info, version = found
        if (info / "direct_url.json").is_file() and b'"dir_info"' in (info / "direct_url.json").read_bytes():
            record = info / "RECORD"
            if record.is_file():
                return f"{version}+files.{sha256(record.read_bytes())[:12]}"
        return version

    def owners(self, top_level: str) -> list[str]:
        """The distributions that a top-level module belongs to (several for a namespace package)."""
        if normalized(top_level) in self._infos:
            return [normalized(top_level)]
        if self._owners is None:
            self._owners = {}
            for name, (info, _) in self._infos.items():
                for top in _top_levels(info):
                    self._owners.setdefault(top, set()).add(name)
        return sorted(self._owners.get(top_level, ()))

    def requires(self, distribution: str) -> list[str]:
        """The installed distributions that this one needs, without its extras."""
        found = self._infos.get(distribution)
        metadata = found[0] / "METADATA" if found else None
        if metadata is None or not metadata.is_file():
            return []
        needed = {
            normalized(name.decode())
            for name, rest in _REQUIRES.findall(metadata.read_bytes().split(b"\n\n", 1)[0])
            if b"extra" not in rest.partition(b";")[2]
        }
        return sorted(needed & self._infos.keys())

    def closure(self, distribution: str) -> dict[str, str]:
        """The distribution and all that it needs, with versions."""
        found: dict[str, str] = {}
        waiting = [distribution]
        while waiting:
            name = waiting.pop()
            version = self.version(name)
            if name in found or version is None:
                continue
            found[name] = version
            waiting += self.requires(name)
        return found


@cache
def site(folder: Path) -> Site:
    """The distributions of a folder, read once a process."""
    return Site(folder)


def normalized(name: str) -> str:
    """The one spelling of a distribution's name.

    >>> normalized("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _top_levels(info: Path) -> set[str]:
    record = info / "RECORD"
    if not record.is_file():
        return set()
    tops = set()
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.partition(",")[0].strip('"')
        top = path.partition("/")[0]
        if not top.endswith((".dist-info", ".data")) and top not in {"..", "__pycache__"}:
            tops.add(top.partition(".")[0])
    return tops
