"""The routes of a prediction server, as a plain ASGI application: no framework between the socket and the model.

    POST /predict                           rows or columns (`native`)
    POST /invocations                       MLflow and SageMaker (`invocations`)
    /v2/…                                   Open Inference v2 (`inference`)
    GET  /health  /ready  /ping  /metrics
    POST /control/reload, /control/settle   look for a new deployment now; wait for shadow arms and close the log's segment; only
                                            for those who bring the key from the endpoint's folder

Every error is JSON with `error`, `error_code`, `message` and `hint`; a caller's mistake is a 4xx.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from everloop._version import __version__
from everloop.domain.deployments import ARM_HEADER, CONTROL_HEADER
from everloop.errors import EverloopError, InvalidInput, NotFound, PermissionDenied, TooLarge
from everloop.serving.server import inference, invocations, native
from everloop.serving.server.answering import Answerer
from everloop.serving.server.logbook import Logbook
from everloop.serving.server.metrics import CONTENT_TYPE, Figures
from everloop.serving.server.requests import MAX_BODY, decoded
from everloop.serving.server.shadow import ShadowQueue
from everloop.serving.server.watch import Watch

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes, str]

JSON = "application/json"
SMALL_BODY = 4096
"""Bodies up to this are answered on the event loop: handing them to a thread would take longer than they do."""

SETTLE_SECONDS = 30.0

logger = logging.getLogger("everloop.serving")


class PredictionApp:
    """The ASGI application. Make one a process; `startup` and `shutdown` are called through ASGI's lifespan."""

    def __init__(
        self,
        watch: Watch,
        answerer: Answerer,
        logbook: Logbook,
        figures: Figures,
        shadows: ShadowQueue,
        key: str,
    ) -> None:
        self._key = key.encode()
        self._watch = watch
        self._answerer = answerer
        self._logbook = logbook
        self._figures = figures
        self._shadows = shadows
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="answer")
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise ValueError(f"a prediction server does not speak {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._looking = asyncio.create_task(self._watch.keep_looking())
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._looking is not None:
                    self._looking.cancel()
                await asyncio.to_thread(self._close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _close(self) -> None:
        self._threads.shutdown()
        self._shadows.close()
        self._logbook.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        began = time.perf_counter()
        try:
            if method == "POST":
                status, body, kind = await self._post(path, scope, receive)
            elif method in ("GET", "HEAD"):
                status, body, kind = self._get(path)
            else:
                status, body, kind = _refused(
                    InvalidInput(f"{method} means nothing here", hint="use GET or POST"), 405
                )
        except EverloopError as error:
            status, body, kind = _refused(error)
        except Exception:  # the boundary of the process: a fault of ours must not end the connection
            logger.exception("%s %s failed", method, path)
            status, body, kind = _refused(
                EverloopError("the server made a mistake", hint="its log says more"), 500
            )
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
        if method == "POST":
            protocol = "v2" if path.startswith("/v2") else path.strip("/").partition("/")[0]
            known = protocol in {"v2", "predict", "invocations", "control"}
            self._figures.request(protocol if known else "other", status, time.perf_counter() - began)

    def _get(self, path: str) -> Reply:
        lineup = self._watch.lineup
        match path.rstrip("/").split("/")[1:]:
            case ["health"]:
                return _json(
                    {
                        "status": "ok",
                        "endpoint": lineup.deployment.endpoint,
                        "revision": lineup.deployment.revision,
                        "problem": self._watch.problem or self._logbook.problem,
                    }
                )
            case ["ready"]:
                arms = [
                    {
                        "name": each.arm.name,
                        "model": each.arm.model,
                        "mode": each.arm.mode,
                        "weight": each.arm.weight,
                    }
                    for each in lineup.arms.values()
                ]
                return _json({"ready": True, "revision": lineup.deployment.revision, "arms": arms})
            case ["ping"]:
                return 200, b"\n", JSON
            case ["version"]:
                return 200, __version__.encode(), "text/plain; charset=utf-8"
            case ["metrics"]:
                text = self._figures.text(dropped=self._shadows.dropped, revision=lineup.deployment.revision)
                return 200, text, CONTENT_TYPE
            case ["v2"]:
                return 200, inference.server_metadata(__version__), JSON
            case ["v2", "health", "live" | "ready"]:
                return _json({"live": True, "ready": True})
            case ["v2", "models", name, *rest] if rest in ([], ["ready"]) or (
                rest[:1] == ["versions"] and (len(rest) == 2 or rest[2:] == ["ready"])
            ):
                version = self._version(name, rest)
                if rest[-1:] == ["ready"]:
                    return _json({"name": name, "ready": True})
                return 200, inference.model_metadata(name, version, lineup.first.signature), JSON
        raise NotFound(
            f"there is nothing at {path[:100]}", hint="predictions are asked for with POST /predict"
        )

    async def _post(self, path: str, scope: Scope, receive: Receive) -> Reply:
        headers = dict(scope["headers"])
        body = await _body(headers, receive)
        match path.rstrip("/").split("/")[1:]:
            case ["predict"]:
                return await self._work(len(body), lambda: self._predict(body, headers))
            case ["invocations"]:
                _checked_content_type(headers)
                return await self._work(len(body), lambda: self._invocations(body, headers))
            case ["v2", "models", name, *rest] if rest[-1:] == ["infer"] and len(rest) in (1, 3):
                if b"inference-header-content-length" in headers:
                    raise InvalidInput(
                        "the binary tensor extension is not supported",
                        hint="send JSON: binary_data=False in tritonclient",
                    )
                version = self._version(name, rest[:-1])
                return await self._work(len(body), lambda: self._infer(body, headers, name, version))
            case ["control", *_] if not hmac.compare_digest(
                headers.get(CONTROL_HEADER.encode(), b""), self._key
            ):
                raise PermissionDenied(
                    "this server takes orders only from the workspace that started it",
                    hint="it takes a new deployment by itself; see: everloop rollout",
                )
            case ["control", "reload"]:
                await self._watch.look()
                if self._watch.problem:
                    return _refused(
                        InvalidInput(f"the new deployment is not taken: {self._watch.problem}"), 409
                    )
                return _json({"revision": self._watch.lineup.deployment.revision})
            case ["control", "settle"]:
                settled = await asyncio.to_thread(self._shadows.settle, SETTLE_SECONDS)
                if decoded(body or b"{}").get("close_segment"):
                    self._logbook.rotate()
                return _json({"settled": settled, "dropped": self._shadows.dropped})
        raise NotFound(
            f"there is nothing at {path[:100]}", hint="predictions are asked for with POST /predict"
        )

    async def _work(self, size: int, answer: Callable[[], bytes]) -> Reply:
        if size <= SMALL_BODY:
            return 200, answer(), JSON
        return 200, await asyncio.get_running_loop().run_in_executor(self._threads, answer), JSON

    def _predict(self, body: bytes, headers: dict[bytes, bytes]) -> bytes:
        request = decoded(body)
        answered = self._answerer.answer(self._watch.lineup, native.read(request), _forced(headers))
        return native.written(answered, by_columns="columns" in request)

    def _invocations(self, body: bytes, headers: dict[bytes, bytes]) -> bytes:
        lineup = self._watch.lineup
        asked = invocations.read(decoded(body), lineup.first.signature)
        return invocations.written(self._answerer.answer(lineup, asked, _forced(headers)))

    def _infer(self, body: bytes, headers: dict[bytes, bytes], name: str, version: int) -> bytes:
        lineup, request = self._watch.lineup, decoded(body)
        signature = lineup.first.signature
        asked = inference.read(request, signature)
        inference.checked_outputs(request, signature)
        answered = self._answerer.answer(lineup, asked, _forced(headers))
        return inference.written(request, answered, name, version, signature)

    def _version(self, name: str, rest: list[str]) -> int:
        """The revision being served, if the address means this endpoint at all."""
        deployment = self._watch.lineup.deployment
        if name != deployment.endpoint:
            raise NotFound(
                f"there is no model '{name[:60]}' here",
                hint=f"this server answers for '{deployment.endpoint}'",
            )
        if rest[:1] == ["versions"] and rest[1] != str(deployment.revision):
            raise NotFound(
                f"version {rest[1][:20]} is not being served", hint=f"the version is {deployment.revision}"
            )
        return deployment.revision


def _json(value: Any) -> Reply:
    return 200, msgspec.json.encode(value), JSON


def _refused(error: EverloopError, status: int | None = None) -> Reply:
    body = {
        "error": error.message,
        "error_code": error.code.upper(),
        "message": error.message,
        "hint": error.hint,
    }
    return status or error.status, msgspec.json.encode(body), JSON


def _forced(headers: dict[bytes, bytes]) -> str | None:
    value = headers.get(ARM_HEADER.encode())
    return value.decode("latin-1") if value else None


def _checked_content_type(headers: dict[bytes, bytes]) -> None:
    kind = (
        headers.get(b"content-type", b"application/json").decode("latin-1").partition(";")[0].strip().lower()
    )
    if kind not in {"application/json", ""}:
        raise InvalidInput(f"the content type {kind[:60]} is not taken here", hint="send application/json")


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. One that is too large is read to its end and thrown away, so that the caller hears why it is refused."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("the caller went away")
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        if not message.get("more_body"):
            break
    if size > MAX_BODY:
        raise TooLarge(
            f"the body has {size // 2**20} MB",
            hint=f"send at most {MAX_BODY // 2**20} MB, or use: everloop predict",
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)
