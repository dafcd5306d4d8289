"""Which kind of store a path or address asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from everloop.errors import InvalidInput, NotFound
from everloop.exchange.mlflow.files import META, REGISTRY
from everloop.exchange.source import Source

DATABASE = "mlflow.db"
_SQLITE = b"SQLite format 3\0"


def open_source(where: str, moved: Sequence[tuple[str, str]] = ()) -> Source:
    """The store at a path (a folder with mlruns or mlflow.db in it, either of these), a tracking URI, or a server's address."""
    scheme = urlsplit(where).scheme
    if scheme in {"http", "https"}:
        from everloop.exchange.mlflow.server import ServerSource

        return ServerSource(where, moved)
    if scheme == "sqlite":
        return _database(Path(where.removeprefix("sqlite:///")), moved)
    if scheme == "file":
        return _local(Path(unquote(urlsplit(where).path)), moved)
    if "://" in where:
        from everloop.exchange.mlflow.database import DatabaseSource

        return DatabaseSource(where, moved)
    return _local(Path(where), moved)


def _local(path: Path, moved: Sequence[tuple[str, str]]) -> Source:
    if path.is_file():
        return _database(path, moved)
    if not path.is_dir():
        raise NotFound(
            f"there is no file or folder {path}", hint="give an mlruns folder, an mlflow.db or an address"
        )
    if _holds_runs(path):
        return _files(path, moved)
    inside, database = path / "mlruns", path / DATABASE
    # MLflow 3 keeps runs in mlflow.db by default, and only their artifacts in mlruns.
    if database.is_file() and _holds_runs(inside):
        raise InvalidInput(
            f"{path} holds two stores", hint=f"import {inside} and {database} one after the other"
        )
    return (
        _database(database, moved)
        if database.is_file()
        else _files(inside if inside.is_dir() else path, moved)
    )


def _files(folder: Path, moved: Sequence[tuple[str, str]]) -> Source:
    from everloop.exchange.mlflow.files import FileSource

    return FileSource(folder, moved)


def _holds_runs(folder: Path) -> bool:
    return folder.is_dir() and any(
        (each / META).is_file() for each in folder.iterdir() if each.is_dir() and each.name != REGISTRY
    )


def _database(path: Path, moved: Sequence[tuple[str, str]]) -> Source:
    from everloop.exchange.mlflow.database import DatabaseSource

    if not path.is_file():
        raise NotFound(
            f"there is no file {path}", hint="give the file that the tracking URI sqlite:///… names"
        )
    with path.open("rb") as opened:
        if opened.read(len(_SQLITE)) != _SQLITE:
            raise InvalidInput(
                f"{path} is no SQLite database", hint="give an mlruns folder, an mlflow.db or an address"
            )
    return DatabaseSource(path, moved)
