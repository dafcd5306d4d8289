"""The artifact proxy: files of runs in and out, streamed, so that memory does not grow with what is sent.

A path of the proxy, ``<experiment>/<run>/artifacts/<path>``, names a file of a run; other modules add what else has files there
(`BELOW`). Bytes rest in the object store under their digest, so nothing on a disk has a name that a client chose.
"""

import contextlib
import mimetypes
import re
import tempfile
from collections.abc import Callable
from typing import IO, BinaryIO, NamedTuple, Protocol, cast
from urllib.parse import quote

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from everloop.domain.runs import ArtifactRecord, checked_artifact_path
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission, acting_as, authorize
from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    WireError,
    invalid,
)
from everloop.server.mlflow.messages import run_id_in
from everloop.server.ranges import asked_range, pieces
from everloop.store.objects.contract import Stored
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow-artifacts")
listing_endpoints = Endpoints("2.0/mlflow")

IN_MEMORY = 1 << 20
"""An upload up to this long is not written to a file on its way."""


class FileInfo(Answer, frozen=True):
    path: str
    is_dir: bool
    file_size: int = 0


class Files(Answer, frozen=True):
    root_uri: str = ""
    files: list[FileInfo] = []


class ListFiles(Asked, frozen=True):
    path: str = ""


class ListRunFiles(Asked, frozen=True):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


class Place(Protocol):
    """Something that has files, by their paths within it."""

    def keep(self, path: str, stored: Stored) -> None:
        """The bytes are in the object store: they are the file at `path` now."""
        ...

    def files(self, path: str) -> list[ArtifactRecord]:
        """The file at `path`, or all below it; all there are for an empty path."""
        ...

    def remove(self, path: str) -> None:
        """Without the file at `path` and those below it; nothing happens where there are none."""
        ...


class RunFiles:
    """The files of a run."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._tracking, self._run_id = workspace.tracking, run_id

    def keep(self, path: str, stored: Stored) -> None:
        self._tracking.add_artifacts(self._run_id, [ArtifactRecord(path, stored.digest, stored.size)])

    def files(self, path: str) -> list[ArtifactRecord]:
        return self._tracking.artifacts(self._run_id, path)

    def remove(self, path: str) -> None:
        self._tracking.remove_artifacts(self._run_id, [path])


class Below(NamedTuple):
    """What has files below a part of the proxy's tree: `pattern` matches the path that leads to it and names `id`."""

    pattern: re.Pattern[str]
    place: Callable[[Workspace, str], Place]


BELOW = [Below(re.compile(r"\d+/(?P<id>[0-9a-f]{32})/artifacts"), RunFiles)]
"""Other modules append theirs when they are imported."""


def find(workspace: Workspace, given: str) -> tuple[Place, str]:
    """The place that a path of the proxy leads into, and the path within it. Raises for what leads nowhere."""
    path = given.strip("/") if not given.startswith("/") else given
    if path.startswith("/") or "\\" in path or "\0" in path or re.match(r"[A-Za-z]:", path):
        raise invalid("Invalid path")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise invalid("Invalid path")
    for below in BELOW:
        match = below.pattern.match(path)
        if match is not None and path[match.end() : match.end() + 1] in ("", "/"):
            return below.place(workspace, match["id"]), path[match.end() + 1 :]
    raise NotFound(
        f"no run has files at {given!r}", hint="the artifact URI of a run says where its files are"
    )


