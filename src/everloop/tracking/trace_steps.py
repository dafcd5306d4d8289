"""The steps (spans) of a trace, read from the file in which clients of MLflow keep them, for a search to find.

Clients from 3.0 on and those of 2.x write them differently; both keep the value of every attribute as JSON within a text.
"""

from typing import Any

import msgspec

FILE = "traces.json"
"""The file of a trace that holds its steps."""
FILE_LIMIT = 64 << 20
"""Bytes of a file whose steps are still searched."""
MOST_STEPS = 5_000
CONTENT_CHARACTERS, ATTRIBUTE_CHARACTERS, NAME_CHARACTERS = 100_000, 1_000, 1_000
"""So much of a text is searched. What inputs and outputs hold is in the content; the file keeps all of it."""

TYPE = "mlflow.spanType"
_STATUS = {"STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR", "OK": "OK", "ERROR": "ERROR"}


class Step(msgspec.Struct, frozen=True):
    """One step as a search asks for it. status: ``OK``, ``ERROR`` or ``UNSET``. content: the whole step as JSON."""

    name: str
    type: str
    status: str
    attributes: dict[str, str]
    content: str


def steps_in(data: bytes) -> list[Step]:
    """The steps in a file; none where it is not a file of steps.

    >>> steps_in(b'{"spans": [{"attributes": {"k": "\\\\"v\\\\""}}]}')[0].attributes
    {'k': 'v'}
    >>> steps_in(b"something else")
    []
    """
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return []
    spans = found.get("spans") if isinstance(found, dict) else None
    listed = spans if isinstance(spans, list) else []
    return [_step(each) for each in listed[:MOST_STEPS] if isinstance(each, dict)]


def _step(span: dict[str, Any]) -> Step:
    said = span.get("attributes")
    texts = {_kept(key): plain(value) for key, value in said.items()} if isinstance(said, dict) else {}
    status = span.get("status")
    code = status.get("code") if isinstance(status, dict) else span.get("status_code")
    return Step(
        name=_kept(str(span.get("name") or ""))[:NAME_CHARACTERS],
        type=texts.get(TYPE, "")[:NAME_CHARACTERS],
        status=_STATUS.get(str(code), "UNSET"),
        attributes={key: text[:ATTRIBUTE_CHARACTERS] for key, text in texts.items()},
        content=_readable(span | {"attributes": texts})[:CONTENT_CHARACTERS],
    )


def plain(value: Any) -> str:
    """The value of an attribute as a text: what was a text comes without the quotes of JSON.

    >>> plain('"tiny"'), plain("3"), plain(True)
    ('tiny', '3', 'true')
    """
    if not isinstance(value, str):
        return _readable(value)
    try:
        inner = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return _kept(value)
    return _kept(inner if isinstance(inner, str) else value)


def _readable(value: Any) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "")


def _kept(text: str) -> str:
    """Without zero characters, which no database keeps in a text."""
    return text.replace("\0", "")
