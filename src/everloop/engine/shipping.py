"""A project's code on its way to a machine that does not share our files: packed here, unpacked there once."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from everloop.errors import TooLarge

LARGEST_FILE = 1024 * 1024
"""Larger files are data, which belong into datasets."""
LARGEST = 100 * 1024 * 1024
NOT_CODE = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


def pack(project: Path) -> bytes:
    """The files of a project that may be code or settings, as a zip. Raises TooLarge."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(project):
            archive.writestr(path.relative_to(project).as_posix(), path.read_bytes())
            if packed.tell() > LARGEST:
                raise TooLarge(
                    f"the code in {project} is more than {LARGEST >> 20} MB and cannot be sent to other machines",
                    hint="move the data out of the project's folder; they belong into datasets",
                )
    return packed.getvalue()


def unpack(packed: bytes) -> Path:
    """The folder of a packed project on this machine; processes that ask for the same one get the same folder."""
    digest = hashlib.sha256(packed).hexdigest()
    place = Path(tempfile.gettempdir(), f"everloop-code-{os.getuid()}", digest[:32])
    if not place.is_dir():
        place.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=place.parent))
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(fresh)
        try:
            fresh.rename(place)
        except OSError:  # another process was quicker
            if not place.is_dir():
                raise
    return place


def _files(project: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(project):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in NOT_CODE
            and not Path(folder, each, "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_FILE:
                yield path
