"""What a step depends on outside of its code, as far as the code names it: files of the project, environment variables.

Their content is looked at when a key is made, not when the code is read: a step before may have written the file.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path

from everloop.domain.pipelines import Component
from everloop.pipelines.code.looks import Look, is_settled, look_of

_SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|_KEY$", re.IGNORECASE)
_QUOTED = re.compile(r"'([^'\n]+\.\w+)'")
_UNSET = "unset"

_digests: dict[Path, tuple[Look, str]] = {}


def is_secret(variable: str) -> bool:
    """Whether an environment variable is a secret by its name: who you are is no part of what a step computes.

    >>> is_secret("AWS_SECRET_ACCESS_KEY"), is_secret("GITHUB_TOKEN"), is_secret("LEARNING_RATE")
    (True, True, False)
    """
    return _SECRET.search(variable) is not None


def variable_digest(name: str) -> str:
    """Of the value that an environment variable has now."""
    value = os.environ.get(name)
    return _UNSET if value is None else sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def variables(names: Iterable[str]) -> Iterator[Component]:
    """One component for each variable; its value does not stand in it."""
    for name in names:
        yield Component("environment variable", name, variable_digest(name))


def files(paths: Iterable[Path], root: Path) -> Iterator[Component]:
    """One component for each of the paths that is a file now."""
    for path in paths:
        digest = digest_of_file(path)
        if digest is not None:
            yield Component("file", label_of(path, root), digest)


def label_of(path: Path, root: Path) -> str:
    """The path within the project, whole outside of it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def digest_of_file(path: Path) -> str | None:
    """The digest of a file's content; None when it is no file. What looks as it did is not read again."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        look = look_of(status)
        known = _digests.get(path)
        if known is not None and known[0] == look:
            return known[1]
        settled = is_settled(look, time.time_ns())
        with open(path, "rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if settled:
            _digests[path] = (look, digest)
        return digest
    except (OSError, ValueError):
        return None


def candidates(texts: tuple[str, ...], folder: Path, root: Path) -> Iterator[Path]:
    """The files that texts in code may name, each alone or joined with those after it, from the project's folder, from that of
    the code and from those between; also those that a query names in quotes. Files of Python are code, and not meant here.

    >>> [path.as_posix() for path in candidates(("data", "prices.csv"), Path("/p/src"), Path("/p"))]
    ['/p/data/prices.csv', '/p/src/data/prices.csv', '/p/prices.csv', '/p/src/prices.csv']
    >>> [path.as_posix() for path in candidates(("from 'a.parquet' join 'b.csv'",), Path("/p"), Path("/p"))]
    ['/p/a.parquet', '/p/b.csv']
    """
    queries = [text for text in texts if "'" in text and _QUOTED.search(text)]
    for name in [name for text in queries for name in _QUOTED.findall(text)]:
        yield from candidates((name,), folder, root)
    texts = tuple(text for text in texts if text not in queries) if queries else texts
    places = [root]
    if folder.is_relative_to(root):
        places += [
            root.joinpath(*folder.relative_to(root).parts[: n + 1])
            for n in range(len(folder.relative_to(root).parts))
        ]
    else:
        places.append(folder)
    for start in range(len(texts)):
        for end in range(len(texts), start, -1):
            parts = texts[start:end]
            if not all(_may_be_path(part) for part in parts) or "." not in parts[-1]:
                continue
            for place in places:
                path = Path(os.path.normpath(place.joinpath(*parts)))
                if path.suffix not in {".py", ""}:
                    yield path


def _may_be_path(text: str) -> bool:
    return 0 < len(text) < 255 and not any(each in text for each in "\n\0*?<>|{}") and "://" not in text
