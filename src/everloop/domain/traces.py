"""Traces as data: what a program did step by step while it answered a request."""

import re
from datetime import datetime
from typing import Any, NamedTuple

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


class Judgement(NamedTuple):
    """What a search asks for of an assessment: a value by its name, as a text and, where it is one, as a number."""

    kind: str
    name: str
    text: str | None
    number: float | None


KINDS = ("feedback", "expectation")
"""Of an assessment: what somebody thinks of the answer, and what the answer should have been."""


def judgement(said: dict[str, Any]) -> Judgement | None:
    """What an assessment says; None for what says neither, and for what somebody said otherwise since.

    >>> judgement({"assessment_name": "right", "feedback": {"value": True}})
    Judgement(kind='feedback', name='right', text='true', number=None)
    >>> judgement({"assessment_name": "score", "feedback": {"value": 4.0}})
    Judgement(kind='feedback', name='score', text='4', number=4.0)
    >>> judgement({"assessment_name": "right", "feedback": {"value": True}, "valid": False})
    """
    kind = next((each for each in KINDS if isinstance(said.get(each), dict)), None)
    if kind is None or said.get("valid") is False:
        return None
    name = str(said.get("assessment_name", "")).replace("\0", "")  # which no database keeps
    value = said[kind].get("value")
    serialized = said[kind].get("serialized_value")
    if value is None and isinstance(serialized, dict):
        return Judgement(kind, name, str(serialized.get("value", "")).replace("\0", ""), None)
    number = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        value = int(value) if number.is_integer() and abs(number) < 2**53 else number
    text = None if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Judgement(kind, name, text and text.replace("\0", ""), number)


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
