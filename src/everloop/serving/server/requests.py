"""What a prediction request asks, whatever protocol it came by; and how bodies are read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec

from everloop.errors import InvalidInput, TooLarge

MAX_BODY = 32 * 1024 * 1024
MAX_ROWS = 20_000


class Asked(msgspec.Struct, frozen=True):
    """Rows to answer. `columns` holds plain lists of one length; `keys`, `ids` and `times` one value a row, if given (one time
    may stand for all rows)."""

    rows: int
    columns: dict[str, list[Any]]
    keys: list[str] | None = None
    ids: bytes | None = None
    times: list[datetime] | datetime | None = None


def decoded(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body. NaN and Infinity may be written as such, as Python and its clients do."""
    if not body.strip():
        raise InvalidInput("the body is empty", hint='send JSON such as {"rows": [{"column": 1}]}')
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value = json.loads(body)
            msgspec.json.encode(value)  # half a character (a lone surrogate) could not be logged
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"the body is not JSON: {str(error)[:100]}",
                hint='send JSON such as {"rows": [{"column": 1}]}',
            ) from None
    if not isinstance(value, dict):
        raise InvalidInput(
            "the body is JSON, but not an object", hint='send JSON such as {"rows": [{"column": 1}]}'
        )
    return value


def checked_size(columns: dict[str, Any], rows: int | None = None) -> int:
    """The number of rows, the same in every column and within the limit."""
    for name, values in columns.items():
        if not isinstance(values, list):
            raise InvalidInput(
                f"column '{name}' is not a list", hint="give each column a list with one value a row"
            )
        if rows is None:
            rows = len(values)
        if len(values) != rows:
            raise InvalidInput(
                f"column '{name}' has {len(values)} rows, others have {rows}",
                hint="give every column as many values",
            )
    if not rows:
        raise InvalidInput("there are no rows to answer", hint="send one row or more")
    if rows > MAX_ROWS:
        raise TooLarge(
            f"{rows} rows in one request", hint=f"send at most {MAX_ROWS}, or use: everloop predict"
        )
    return rows


def only(body: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise InvalidInput for a member that means nothing here."""
    from everloop.errors import nearest

    for name in body:
        if name not in known:
            raise InvalidInput(
                f"the request has an unknown member '{name[:60]}'",
                hint=nearest(name, known) or f"known: {', '.join(known)}",
            )
