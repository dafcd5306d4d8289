"""Writes a version as DVC keeps it: a `.dvc` file in a DVC repository, and its content in that repository's cache.

`dvc checkout` brings the files back from there, and `dvc push` sends them on.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.datasets import checked_path
from everloop.errors import Conflict, InvalidInput
from everloop.exchange.dvc.caches import Caches
from everloop.exchange.dvc.tracked import FOLDER

if TYPE_CHECKING:
    from everloop.data.data import Data
    from everloop.data.dataset import Dataset

_PIECE = 1 << 20


class ExportedToDvc(msgspec.Struct, frozen=True):
    """What was written: the `.dvc` file, the MD5 it names, and how many files of how many bytes are in the cache."""

    reference: str
    path: str
    md5: str
    files: int
    bytes: int


def export_dvc(
    room: Data, reference: str, repository: Path, path: str = "", *, force: bool = False
) -> ExportedToDvc:
    """Write a version into a DVC repository. It becomes a folder; a file, when it has one file that is called as `path` ends.

    path: what it is called there, from the repository's folder; the dataset's name when not given. A `.dvc` file that names other
    content is replaced with `force` only: Conflict.
    """
    if not (repository / ".dvc").is_dir():
        raise InvalidInput(
            f"{repository} is no DVC repository: it has no folder .dvc", hint="make it one: dvc init"
        )
    dataset = room.dataset(reference)
    target = checked_path(path or dataset.name)
    cache = Caches(repository).own
    is_file = [file.path for file in dataset.manifest.files] == [target.rpartition("/")[2]]
    digests = {file.path: _cached(dataset, file.path, cache) for file in dataset.manifest.files}
    out: dict[str, object] = {}
    if is_file:
        (md5,) = digests.values()
    else:
        listing = [{"md5": digests[name], "relpath": name} for name in sorted(digests)]
        content = json.dumps(listing, sort_keys=True).encode()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER
        _put(cache, md5, content)
        out["nfiles"] = len(digests)
    out = {"md5": md5, "size": dataset.manifest.size, **out, "hash": "md5", "path": target.rpartition("/")[2]}
    written = _write(repository / f"{target}.dvc", out, force)
    _ignore(repository / target)
    return ExportedToDvc(
        dataset.reference,
        written.relative_to(repository).as_posix(),
        md5,
        len(digests),
        dataset.manifest.size,
    )


def _cached(dataset: Dataset, path: str, cache: Path) -> str:
    """Bring a file into the cache; returns its MD5, which is known when all of it was read."""
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    with dataset.open(path) as source, tempfile.NamedTemporaryFile(dir=cache, delete=False) as copy:
        try:
            while piece := source.read(_PIECE):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            _enter(Path(copy.name), cache, digest.hexdigest())
        finally:
            Path(copy.name).unlink(missing_ok=True)
    return digest.hexdigest()


def _put(cache: Path, md5: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as copy:
        try:
            copy.write(content)
            copy.flush()
            _enter(Path(copy.name), cache, md5)
        finally:
            Path(copy.name).unlink(missing_ok=True)


def _enter(staged: Path, cache: Path, md5: str) -> None:
    place = cache / "files" / "md5" / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o444)  # as DVC protects its cache
    os.replace(staged, place)


def _write(path: Path, out: dict[str, object], force: bool) -> Path:
    import yaml

    text = yaml.safe_dump({"outs": [out]}, sort_keys=False, allow_unicode=True, width=1 << 20)
    if path.exists() and path.read_text(encoding="utf-8") != text and not force:
        raise Conflict(f"{path.name} is there and names other content", hint="replace it with --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _ignore(target: Path) -> None:
    """As `dvc add` does: what DVC tracks, git does not."""
    ignore = target.parent / ".gitignore"
    line = f"/{target.name}"
    known = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    if line not in known:
        ignore.write_text("\n".join([*known, line, ""]), encoding="utf-8")
