"""A Feast repository as it lies in a folder: its configuration, and what its Python files declare."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
import yaml

from everloop.errors import Failed, InvalidInput, NotFound
from everloop.exchange.feast.declared import Repository

CONFIGURATION = "feature_store.yaml"
IGNORED = ".feastignore"
SECONDS = 300
"""How long the repository's files may take."""


class Config(msgspec.Struct, frozen=True):
    """What of ``feature_store.yaml`` matters here."""

    folder: Path
    project: str
    online: str
    offline: str


def read_config(path: Path) -> Config:
    """The configuration of a repository: its folder, or a folder with one below it, or the file itself."""
    folder = path.parent if path.name == CONFIGURATION else path
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="name the folder of a Feast repository")
    file = folder / CONFIGURATION
    if not file.is_file():
        below = sorted(folder.glob(f"*/{CONFIGURATION}"))
        if len(below) != 1:
            raise InvalidInput(
                f"{folder} is not a Feast repository: it has no {CONFIGURATION}",
                hint=f"name {below[0].parent}" if below else "name the folder that has it",
            )
        file = below[0]
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} says nothing")
    return Config(
        folder=file.parent.resolve(),
        project=str(found.get("project") or file.parent.name),
        online=_kind(found.get("online_store"), "sqlite"),
        offline=_kind(found.get("offline_store"), "file"),
    )


def read_repository(config: Config) -> Repository:
    """Run the repository's files in a process of their own and hear what they declare."""
    files = list(_files(config.folder))
    if not files:
        raise InvalidInput(f"{config.folder} has no Python files, so it declares nothing")
    with tempfile.TemporaryDirectory(prefix="everloop-feast-") as scratch:
        answer = Path(scratch) / "declared.json"
        command = [sys.executable, "-m", "everloop.exchange.feast.running", str(config.folder), str(answer)]
        try:
            done = subprocess.run(
                [*command, *files], cwd=config.folder, capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"the files of {config.folder} ran for more than {SECONDS} seconds") from None
        if not answer.is_file():
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = lines[-1] if lines else f"they ended the process with {done.returncode}"
            raise Failed(f"the files of {config.folder} could not be run: {why}")
        return msgspec.json.decode(answer.read_bytes(), type=Repository)


def _files(folder: Path) -> Iterator[str]:
    """The Python files that ``feast apply`` would run."""
    ignored = folder / IGNORED
    patterns = [
        line.strip().rstrip("/")
        for line in (ignored.read_text(encoding="utf-8").splitlines() if ignored.is_file() else ())
        if line.strip() and not line.startswith("#")
    ]
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        parts = [*relative.parts[:-1], relative.stem]
        if any(part.startswith((".", "__pycache__")) or not part.isidentifier() for part in parts):
            continue
        names = [relative.as_posix(), *(parent.as_posix() for parent in relative.parents)]
        if not any(fnmatch(name, pattern) for name in names for pattern in patterns):
            yield relative.as_posix()


def _kind(section: Any, otherwise: str) -> str:
    if isinstance(section, dict):
        return str(section.get("type") or otherwise)
    return str(section) if section else otherwise
