"""Versions as files in a folder, and what was changed there since.

A checkout is written beside its folder and changes places with it in one step, so the folder holds one version or the other,
whatever kills the process. What is written beside is looked at before the step: from then on the folder is known file by file
(see `stat_index`), and `status` reads only what may have changed.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.data.incoming.folders import (
    Found,
    FoundLink,
    Listing,
    Look,
    list_contents,
    look_of,
    many_things,
)
from everloop.data.incoming.stat_index import Known, Seen, StatIndex, digest_of, digest_of_link
from everloop.data.incoming.stat_index import known as known_files
from everloop.domain.datasets import FileEntry, FolderStatus, Link, Manifest
from everloop.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from everloop.data.tables.file_cache import Kept
    from everloop.data.tables.file_contents import FileContents

_COPY = 1 << 20
_TICKS = 20
"""How many milliseconds the clock of a file system is given to move on."""


class Checkouts:
    """The folders of one workspace that hold a version. `pause` waits for as many seconds as it is given."""

    def __init__(self, folder: Path, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._folder = folder
        self.index = StatIndex(folder)
        self._pause = pause

    def status(self, folder: Path) -> FolderStatus:
        """What changed in a folder since it was checked out or added. Raises NotFound."""
        with many_things():
            known = self.index.get(folder)
            if known is None:
                if not folder.is_dir():
                    raise NotFound(f"there is no folder {folder}", hint="check the path")
                raise NotFound(
                    f"{folder} was neither checked out nor added here",
                    hint="see: everloop data checkout REF DIR",
                )
            return self._status(folder, known)

    def _status(self, folder: Path, known: Known) -> FolderStatus:
        begun = self.index.now() if os.access(self._folder, os.W_OK) else 0
        found = list_contents(folder)
        kept = known.files
        digests = known.digests(found.files)
        unsure = [file for file in found.files if file.path in kept and file.path not in digests]
        digests |= {file.path: digest_of(file) for file in unsure}
        changed = [
            file.path
            for file in found.files
            if (seen := kept.get(file.path)) is not None
            and (seen.digest != digests[file.path] or seen.executable != file.executable)
        ]
        if begun and any(kept[file.path].digest == digests[file.path] for file in unsure):
            self._refresh(folder, known, begun, found.files, digests)
        targets = {link.path: digest_of_link(link.target) for link in found.links}
        changed += [path for path, digest in targets.items() if path in kept and kept[path].digest != digest]
        changed += [other.path for other in found.others if other.path in kept]
        folders = {f"{path}/" for path in known.folders}
        there = {file.path for file in found.files} | targets.keys() | {other.path for other in found.others}
        there |= {f"{path}/" for path in found.folders}
        added = [path for path in there if path not in kept and path not in folders]
        removed = [path for path in (*kept, *folders) if path not in there]
        return FolderStatus(
            folder=str(folder),
            reference=known.reference,
            clean=not (added or removed or changed),
            added=sorted(added),
            removed=sorted(removed),
            changed=sorted(changed),
            only=known.only,
        )

    def _refresh(
        self, folder: Path, known: Known, begun: int, found: Iterable[Found], digests: dict[str, str]
    ) -> None:
        """Files that were read and are as they were need not be read the next time."""
        files = dict(known.files)
        for file in found:
            seen = files.get(file.path)
            if seen is not None and seen.digest == digests.get(file.path):
                files[file.path] = Seen(seen.digest, *file.look, seen.executable)
        self.index.put(folder, msgspec.structs.replace(known, begun=begun, files=files))

    def write(
        self,
        contents: FileContents,
        reference: str,
        manifest: Manifest,
        folder: Path,
        identifier: str,
        *,
        link: Link | None,
        only: Sequence[str],
        force: bool,
    ) -> Link:
        """Put a version's files into a folder, all at once; one that holds them already, unchanged, is left as it is. Returns
        how they were made.

        Raises Conflict when the folder has anything else in it than a version that is known, unless `force`.
        """
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file", hint="name a folder")
        with many_things(), self.index.alone(folder), contents.storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._clear_leftovers(folder)
            known, clean = self._clean_files(folder, force)
            if known is not None and link is not Link.REFLINK and _holds(known, manifest, link):
                if (known.reference, known.only) != (reference, list(only)):
                    known = msgspec.structs.replace(known, reference=reference, only=list(only))
                    self.index.put(folder, known)
                return Link.HARDLINK if known.shared else contents.chosen_link(link, folder.parent)
            beside = folder.parent / f".{folder.name}.{identifier}.new"
            try:
                beside.mkdir()
                way = contents.chosen_link(link, beside)
                linked, rest = self._fill(contents, way, manifest, beside, folder, clean)
                reused = rest < len(manifest.files)
                known = self._known(reference, manifest, beside, only, linked)
                self.index.prepare(folder, beside, known)
                self._change_places(beside, folder, identifier)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            self.index.put(folder, self._after_removal(folder, known) if reused else known)
        return way

    def _fill(
        self,
        contents: FileContents,
        way: Link,
        manifest: Manifest,
        beside: Path,
        folder: Path,
        clean: dict[str, str],
    ) -> tuple[dict[str, Kept], int]:
        """Make every file. One that the folder holds already, unchanged, only gets a second name: so to go from one version to
        the next costs what differs. Returns which are links to what, and how many files were made."""
        rest: list[FileEntry] = []
        parents = {file.path.rpartition("/")[0] for file in manifest.files}
        parents |= {link.path.rpartition("/")[0] for link in manifest.links}
        for place in sorted({*parents, *manifest.folders} - {""}):
            os.makedirs(f"{beside}/{place}", exist_ok=True)
        for file in manifest.files:
            if way is Link.HARDLINK or clean.get(file.path) != file.digest:
                rest.append(file)
                continue
            held = f"{folder}/{file.path}"
            try:
                status = os.lstat(held)
                # More than one name: a link to the workspace's own file.
                if status.st_nlink > 1 or bool(status.st_mode & stat.S_IXUSR) != file.executable:
                    rest.append(file)
                else:
                    os.link(held, f"{beside}/{file.path}")
            except OSError:  # no hard links here
                rest.append(file)
        linked = contents.write(rest, beside, way)
        for link in manifest.links:  # after the files: nothing is written through a link
            os.symlink(link.target, f"{beside}/{link.path}")
        return linked, len(rest)

    def _clean_files(self, folder: Path, force: bool) -> tuple[Known | None, dict[str, str]]:
        """What is known of the folder, if all of it is as it was; and path and content of those of its files that are. Raises
        Conflict when there is anything that is not, unless `force`."""
        if not folder.is_dir() or not any(folder.iterdir()):
            return None, {}
        known = self.index.get(folder)
        if known is None:
            if force:
                return None, {}
            raise Conflict(
                f"{folder} is not empty",
                hint="choose another folder, or use --force to replace what is there",
            )
        status = self._status(folder, known)
        different = [*status.added, *status.changed, *status.removed]
        if different and not force:
            raise Conflict(
                f"{folder} has local changes: {', '.join(different[:5])}{' …' if len(different) > 5 else ''}",
                hint="add them as a version first, or use --force to lose them",
            )
        gone = {*status.removed, *status.changed}
        clean = {path: seen.digest for path, seen in known.files.items() if path not in gone}
        return (None if different else known), clean

    def _known(
        self,
        reference: str,
        manifest: Manifest,
        beside: Path,
        only: Sequence[str],
        linked: Mapping[str, Kept],
    ) -> Known:
        """What was written, as it looks now that nobody else has seen it. What is linked looks as what it is a link to; when that
        changed does not matter then."""
        digests = {file.path: file.digest for file in manifest.files}
        if linked:
            files = [
                Found(file.path, "", Look(kept.size, kept.modified, 0, kept.inode))
                if (kept := linked.get(file.path)) is not None
                else Found(file.path, "", look_of(os.lstat(f"{beside}/{file.path}")), file.executable)
                for file in manifest.files
            ]
            links = [
                FoundLink(link.path, "", look_of(os.lstat(f"{beside}/{link.path}")), link.target)
                for link in manifest.links
            ]
            found = Listing(files, links, list(manifest.folders), [])
        else:
            found = list_contents(beside)
        newest = max((max(file.look.modified, file.look.changed) for file in found.files), default=0)
        for _ in range(_TICKS):
            if (begun := self.index.now()) > newest:
                break
            self._pause(0.001)
        return known_files(reference, begun, found, digests, only=only, shared=bool(linked))

    def _after_removal(self, folder: Path, known: Known) -> Known:
        """A file that had a name in the old folder too has changed by losing it, though not in its content."""
        files = dict(known.files)
        for path, seen in known.files.items():
            try:
                look = look_of(os.lstat(f"{folder}/{path}"))
            except OSError:
                continue
            if (look.size, look.modified, look.inode) == (seen.size, seen.modified, seen.inode):
                files[path] = Seen(seen.digest, *look, seen.executable)
        newest = max((seen.changed for seen in files.values()), default=0)
        if files == known.files or newest < known.begun:
            return msgspec.structs.replace(known, files=files)
        for _ in range(_TICKS):
            if (begun := self.index.now()) > newest:
                return msgspec.structs.replace(known, files=files, begun=begun)
            self._pause(0.001)
        return known

    def _change_places(self, beside: Path, folder: Path, identifier: str) -> None:
        from everloop.data.checkouts.linking import exchange

        if not folder.is_dir():
            beside.rename(folder)
            return
        if exchange(beside, folder):
            return
        aside = folder.parent / f".{folder.name}.{identifier}.before"
        folder.rename(aside)
        try:
            beside.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)

    def _clear_leftovers(self, folder: Path) -> None:
        """What a killed process left beside the folder. The folder itself may stand there under another name, where the system
        cannot let two folders change places in one step."""
        for left in folder.parent.glob(f".{_escaped(folder.name)}.*.before"):
            if folder.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.rename(folder)
        for left in folder.parent.glob(f".{_escaped(folder.name)}.*.new"):
            shutil.rmtree(left, ignore_errors=True)


def _holds(known: Known, manifest: Manifest, link: Link | None) -> bool:
    """Whether a folder that is as it was holds just what a manifest says, made in the way that is asked for."""
    if known.shared != (link is Link.HARDLINK) or sorted(known.folders) != sorted(manifest.folders):
        return False
    if len(known.files) != len(manifest.files) + len(manifest.links):
        return False
    held = known.files.get
    return all(
        (seen := held(file.path)) is not None and (seen[0], seen[5]) == (file.digest, file.executable)
        for file in manifest.files
    ) and all(
        (seen := held(each.path)) is not None and seen[0] == digest_of_link(each.target)
        for each in manifest.links
    )


def _escaped(name: str) -> str:
    """A name as a pattern that matches only itself.

    >>> _escaped("a[1]")
    'a[[]1]'
    """
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)
