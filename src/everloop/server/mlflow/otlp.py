"""/v1/traces: steps as any OpenTelemetry exporter sends them (OTLP over HTTP, in Protocol Buffers).

Exporters send the steps of one trace as they end, in several requests, the first step of all often last: each request adds to
what is there. The experiment is said in the header `x-mlflow-experiment-id` (the default one without it), a run in
`x-mlflow-run-id`. The messages: https://github.com/open-telemetry/opentelemetry-proto, `trace/v1/trace.proto`.
"""

import threading
import zlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from everloop.domain.protobuf import Value, double, fields, fixed64, plain, signed, text
from everloop.domain.runs import ArtifactRecord
from everloop.domain.times import from_micros
from everloop.domain.traces import Trace
from everloop.governance.identity import Permission, acting_as, authorize
from everloop.server.mlflow.codec import body_of
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import experiment_number_in, run_id_in
from everloop.server.mlflow.spans import kept_spans
from everloop.server.mlflow.trace_messages import files_tag
from everloop.server.mlflow.traces import SPANS_HERE
from everloop.tracking import trace_steps
from everloop.tracking.trace_searching import NAME, RUN
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("")

PROTOBUF = "application/x-protobuf"
BODY_LIMIT = 64 << 20
PREVIEW = 1_000
MOST_DEPTH = 30

Span = dict[str, Any]
"""A step as MLflow's clients keep it in a file, see `spans`."""

_CODES = {0: "STATUS_CODE_UNSET", 1: "STATUS_CODE_OK", 2: "STATUS_CODE_ERROR"}
_INPUTS, _OUTPUTS = ("mlflow.spanInputs", "input.value"), ("mlflow.spanOutputs", "output.value")
"""Attributes of the first step that say what was asked and answered: MLflow's, and OpenInference's."""

_adding = threading.Lock()
"""Steps are added to a trace by one request at a time."""


