"""The project's code and settings as objects of the store, so that each run can be looked into and made again.

What every file held when it was last read is kept in the workspace's folder, by how the file looks from outside, as git's index
does: one that looks the same is not read again, unless it was written so shortly before it was read that its look need not tell.
Whether the store still has what is in it is asked each time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.runs import HeldObject
from everloop.pipelines.code.looks import Look, look_of, read
from everloop.pipelines.kinds.cells import stripped
from everloop.store.objects import Objects
from everloop.tracking.capture import Code, CodeFile
from everloop.tracking.secrets import holds_secrets

ENDINGS = frozenset(
    {
        ".py",
        ".toml",
        ".sql",
        ".json",
        ".yaml",
        ".yml",
        ".txt",
        ".cfg",
        ".ini",
        ".j2",
        ".html",
        ".sh",
        ".ipynb",
    }
)
"""Of the project's files that are kept with a run: its code and settings. Data belongs into datasets."""
LARGEST = 512 * 1024
FILE = "code.files"
VERSION = 1

_NOT_PROJECT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


class _Read(msgspec.Struct, frozen=True, array_like=True):
    """What was kept of a file that looked like this."""

    look: Look
    digest: str
    size: int


class _Index(msgspec.Struct, array_like=True):
    version: int
    projects: dict[str, dict[str, _Read]]
    """Folder of a project -> path within it -> what was read last."""


_stored: WeakKeyDictionary[Objects, set[str]] = WeakKeyDictionary()
"""What this process has put into each store, or found there."""


def forget_kept(objects: Objects) -> None:
    """Believe no more that a store has what this process found there: it was freed since, for nothing needed it then."""
    _stored.pop(objects, None)


def keep_code(objects: Objects, root: Path, workspace: Path) -> list[HeldObject]:
    """Store the project's code and settings; the first object is the record that `everloop.tracking.capture.restore` reads.
    `workspace`: the folder in which is kept what was read."""
    place = workspace / FILE
    index = _known(place)
    before = index.projects.get(str(root), {})
    now: dict[str, _Read] = {}
    entries: list[CodeFile] = []
    skipped: list[str] = []
    stored = _stored.setdefault(objects, set())
    found = dict(_files(str(root)))
    same = {
        name: before[name] for name in found if name in before and before[name].look == look_of(found[name])
    }
    with objects.writer() as writer:
        unsure = {each.digest for each in same.values()} - stored
        there = stored | (writer.present(unsure) if unsure else set())
        for name in sorted(found):
            if holds_secrets(name):
                skipped.append(name)
                continue
            kept, settled = same.get(name), True
            if kept is None or kept.digest not in there:
                if found[name].st_size > LARGEST and not name.endswith(".ipynb"):
                    skipped.append(name)
                    continue
                try:
                    content, seen = read(os.path.join(root, name))
                    name.encode()
                except (OSError, UnicodeEncodeError):
                    skipped.append(name.encode(errors="replace").decode())
                    continue
                put = writer.add(_content(name, content))
                there.add(put.digest)
                kept, settled = _Read(seen.look, put.digest, put.size), seen.settled
            if settled:
                now[name] = kept
            mode = "100755" if found[name].st_mode & 0o100 else "100644"
            entries.append(CodeFile(name, kept.digest, kept.size, mode))
        record = writer.add(canonical(Code("", "", entries, [], skipped)))
    stored |= there
    if now != before:
        _keep(place, index, str(root), now)
    return [HeldObject(record.digest, record.size), *(HeldObject(each.digest, each.size) for each in entries)]


def _content(name: str, content: bytes) -> bytes:
    """What is kept of a file: of a notebook, not what running it has left in it."""
    if not name.endswith(".ipynb"):
        return content
    try:
        return stripped(content)
    except (ValueError, KeyError, TypeError, AttributeError):  # not a notebook, whatever its name says
        return content


def _files(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """The files to keep, by their paths within the project with ``/``: none in hidden folders, environments or behind links."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(root, inside)))
        except OSError:  # gone meanwhile, or not to be read
            continue
        if inside and any(each.name == "pyvenv.cfg" for each in entries):
            continue
        for each in entries:
            if each.is_dir(follow_symlinks=False):
                if not each.name.startswith(".") and each.name not in _NOT_PROJECT:
                    waiting.append(f"{inside}{each.name}/")
            elif os.path.splitext(each.name)[1] in ENDINGS:
                status = each.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield inside + each.name, status


def _known(place: Path) -> _Index:
    """What was read before; nothing where that is damaged or of another version."""
    try:
        index = msgspec.msgpack.decode(place.read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError):
        return _Index(VERSION, {})
    return index if index.version == VERSION else _Index(VERSION, {})


def _keep(place: Path, index: _Index, root: str, now: dict[str, _Read]) -> None:
    """Write the index whole. Where nothing can be written the next run reads the files again, which is no reason to fail."""
    index.projects[root] = now
    written = place.with_name(f"{FILE}.{os.getpid()}")
    try:
        written.write_bytes(msgspec.msgpack.encode(index))
        written.replace(place)
    except OSError:
        written.unlink(missing_ok=True)
