"""Large files in parts, and by ranges, for clients that are set to ask for it (`MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD` and
`…_DOWNLOAD`): behind a proxy that cuts long requests off, a file of many gigabytes passes only so.

A client asks for addresses, sends each part to its own and says when all are there. The addresses are this server's, as the
client wrote it. It sends parts without its credentials but with headers that it was told, so it is told its own credentials: a
part is let in as any other request is. Until all parts are there they are files in the workspace's folder of uploads, which
nothing reads; then they become one object, streamed, and only then the run has the file. What a client left lying there is
removed after `KEPT`.
"""

import contextlib
import hashlib
import io
import ntpath
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from everloop.governance.identity import acting_as
from everloop.server.mlflow.artifacts import file_at, found_at
from everloop.server.mlflow.codec import Answer, Asked, body_of, decode_body, encode
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import RESOURCE_DOES_NOT_EXIST, WireError, invalid
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow-artifacts")

MOST_PARTS = 10_000
KEPT = 7 * 24 * 3600
"""Seconds after which an upload that was never completed is given up."""
BODY_LIMIT = 8 << 20

_ID = re.compile(r"[0-9a-f]{32}")
_TAG = re.compile(r"[0-9a-f]{64}")
_BASE = re.compile(r"(.*?/(?:ajax-)?api/2\.0/mlflow-artifacts)/", re.DOTALL)

T = TypeVar("T")
Message = TypeVar("Message", bound=msgspec.Struct)


class Create(Asked, frozen=True):
    """`path`: the file on the client's machine; its name is what counts."""

    path: str
    num_parts: int = 1


class Part(Asked, frozen=True):
    part_number: int
    etag: str | None = None


class Complete(Asked, frozen=True):
    path: str
    upload_id: str
    parts: list[Part] = []


class Abort(Asked, frozen=True):
    path: str
    upload_id: str


class Credential(Answer, frozen=True):
    url: str
    part_number: int
    headers: dict[str, str] = {}


class Created(Answer, frozen=True, omit_defaults=False):
    upload_id: str
    credentials: list[Credential]


class Presigned(Answer, frozen=True, omit_defaults=False):
    url: str
    headers: dict[str, str]
    file_size: int


class Upload(msgspec.Struct, frozen=True):
    """What is known of an upload; kept beside its parts."""

    path: str
    parts: int
    user: str


@endpoints.stream("POST", "mpu/create")
@endpoints.stream("POST", "mpu/create/{folder:path}")
async def create(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Addresses for the parts of a file."""
    asked, path = await _asked(request, Create, parameters)
    if not 1 <= asked.num_parts <= MOST_PARTS:
        raise invalid(f"Invalid value {asked.num_parts} for parameter 'num_parts': it is 1 to {MOST_PARTS}.")
    await run_in_threadpool(_as_actor, request, file_at, workspace, path)
    upload_id: str = workspace.ids()
    upload = Upload(path, asked.num_parts, request.state.actor.user)
    await run_in_threadpool(_begin, workspace, upload_id, upload)
    base, headers = _base(request), _credentials(request)
    return _json(
        Created(
            upload_id=upload_id,
            credentials=[
                Credential(url=f"{base}/mpu/part/{upload_id}/{number}", part_number=number, headers=headers)
                for number in range(1, asked.num_parts + 1)
            ],
        )
    )


@endpoints.stream("PUT", "mpu/part/{upload_id}/{number}")
async def put_part(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Take a part in, whole or not at all; sent again, it takes the place of what was sent before."""
    folder, upload = _existing(workspace, parameters["upload_id"], request)
    text = parameters["number"]
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= upload.parts):
        raise invalid(f"Invalid part number {text!r}: it is 1 to {upload.parts}.")
    number = int(text)
    digest, arriving = hashlib.sha256(), folder / f"{number}.{workspace.ids()}.arriving"
    try:
        with arriving.open("wb") as file:
            async for piece in request.stream():
                await run_in_threadpool(_take, file, digest.update, piece)
        await run_in_threadpool(os.replace, arriving, folder / _part_name(number, digest.hexdigest()))
    except FileNotFoundError:
        raise _gone(parameters["upload_id"]) from None  # aborted meanwhile
    finally:
        arriving.unlink(missing_ok=True)
    return Response(b"", headers={"ETag": digest.hexdigest()})