@endpoints.stream("POST", "v1/traces")
async def export(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Keep steps, all of the request or none of a trace."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PROTOBUF:
        raise invalid(f"Invalid Content-Type. Expected: {PROTOBUF}")
    await run_in_threadpool(_keep, workspace, request, await body_of(request, BODY_LIMIT))
    return Response(b"", media_type=PROTOBUF)


def _keep(workspace: Workspace, request: Request, body: bytes) -> None:
    headers = request.headers
    number = experiment_number_in(headers.get("x-mlflow-experiment-id", "0"))
    run = run_id_in(headers["x-mlflow-run-id"], "") if headers.get("x-mlflow-run-id") else ""
    encoding = headers.get("content-encoding", "identity").lower()
    try:
        found = spans_in(_unpacked(body, encoding))
    except (ValueError, zlib.error) as error:
        raise invalid(f"Invalid OpenTelemetry format: {error}") from None
    with acting_as(request.state.actor):
        authorize(Permission.WRITE, "traces")
        for trace_id, spans in found.items():
            with _adding:
                _add(workspace, trace_id, number, run, spans)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise ValueError(f"Content-Encoding {encoding!r} is neither gzip nor deflate")
    unpacking = zlib.decompressobj(wbits=47)  # either, by its head
    unpacked = unpacking.decompress(body, BODY_LIMIT)
    if not unpacking.eof:
        raise ValueError(f"it does not end, or is longer than {BODY_LIMIT >> 20} MB")
    return unpacked


def _add(workspace: Workspace, trace_id: str, number: int, run: str, spans: list[Span]) -> None:
    tracking = workspace.tracking
    before = next(iter(tracking.traces([trace_id])), None)
    known = {each["span_id"]: each for each in _kept(workspace, trace_id)} if before else {}
    whole = sorted(
        (known | {each["span_id"]: each for each in spans}).values(),
        key=lambda each: each["start_time_unix_nano"],
    )
    made = described(trace_id, before.experiment_id if before else number, whole)
    facts = (before.facts if before else {}) | made.facts | ({RUN: run} if run else {})
    tags = made.tags | (before.tags if before else {}) | SPANS_HERE
    stored = workspace.objects.put(msgspec.json.encode({"spans": whole}))
    tracking.record_trace(msgspec.structs.replace(made, facts=facts, tags=tags))
    tracking.add_trace_files(trace_id, [ArtifactRecord(trace_steps.FILE, stored.digest, stored.size)])


def _kept(workspace: Workspace, trace_id: str) -> list[Span]:
    kept: list[Span] = [msgspec.to_builtins(each) for each in kept_spans(workspace, trace_id)]
    times = ("start_time_unix_nano", "end_time_unix_nano")
    return [each | {name: each[name] or 0 for name in times} for each in kept]


def described(trace_id: str, number: int, spans: list[Span]) -> Trace:
    """What steps say of their trace, by the one that began it: it goes on until that has ended."""
    root = next((each for each in spans if not each["parent_span_id"]), None)
    begin = min(each["start_time_unix_nano"] for each in spans)
    facts, tags = {"mlflow.trace_schema.version": "3"}, files_tag(number, trace_id)
    if root is None:
        return Trace(trace_id, number, _moment(begin), "IN_PROGRESS", facts=facts, tags=tags)
    failed = root["status"]["code"] == _CODES[2]
    return Trace(
        trace_id,
        number,
        _moment(begin),
        "ERROR" if failed else "OK",
        duration=max(0, root["end_time_unix_nano"] - begin) // 1000,
        request=_preview(root, _INPUTS),
        response=_preview(root, _OUTPUTS),
        facts=facts,
        tags=tags | {NAME: root["name"]},
    )


def _preview(span: Span, keys: tuple[str, ...]) -> str:
    attributes = span["attributes"]
    return next((trace_steps.plain(attributes[key])[:PREVIEW] for key in keys if key in attributes), "")


def _moment(nanoseconds: int) -> datetime:
    micros = nanoseconds // 1000
    if micros >= 2**53:
        raise invalid("a step begins beyond the years that there are")
    return from_micros(micros)


def spans_in(body: bytes) -> dict[str, list[Span]]:
    """The steps of an ExportTraceServiceRequest, by their trace. Raises ValueError where it is none."""
    found: dict[str, list[Span]] = defaultdict(list)
    for of_resource in _all(body, 1):
        for of_scope in _all(of_resource, 2):
            for each in _all(of_scope, 2):
                trace_id, span = _span(each)
                found[trace_id].append(span)
    if not found:
        raise ValueError("there are no spans")
    return dict(found)


def _all(message: bytes, wanted: int) -> list[bytes]:
    return [plain(value) for number, value in fields(message) if number == wanted]


def _one(message: bytes, read: dict[int, Callable[[Value], Any]]) -> dict[int, Any]:
    """The last value of each field that is wanted."""
    return {number: read[number](value) for number, value in fields(message) if number in read}


def _span(message: bytes) -> tuple[str, Span]:
    own = _one(message, {1: plain, 2: plain, 4: plain, 5: text, 7: fixed64, 8: fixed64, 15: plain})
    if len(own.get(1, b"")) != 16 or len(own.get(2, b"")) != 8:
        raise ValueError("a span has no trace_id or span_id")
    trace_id = f"tr-{own[1].hex()}"
    status = _one(own.get(15, b""), {2: text, 3: signed})
    attributes = {key: msgspec.json.encode(value).decode() for key, value in _pairs(message, 9).items()}
    return trace_id, {
        "trace_id": b64encode(own[1]).decode(),
        "span_id": b64encode(own[2]).decode(),
        "parent_span_id": b64encode(own[4]).decode() if own.get(4) else None,
        "name": own.get(5, ""),
        "start_time_unix_nano": own.get(7, 0),
        "end_time_unix_nano": own.get(8, 0),
        "events": [_event(each) for each in _all(message, 11)],
        "status": {"code": _CODES.get(status.get(3, 0), _CODES[0]), "message": status.get(2, "")},
        "attributes": attributes | {"mlflow.traceRequestId": msgspec.json.encode(trace_id).decode()},
        "links": [_link(each) for each in _all(message, 13)],
    }


def _event(message: bytes) -> dict[str, Any]:
    own = _one(message, {1: fixed64, 2: text})
    return {"name": own.get(2, ""), "time_unix_nano": own.get(1, 0), "attributes": _pairs(message, 3)}


def _link(message: bytes) -> dict[str, Any]:
    own = _one(message, {1: plain, 2: plain})
    ids = {"trace_id": f"tr-{own.get(1, b'').hex()}", "span_id": own.get(2, b"").hex()}
    return ids | {"attributes": _pairs(message, 4)}


def _pairs(message: bytes, number: int, depth: int = 0) -> dict[str, Any]:
    found = {}
    for each in _all(message, number):
        pair = _one(each, {1: text, 2: plain})
        found[pair.get(1, "")] = _any(pair.get(2, b""), depth)
    return found


def _any(message: bytes, depth: int = 0) -> Any:
    """A value of any kind; bytes as base64."""
    if depth > MOST_DEPTH:
        raise ValueError("it is nested too deeply")
    for number, value in fields(message):
        match number:
            case 1:
                return text(value)
            case 2:
                return bool(value)
            case 3:
                return signed(value)
            case 4:
                return double(value)
            case 5:
                return [_any(each, depth + 1) for each in _all(plain(value), 1)]
            case 6:
                return _pairs(plain(value), 1, depth + 1)
            case 7:
                return b64encode(plain(value)).decode()
    return None