@endpoints.stream("PUT", "artifacts/{path:path}")
async def put(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Take a file in: whole or not at all."""
    place, path = await run_in_threadpool(_find_file, workspace, request, parameters["path"])
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(workspace.folder)) as spool:
        async for piece in request.stream():
            await run_in_threadpool(spool.write, piece)
        await run_in_threadpool(_keep, workspace, request, place, path, spool)
    return Response(b"{}", media_type="application/json")


@endpoints.stream("GET", "artifacts/{path:path}")
async def get(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Hand a file out, whole or a range of it."""
    found, stream = await run_in_threadpool(_open, workspace, request, parameters["path"])
    try:
        first, last, status = asked_range(request.headers.get("range", ""), found.size)
    except InvalidInput as error:
        stream.close()
        raise WireError(INVALID_PARAMETER_VALUE, error.message, 416) from None
    length = last - first + 1
    headers = {
        "Content-Length": str(length),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.path.rpartition('/')[2], safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": f'"{found.digest}"',
    }
    if status == 206:
        headers["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    kind = mimetypes.guess_type(found.path)[0] or "application/octet-stream"
    if request.method == "HEAD":
        stream.close()
        return Response(None, status, headers, media_type=kind)
    return StreamingResponse(iterate_in_threadpool(pieces(stream, first, length)), status, headers, kind)


@endpoints.stream("DELETE", "artifacts/{path:path}")
async def delete(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Without the file, or the folder; also where there is none."""
    await run_in_threadpool(_delete, workspace, request, parameters["path"])
    return Response(b"{}", media_type="application/json")


@endpoints.get("artifacts")
def list_files(workspace: Workspace, asked: ListFiles) -> Files:
    """What is in a folder, by paths relative to it; nothing for a file or a folder that is not there."""
    place, path = find(workspace, asked.path)
    try:
        return Files(files=entries(place.files(path), path))
    except NotFound:
        return Files()


@listing_endpoints.get("artifacts/list")
def list_run_files(workspace: Workspace, asked: ListRunFiles) -> Files:
    """What is in a folder of a run, by paths within the run."""
    run_id = run_id_in(asked.run_id, asked.run_uuid)
    run = workspace.tracking.exact_runs([run_id])[0]
    path = asked.path.rstrip("/")
    if path:
        try:
            checked_artifact_path(path)
        except InvalidInput:
            raise invalid("Invalid path") from None
    found = entries(workspace.tracking.artifacts(run_id, path), path)
    inside = [
        FileInfo(
            path=f"{path}/{each.path}" if path else each.path, is_dir=each.is_dir, file_size=each.file_size
        )
        for each in found
    ]
    return Files(root_uri=f"mlflow-artifacts:/{run.experiment_id}/{run_id}/artifacts", files=inside)


def entries(files: list[ArtifactRecord], folder: str) -> list[FileInfo]:
    """The files and folders right in `folder`, of all files below it.

    >>> entries([ArtifactRecord("a/b.txt", "", 3), ArtifactRecord("a/c/d.txt", "", 4)], "a")
    [FileInfo(path='b.txt', is_dir=False, file_size=3), FileInfo(path='c', is_dir=True, file_size=0)]
    """
    start = len(folder) + 1 if folder else 0
    found: dict[str, FileInfo] = {}
    for each in files:
        head, slash, _ = each.path[start:].partition("/")
        if head:
            found[head] = (
                FileInfo(path=head, is_dir=True)
                if slash
                else FileInfo(path=head, is_dir=False, file_size=each.size)
            )
    return [found[name] for name in sorted(found)]


def file_at(workspace: Workspace, given: str) -> tuple[Place, str]:
    """Where a file may be put: asked before its bytes are read."""
    authorize(Permission.WRITE, "artifacts")
    place, path = find(workspace, given)
    try:
        return place, checked_artifact_path(path)
    except InvalidInput:
        raise invalid("Invalid path") from None


def found_at(workspace: Workspace, given: str) -> ArtifactRecord:
    """The file at a path of the proxy."""
    place, path = find(workspace, given)
    files = place.files(path)
    found = next((each for each in files if each.path == path), None)
    if found is not None:
        return found
    if files:
        raise invalid(f"{given} is a folder")
    raise WireError(RESOURCE_DOES_NOT_EXIST, f"No such artifact: '{given}'")


def _find_file(workspace: Workspace, request: Request, given: str) -> tuple[Place, str]:
    with acting_as(request.state.actor):
        return file_at(workspace, given)


def _keep(workspace: Workspace, request: Request, place: Place, path: str, spool: IO[bytes]) -> None:
    spool.seek(0)
    with acting_as(request.state.actor):
        place.keep(path, workspace.objects.put(cast(BinaryIO, spool)))


def _open(workspace: Workspace, request: Request, given: str) -> tuple[ArtifactRecord, BinaryIO]:
    with acting_as(request.state.actor):
        found = found_at(workspace, given)
        return found, workspace.objects.open(found.digest)


def _delete(workspace: Workspace, request: Request, given: str) -> None:
    with acting_as(request.state.actor):
        authorize(Permission.WRITE, "artifacts")
        place, path = find(workspace, given)
        with contextlib.suppress(NotFound):
            place.remove(path)
