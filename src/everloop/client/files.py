"""``everloop://flights@v3/2013/01.parquet`` for everything that opens files through fsspec: pandas, polars, dask, pyarrow.

    pandas.read_parquet("everloop://flights@v3")        all files of a version
    fsspec.open("everloop://photos@v2/cats/1.png")      one of them

A path is the name of a dataset, ``@`` and a version (the newest when there is none), then the path within the version. What is
read is read from the workspace that a command here would use, or from the one named by the option ``workspace``; it is checked
against its digest, fetched piece by piece, and noted for lineage. Nothing can be written.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from fsspec.spec import AbstractFileSystem

from everloop.client.ambient import workspace as ambient_workspace
from everloop.data.dataset import Dataset
from everloop.errors import NotFound

_VERSIONED = re.compile(r"(?P<name>[^@]+)@(?P<version>[^/]+)(?:/(?P<path>.*))?", re.DOTALL)


class EverloopFileSystem(AbstractFileSystem):
    """Datasets as folders of files, read-only.

    workspace: a project's folder or the address of a server; the workspace of this process when not given.
    """

    protocol = "everloop"
    root_marker = ""
    cachable = False  # another folder, or another EVERLOOP_WORKSPACE, is another workspace

    def __init__(self, workspace: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._location = workspace
        self._opened: Any = None
        self._datasets: dict[str, Dataset] = {}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder: datasets, the folders and files of a version, or the one file itself."""
        place = self._strip_protocol(path)
        found = self._entries(place)
        if found is None:
            raise FileNotFoundError(path)
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        place = self._strip_protocol(path)
        found = self._entries(place)
        if found is None:
            raise FileNotFoundError(path)
        if len(found) == 1 and found[0]["name"] == place and found[0]["type"] == "file":
            return dict(found[0])
        return {"name": place, "size": 0, "type": "directory"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(
                "a version of a dataset cannot be written; add a new one: everloop data add"
            )
        at = self._at(self._strip_protocol(path))
        if at is None or at[2] not in {file.path for file in at[1].files()}:
            raise FileNotFoundError(path)
        return at[1].open(at[2])

    def created(self, path: str) -> Any:
        """When the version was made."""
        return self._version(path).created

    modified = created

    def ukey(self, path: str) -> str:
        """What tells this content from any other: the digest of the file, or of the version."""
        at = self._at(self._strip_protocol(path))
        if at is None:
            raise FileNotFoundError(path)
        return next((file.digest for file in at[1].files() if file.path == at[2]), at[1].digest)

    # Where a path leads

    def _version(self, path: str) -> Dataset:
        at = self._at(self._strip_protocol(path))
        if at is None:
            raise FileNotFoundError(path)
        return at[1]

    def _entries(self, place: str) -> list[dict[str, Any]] | None:
        """What is at a place; None when there is nothing."""
        at = self._at(place)
        if at is not None:
            return _within(*at)
        prefix = f"{place}/" if place else ""
        names = [each.name for each in self._room().datasets() if each.name.startswith(prefix)]
        below = dict.fromkeys(prefix + name.removeprefix(prefix).split("/")[0] for name in names)
        return [{"name": name, "size": 0, "type": "directory"} for name in below] or None

    def _at(self, place: str) -> tuple[str, Dataset, str] | None:
        """The name of a version as it stands in the path, the version, and the path within it."""
        versioned = _VERSIONED.fullmatch(place)
        if versioned is not None:
            top = f"{versioned['name']}@{versioned['version']}"
            found = self._dataset(top)
            return None if found is None else (top, found, (versioned["path"] or "").strip("/"))
        names = [each.name for each in self._room().datasets() if f"{place}/".startswith(f"{each.name}/")]
        if not names:
            return None
        top = max(names, key=len)
        found = self._dataset(top)
        return None if found is None else (top, found, place[len(top) :].strip("/"))

    def _dataset(self, top: str) -> Dataset | None:
        try:
            if "@" not in top:  # the newest, which may be another one the next time
                return self._room().dataset(top)
            if top not in self._datasets:
                self._datasets[top] = self._room().dataset(top)
            return self._datasets[top]
        except NotFound:
            return None

    def _room(self) -> Any:
        if self._location is None:
            return ambient_workspace().data
        if self._opened is None:
            from everloop.client.ambient import connect

            self._opened = connect(self._location)
        return self._opened.data


def _within(top: str, dataset: Dataset, path: str) -> list[dict[str, Any]] | None:
    """The file at a path of a version, or the files and folders directly below it; None when there is neither."""
    prefix = f"{path}/" if path else ""
    found: dict[str, dict[str, Any]] = {}
    for file in dataset.files():
        if file.path == path:
            return [_file(top, file.path, file.size, file.digest)]
        if file.path.startswith(prefix):
            first, below, _ = file.path.removeprefix(prefix).partition("/")
            name = f"{top}/{prefix}{first}"
            found[name] = (
                {"name": name, "size": 0, "type": "directory"}
                if below
                else _file(top, file.path, file.size, file.digest)
            )
    return list(found.values()) or None


def _file(top: str, path: str, size: int, digest: str) -> dict[str, Any]:
    return {"name": f"{top}/{path}", "size": size, "type": "file", "sha256": digest}
