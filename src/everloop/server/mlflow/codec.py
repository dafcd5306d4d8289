"""Messages as MLflow's clients write them: numbers that may come as text, NaN that is a word, fields nobody knows.

Requests are frozen Structs. A field without a default is required; one that is not known is passed over. Answers are Structs
made with ``omit_defaults``: empty lists and unset fields are left out, as MLflow leaves them out.
"""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request

from everloop.domain.runs import number_text
from everloop.domain.times import from_micros, micros
from everloop.server.mlflow.faults import invalid

T = TypeVar("T", bound=msgspec.Struct)

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number that a database can keep."""
Number = float | str
"""A number in an answer: NaN and infinities are words there (see `number`)."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Base of requests."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of answers and what they are made of."""


class Void(Answer, frozen=True):
    """The answer of what answers nothing: ``{}``."""


encode = msgspec.json.Encoder().encode


async def body_of(request: Request, limit: int) -> bytes:
    """The body of a request, refused as soon as it is known to be longer than `limit` bytes."""
    pieces, length = [], 0
    async for piece in request.stream():
        length += len(piece)
        if length > limit:
            raise invalid(f"the body is longer than {limit >> 20} MB")
        pieces.append(piece)
    return b"".join(pieces)


def decode_body(body: bytes, kind: type[T], parameters: Mapping[str, str]) -> T:
    """A JSON body as a message, with the `parameters` of the path as fields. Raises INVALID_PARAMETER_VALUE."""
    try:
        if not parameters:
            return msgspec.json.decode(body or b"{}", type=kind, strict=False)
        found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        return msgspec.convert({**found, **parameters}, kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the first is a ValidationError too
        pass
    return _decode_slowly(body or b"{}", kind, parameters)


def _decode_slowly(body: bytes, kind: type[T], parameters: Mapping[str, str]) -> T:
    """What the quick way refuses and MLflow's server takes: a bare NaN, ``true`` for 1, null for a field that is not set."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid("the body is not a JSON object")
    return _convert({**_plain(found), **parameters}, kind)


def decode_query(query: bytes, kind: type[T], parameters: Mapping[str, str]) -> T:
    """Query parameters as a message, with the `parameters` of the path as fields; lists are repeated keys."""
    found = parse_qs(query.decode("ascii", "replace"), keep_blank_values=True)
    lists = _lists(kind)
    texts = {name: values if name in lists else values[-1] for name, values in found.items()}
    return _convert({**texts, **parameters}, kind)


@cache
def _lists(kind: type[msgspec.Struct]) -> set[str]:
    return {name for name, hint in get_type_hints(kind).items() if get_origin(hint) is list}


def _convert(found: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        if text.startswith("Object missing required field"):
            name = text.split("`")[1]
            raise invalid(f"Missing value for required parameter '{name}'.") from None
        raise invalid(f"Invalid value in the request: {text}") from None


def _plain(value: Any) -> Any:
    """Without null, and with numbers for true and false."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_plain(each) for each in value if each is not None]
    return int(value) if isinstance(value, bool) else value


def number(value: float) -> Number:
    """A number as an answer writes it.

    >>> number(0.5), number(math.nan), number(-math.inf)
    (0.5, 'NaN', '-Infinity')
    """
    return value if math.isfinite(value) else number_text(value)


def milliseconds(moment: datetime) -> int:
    """A time as MLflow writes it: milliseconds since 1970."""
    return micros(moment) // 1000


def moment(value: int, what: str) -> datetime:
    """The time that a number of milliseconds since 1970 means."""
    try:
        return from_micros(value * 1000)
    except OverflowError:
        raise invalid(f"Invalid value {value} for parameter '{what}': it is beyond the year 9999") from None
