"""The steps of a trace as OpenTelemetry's protocol writes them in JSON, from the file in which clients keep them."""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any

import msgspec

from everloop.server.mlflow.codec import Answer, Asked
from everloop.tracking.trace_steps import FILE, FILE_LIMIT
from everloop.workspace.workspace import Workspace

Value = dict[str, Any]
"""A value with its kind: ``{"string_value": "a"}``; empty for none."""

_LARGEST = 2**63


class Pair(Answer, Asked, frozen=True):
    key: str
    value: Value = {}


class Happened(Answer, Asked, frozen=True):
    """Something that happened within a step."""

    name: str = ""
    time_unix_nano: int = 0
    attributes: list[Pair] = []


class Link(Answer, Asked, frozen=True):
    trace_id: str
    span_id: str
    attributes: list[Pair] = []


class Status(Answer, Asked, frozen=True):
    code: str = ""
    message: str = ""


class Span(Answer, Asked, frozen=True):
    """A step. Identifiers are bytes in base64."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    name: str = ""
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[Pair] = []
    events: list[Happened] = []
    links: list[Link] = []
    status: Status = Status()


class _Happened(Asked, frozen=True):
    name: str = ""
    time_unix_nano: int = 0
    attributes: dict[str, Any] | None = None


class _Link(Asked, frozen=True):
    trace_id: str
    span_id: str
    attributes: dict[str, Any] | None = None


class _Status(Asked, frozen=True):
    code: str = ""
    message: str | None = None


class KeptSpan(Asked, frozen=True):
    """A step as the file has it: attributes are JSON within texts."""

    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str = ""
    start_time_unix_nano: int | None = None
    end_time_unix_nano: int | None = None
    attributes: dict[str, Any] = {}
    events: list[_Happened] = []
    links: list[_Link] = []
    status: _Status = _Status()


class _File(Asked, frozen=True):
    spans: list[KeptSpan] = []


def spans_of(workspace: Workspace, trace_id: str) -> list[Span]:
    """The steps of a trace; none where its client keeps them in a form of MLflow 2, or has not sent them."""
    return [_span(each) for each in kept_spans(workspace, trace_id)]


def kept_spans(workspace: Workspace, trace_id: str) -> list[KeptSpan]:
    """The steps of a trace as its file has them."""
    files = {each.path: each for each in workspace.tracking.trace_files(trace_id, FILE)}
    if FILE not in files or files[FILE].size > FILE_LIMIT:
        return []
    try:
        return msgspec.json.decode(workspace.objects.read(files[FILE].digest), type=_File).spans
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _span(span: KeptSpan) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id or "",
        name=span.name,
        start_time_unix_nano=span.start_time_unix_nano or 0,
        end_time_unix_nano=span.end_time_unix_nano or 0,
        attributes=_pairs({key: _said(text) for key, text in span.attributes.items()}),
        events=[
            Happened(name=each.name, time_unix_nano=each.time_unix_nano, attributes=_pairs(each.attributes))
            for each in span.events
        ],
        links=[
            Link(
                trace_id=_bytes(each.trace_id),
                span_id=_bytes(each.span_id),
                attributes=_pairs(each.attributes),
            )
            for each in span.links
        ],
        status=Status(code=span.status.code, message=span.status.message or ""),
    )


def _pairs(found: dict[str, Any] | None) -> list[Pair]:
    return [Pair(key=key, value=value_of(value)) for key, value in (found or {}).items()]


def value_of(value: Any) -> Value:
    """A value with its kind.

    >>> value_of(True), value_of(3), value_of(["a"])
    ({'bool_value': True}, {'int_value': 3}, {'array_value': {'values': [{'string_value': 'a'}]}})
    """
    match value:
        case None:
            return {}
        case bool():
            return {"bool_value": value}
        case int() if -_LARGEST <= value < _LARGEST:
            return {"int_value": value}
        case int() | float():
            return {"double_value": float(value)}
        case list():
            return {"array_value": {"values": [value_of(each) for each in value]}}
        case dict():
            return {
                "kvlist_value": {
                    "values": [{"key": key, "value": value_of(each)} for key, each in value.items()]
                }
            }
        case _:
            return {"string_value": str(value)}


def _said(text: Any) -> Any:
    """The value of an attribute, which is JSON within a text."""
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, RecursionError):
        return text


def _bytes(identifier: str) -> str:
    """An identifier in base64, from there or from hexadecimal digits behind MLflow's ``tr-``."""
    try:
        return b64encode(bytes.fromhex(identifier.removeprefix("tr-"))).decode()
    except ValueError:
        pass
    try:
        return b64encode(b64decode(identifier, validate=True)).decode()
    except (NotBase64, ValueError):
        return ""
