"""The files below a folder that somebody else filled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from everloop.exchange.source import ForeignFile, Skipped


def files_below(root: Path, kind: str, name: str, skipped: list[Skipped]) -> Iterator[ForeignFile]:
    """Regular files below `root`, sorted by path. A link is followed only to a file below `root`: a folder from elsewhere must
    not bring in what its maker could not read. What is left is added to `skipped`."""
    real = root.resolve()

    def left(error: OSError) -> None:
        skipped.append(Skipped(kind, f"{name}/{_path(Path(error.filename), root)}", str(error.strerror)))

    for folder, folders, files in os.walk(root, onerror=left):
        folders.sort()
        here = Path(folder)
        links = [_path(here / each, root) for each in folders if (here / each).is_symlink()]
        skipped += [Skipped(kind, f"{name}/{each}", "a link to a folder is not followed") for each in links]
        for file in sorted(files):
            each = here / file
            path = _path(each, root)
            if each.is_symlink() and not each.resolve().is_relative_to(real):
                skipped.append(Skipped(kind, f"{name}/{path}", "the link leads out of the folder"))
            elif not each.is_file():
                skipped.append(Skipped(kind, f"{name}/{path}", "it is not a regular file"))
            else:
                yield ForeignFile(path, each, each.stat().st_size)


def _path(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