@endpoints.stream("POST", "mpu/complete")
@endpoints.stream("POST", "mpu/complete/{folder:path}")
async def complete(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """All parts are there: they are the file now."""
    asked, path = await _asked(request, Complete, parameters)
    folder, upload = _existing(workspace, asked.upload_id, request)
    if upload.path != path:
        raise invalid(f"The upload {asked.upload_id} is of another file.")
    await run_in_threadpool(_as_actor, request, _join, workspace, folder, upload, asked.parts)
    await run_in_threadpool(shutil.rmtree, folder, True)
    return _json(Answer())


@endpoints.stream("POST", "mpu/abort")
@endpoints.stream("POST", "mpu/abort/{folder:path}")
async def abort(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Nothing of it is kept."""
    asked, _ = await _asked(request, Abort, parameters)
    folder, _ = _existing(workspace, asked.upload_id, request)
    await run_in_threadpool(shutil.rmtree, folder, True)
    return _json(Answer())


@endpoints.stream("GET", "presigned/{path:path}")
async def presigned(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Where a file is read by ranges, and how long it is."""
    found = await run_in_threadpool(_as_actor, request, found_at, workspace, parameters["path"])
    url = str(request.url.replace(query="")).replace(
        "/mlflow-artifacts/presigned/", "/mlflow-artifacts/artifacts/", 1
    )
    return _json(Presigned(url=url, headers=_credentials(request), file_size=found.size))


async def _asked(request: Request, kind: type[Message], parameters: dict[str, str]) -> tuple[Message, str]:
    """The message, and the path of the proxy that it is about: the folder of the address with the name of the client's file."""
    asked = decode_body(await body_of(request, BODY_LIMIT), kind, {})
    name = ntpath.basename(str(getattr(asked, "path", "")))  # of either system's path
    return asked, f"{parameters.get('folder', '').rstrip('/')}/{name}".lstrip("/")


def _as_actor(request: Request, function: Callable[..., T], *arguments: object) -> T:
    with acting_as(request.state.actor):
        return function(*arguments)


def _uploads(workspace: Workspace) -> Path:
    return workspace.folder / "uploads"


def _begin(workspace: Workspace, upload_id: str, upload: Upload) -> None:
    home = _uploads(workspace)
    home.mkdir(exist_ok=True)
    for each in home.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another request removed it
            if time.time() - each.stat().st_mtime > KEPT:
                shutil.rmtree(each, ignore_errors=True)
    folder = home / upload_id
    folder.mkdir()
    (folder / "upload.json").write_bytes(msgspec.json.encode(upload))


def _existing(workspace: Workspace, upload_id: str, request: Request) -> tuple[Path, Upload]:
    """The folder of an upload that whoever asks began."""
    folder = _uploads(workspace) / upload_id
    try:
        if not _ID.fullmatch(upload_id):
            raise FileNotFoundError
        upload = msgspec.json.decode((folder / "upload.json").read_bytes(), type=Upload)
    except FileNotFoundError:
        raise _gone(upload_id) from None
    if upload.user != request.state.actor.user:
        raise _gone(upload_id)
    return folder, upload


def _gone(upload_id: str) -> WireError:
    return WireError(RESOURCE_DOES_NOT_EXIST, f"There is no upload '{upload_id[:64]}'.")


def _part_name(number: int, digest: str) -> str:
    return f"{number}.{digest}"


def _take(file: BinaryIO, update: Callable[[bytes], None], piece: bytes) -> None:
    update(piece)
    file.write(piece)


def _join(workspace: Workspace, folder: Path, upload: Upload, parts: list[Part]) -> None:
    """Make one object of the parts, by their numbers and the tags that the client was answered."""
    tags = {part.part_number: (part.etag or "").strip('"') for part in parts}
    if sorted(tags) != list(range(1, upload.parts + 1)):
        raise invalid(f"The upload has {upload.parts} parts, named were {len(parts)}.")
    files = [folder / _part_name(number, tag) for number, tag in sorted(tags.items()) if _TAG.fullmatch(tag)]
    if len(files) < upload.parts or not all(each.exists() for each in files):
        raise invalid("Some parts have not arrived, or are not what was sent.")
    place, path = file_at(workspace, upload.path)
    with io.BufferedReader(Joined(files), 1 << 20) as stream:
        place.keep(path, workspace.objects.put(cast(BinaryIO, stream)))


class Joined(io.RawIOBase):
    """Files one after the other, read as one stream."""

    def __init__(self, files: list[Path]) -> None:
        self._left = list(reversed(files))
        self._open: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while self._open is not None or self._left:
            if self._open is None:
                self._open = self._left.pop().open("rb")
            count = cast(io.BufferedReader, self._open).readinto(buffer)
            if count:
                return count
            self._open.close()
            self._open = None
        return 0

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        super().close()


def _base(request: Request) -> str:
    """The address of the artifact proxy as the client wrote it, with whatever prefix."""
    found = _BASE.match(request.url.path)
    assert found is not None  # else this request would not be here
    return f"{request.url.scheme}://{request.url.netloc}{found[1]}"


def _credentials(request: Request) -> dict[str, str]:
    shown = request.headers.get("authorization")
    return {"Authorization": shown} if shown else {}


def _json(answer: msgspec.Struct) -> Response:
    return Response(encode(answer), media_type="application/json", headers={"Cache-Control": "no-store"})
