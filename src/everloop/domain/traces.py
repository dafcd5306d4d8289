"""Traces as data: what a program did step by step while it answered a request."""

import re
from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.names import shown
from everloop.errors import InvalidInput

_ID = re.compile(r"[A-Za-z0-9][\w\-]{0,63}\Z")


class Assessment(msgspec.Struct, frozen=True):
    """What a person or a judge said of a trace; `said` is kept as it was said."""

    id: str
    created: datetime
    updated: datetime
    said: dict[str, Any]


class Trace(msgspec.Struct, frozen=True):
    """One trace. The steps (spans) themselves are a file of it.

    duration: microseconds; None while it goes on. request, response: how they begin. facts: what the client said of it, such as
    the run it belongs to (``mlflow.sourceRun``).
    """

    id: str
    experiment_id: int
    time: datetime
    state: str
    user: str = ""
    duration: int | None = None
    request_id: str = ""
    request: str = ""
    response: str = ""
    facts: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Assessment] = []


class TracePage(msgspec.Struct, frozen=True):
    """One page of a search; `next_page` asks for the one after it, None at the end."""

    traces: list[Trace]
    next_page: str | None = None


def checked_trace_id(identifier: str) -> str:
    """Return an identifier that a trace may have; clients choose them.

    >>> checked_trace_id("tr-" + "0" * 32)[:5]
    'tr-00'
    """
    if not _ID.match(identifier):
        raise InvalidInput(
            f"{shown(identifier)} is not the identifier of a trace", hint="letters, digits, '_' and '-'"
        )
    return identifier
