"""Bytes in and out of the object store, streamed: memory does not grow with what is sent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO

import msgspec
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from everloop.client.objects import BASE, FRAME, RELIED
from everloop.errors import Conflict, InvalidInput
from everloop.governance.identity import Actor, Permission, acting_as, authorize
from everloop.server.answers import json_response
from everloop.server.ranges import asked_range, pieces
from everloop.store.objects.contract import Stored
from everloop.store.objects.hashing import DIGEST_SIZE
from everloop.workspace.workspace import Workspace

_DIGESTS = msgspec.json.Decoder(list[str])


class ObjectEndpoints:
    """The object store of a workspace over HTTP; `everloop.client.objects` is the other side."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[Route]:
        return [
            Route(f"{BASE}/missing", self.missing, methods=["POST"]),
            Route(f"{BASE}/batch", self.batch, methods=["PUT"]),
            Route(f"{BASE}/faults", self.faults, methods=["GET"]),
            Route(f"{BASE}/{{digest}}/stat", self.stat, methods=["GET"]),
            Route(f"{BASE}/{{digest}}", self.get, methods=["GET"]),
            Route(BASE, self.put, methods=["PUT"]),
            Route(BASE, self.digests, methods=["GET"]),
        ]

    async def put(self, request: Request) -> Response:
        _allow(request, Permission.WRITE)
        with tempfile.TemporaryFile() as spool:
            await _receive(request, spool)
            return json_response(await run_in_threadpool(self._workspace.objects.put, spool))

    async def batch(self, request: Request) -> Response:
        _allow(request, Permission.WRITE)
        with tempfile.TemporaryFile() as spool:
            await _receive(request, spool)
            return json_response(await run_in_threadpool(self._take_batch, spool))

    async def missing(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        try:
            wanted = _DIGESTS.decode(await request.body())
        except msgspec.DecodeError as error:
            raise InvalidInput(f"the body is not a list of digests: {error}") from None
        return json_response(sorted(await run_in_threadpool(self._workspace.objects.missing, wanted)))

    async def stat(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        return json_response(
            await run_in_threadpool(self._workspace.objects.stat, request.path_params["digest"])
        )

    async def get(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        digest = request.path_params["digest"]
        stored = await run_in_threadpool(self._workspace.objects.stat, digest)
        first, last, status = asked_range(request.headers.get("range", ""), stored.size)
        headers = {"Content-Length": str(last - first + 1), "Accept-Ranges": "bytes", "ETag": f'"{digest}"'}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
        stream = await run_in_threadpool(self._workspace.objects.open, digest)
        content = iterate_in_threadpool(pieces(stream, first, last - first + 1))
        return StreamingResponse(content, status, headers, media_type="application/octet-stream")

    async def digests(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        lines = (f"{digest}\n".encode() for digest in self._workspace.objects.digests())
        return StreamingResponse(_gathered(iterate_in_threadpool(lines)), media_type="text/plain")

    async def faults(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        lines = (msgspec.json.encode(fault) + b"\n" for fault in self._workspace.objects.verify())
        return StreamingResponse(iterate_in_threadpool(lines), media_type="application/x-ndjson")

    def _take_batch(self, spool: BinaryIO) -> list[Stored]:
        with self._workspace.objects.writer() as writer:
            taken = []
            relied: set[str] = set()
            while head := spool.read(FRAME.size):
                if len(head) < FRAME.size:
                    raise InvalidInput("the batch ends inside the length of an object")
                (size,) = FRAME.unpack(head)
                if size == RELIED:
                    relied.add(spool.read(DIGEST_SIZE).hex())
                    continue
                part = _Part(spool, size)
                stored = writer.add(part)  # type: ignore[arg-type]
                if stored.size != size:
                    raise InvalidInput("the batch ends inside an object")
                taken.append(stored)
            if gone := relied - writer.present(relied):
                raise Conflict(f"{len(gone)} objects are not here any more", hint="send them again")
        return taken


class _Part:
    """The next `size` bytes of a stream, as a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        return data


def _allow(request: Request, permission: Permission) -> None:
    actor: Actor = request.state.actor
    with acting_as(actor):
        authorize(permission, "objects")


async def _receive(request: Request, spool: BinaryIO) -> None:
    async for piece in request.stream():
        await run_in_threadpool(spool.write, piece)
    spool.seek(0)


async def _gathered(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines in larger pieces: one chunk a line would cost more than the lines."""
    held: list[bytes] = []
    async for line in lines:
        held.append(line)
        if len(held) >= 1000:
            yield b"".join(held)
            held.clear()
    yield b"".join(held)
