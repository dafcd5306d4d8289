"""Bytes in and out of the object store, streamed: memory does not grow with what is sent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO, cast

import msgspec
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from everloop.client.batches import CUT, CUT_CHUNK, CUT_HEAD, FRAME, PIECE, RELIED
from everloop.client.objects import BASE, UNREADABLE
from everloop.errors import Conflict, EverloopError, InvalidInput, NotFound
from everloop.governance.identity import Actor, Permission, acting_as, authorize
from everloop.server.answers import json_response
from everloop.server.ranges import asked_range, pieces
from everloop.store.objects.content import ContentStore
from everloop.store.objects.contract import Stored, Writer
from everloop.store.objects.hashing import DIGEST_SIZE
from everloop.store.objects.recipes import Chunk
from everloop.workspace.workspace import Workspace

_DIGESTS = msgspec.json.Decoder(list[str])


class ObjectEndpoints:
    """The object store of a workspace over HTTP; `everloop.client.objects` is the other side."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[Route]:
        return [
            Route(f"{BASE}/missing", self.missing, methods=["POST"]),
            Route(f"{BASE}/missing-pieces", self.missing_pieces, methods=["POST"]),
            Route(f"{BASE}/read", self.read, methods=["POST"]),
            Route(f"{BASE}/batch", self.batch, methods=["PUT"]),
            Route(f"{BASE}/faults", self.faults, methods=["GET"]),
            Route(f"{BASE}/{{digest}}/stat", self.stat, methods=["GET"]),
            Route(f"{BASE}/{{digest}}/chunks", self.chunks, methods=["GET"]),
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
        wanted = await _digests(request)
        return json_response(sorted(await run_in_threadpool(self._workspace.objects.missing, wanted)))

    async def missing_pieces(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        wanted = await _digests(request)
        return json_response(sorted(await run_in_threadpool(self._store().missing_pieces, wanted)))

    async def read(self, request: Request) -> Response:
        """Many small objects in one answer, in whatever order is quickest."""
        _allow(request, Permission.READ)
        wanted = await _digests(request)
        absent = await run_in_threadpool(self._workspace.objects.missing, wanted)
        if absent:
            raise NotFound(f"there is no object {min(absent)}", hint="is this the right workspace?")
        content = iterate_in_threadpool(self._contents(wanted))
        return StreamingResponse(content, media_type="application/octet-stream")

    async def chunks(self, request: Request) -> Response:
        _allow(request, Permission.READ)
        found = await run_in_threadpool(self._store().chunks, request.path_params["digest"])
        return json_response([(chunk.digest.hex(), chunk.length) for chunk in found])

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

    def _store(self) -> ContentStore:
        store = self._workspace.objects
        assert isinstance(store, ContentStore)  # a server is where the objects are
        return store

    def _contents(self, digests: list[str]) -> Iterator[bytes]:
        held = bytearray()
        try:
            for digest, content in self._workspace.objects.read_many(digests):
                held += bytes.fromhex(digest) + FRAME.pack(len(content)) + content
                if len(held) >= PIECE:
                    yield bytes(held)
                    held.clear()
        except EverloopError as error:  # too late for another status
            held += bytes(DIGEST_SIZE) + FRAME.pack(UNREADABLE) + msgspec.json.encode(error.to_dict())
        yield bytes(held)

    def _take_batch(self, spool: BinaryIO) -> list[Stored]:
        with self._workspace.objects.writer() as writer:
            taken = []
            relied: set[str] = set()
            pieces: dict[bytes, int] = {}  # where the chunks that were sent are in the spool
            while head := spool.read(FRAME.size):
                if len(head) < FRAME.size:
                    raise InvalidInput("the batch ends inside the length of an object")
                (size,) = FRAME.unpack(head)
                if size == RELIED:
                    relied.add(_read(spool, DIGEST_SIZE).hex())
                elif size == CUT:
                    taken.append(self._take_cut(writer, spool, pieces))
                else:
                    stored = writer.add(cast(BinaryIO, _Part(spool, size)))
                    if stored.size != size:
                        raise InvalidInput("the batch ends inside an object")
                    taken.append(stored)
            if gone := relied - writer.present(relied):
                raise Conflict(f"{len(gone)} objects are not here any more", hint="send them again")
        return taken

    def _take_cut(self, writer: Writer, spool: BinaryIO, pieces: dict[bytes, int]) -> Stored:
        """A large object, put together from chunks that are here and those that were sent; its digest is made here."""
        digest, count = CUT_HEAD.unpack(_read(spool, CUT_HEAD.size))
        chunks = []
        sent = []
        for _ in range(count):
            each, length, is_sent = CUT_CHUNK.unpack(_read(spool, CUT_CHUNK.size))
            chunks.append(Chunk(each, length))
            if is_sent:
                sent.append(chunks[-1])
        end = spool.tell()
        for chunk in sent:
            pieces[chunk.digest] = end
            end += chunk.length
        here = {chunk.digest.hex() for chunk in chunks if chunk.digest not in pieces}
        if gone := self._store().missing_pieces(here):
            raise Conflict(f"{len(gone)} chunks are not here any more", hint="send them again")

        def other(chunk: Chunk) -> bytes | None:
            if (at := pieces.get(chunk.digest)) is None:
                return None
            spool.seek(at)
            return _read(spool, chunk.length)

        stored = writer.add(self._store().assembled(digest.hex(), chunks, other))
        if stored.digest != digest.hex():
            raise InvalidInput(f"object {digest.hex()} did not arrive whole", hint="send it again")
        spool.seek(end)
        return stored


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


async def _digests(request: Request) -> list[str]:
    try:
        return _DIGESTS.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the body is not a list of digests: {error}", hint='send JSON such as ["DIGEST", …]'
        ) from None


def _read(spool: BinaryIO, size: int) -> bytes:
    data = spool.read(size)
    if len(data) < size:
        raise InvalidInput("the batch ends inside an object")
    return data


async def _receive(request: Request, spool: BinaryIO) -> None:
    try:
        async for piece in request.stream():
            await run_in_threadpool(spool.write, piece)
    except ClientDisconnect:
        raise InvalidInput("the sender broke off") from None  # nobody hears it; nothing of it is stored
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
