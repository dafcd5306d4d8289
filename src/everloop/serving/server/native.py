"""Everloop's own form of prediction requests.

    {"rows": [{"temp": 70, …}, …]}        or   {"columns": {"temp": [70, …], …}}
    and, if wanted, "keys": [text, …]      whose arm they share, and what the truth is joined by later
                    "ids": [hex, …]        identifiers for the predictions, else they are made
                    "time": "2013-…Z"      when it happens, one for all or a list; else now

Rows are answered by rows, columns by columns; each prediction with its `prediction_id`, `arm` and `model`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.ids import is_id
from everloop.domain.names import shown
from everloop.domain.times import require_zone
from everloop.errors import InvalidInput
from everloop.serving.server.answering import Answered
from everloop.serving.server.requests import Asked, checked_size, only
from everloop.tracking.formats.columns import columns_from_rows, jsonable

_KNOWN = ("rows", "columns", "keys", "ids", "time")


def read(body: dict[str, Any]) -> Asked:
    only(body, _KNOWN)
    if ("rows" in body) == ("columns" in body):
        raise InvalidInput("give either rows or columns", hint='such as {"rows": [{"column": 1}]}')
    if "rows" in body:
        rows = body["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidInput("rows is not a list of objects", hint='such as {"rows": [{"column": 1}]}')
        columns, count = columns_from_rows(rows), checked_size({}, len(rows))
    else:
        columns = body["columns"]
        if not isinstance(columns, dict):
            raise InvalidInput("columns is not an object", hint='such as {"columns": {"column": [1]}}')
        count = checked_size(columns)
    return Asked(count, columns, _keys(body, count), _ids(body, count), _times(body, count))


def written(answered: Answered, *, by_columns: bool) -> bytes:
    columns: dict[str, list[Any]] = {
        "prediction_id": answered.ids,
        "arm": answered.arms,
        "model": answered.models,
        **{name: jsonable(values) for name, values in answered.outputs.items()},
    }
    if by_columns:
        return msgspec.json.encode({"predictions": columns})
    names = list(columns)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return msgspec.json.encode({"predictions": rows})


def _listed(body: dict[str, Any], name: str, rows: int) -> list[Any] | None:
    values = body.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != rows:
        raise InvalidInput(
            f"{name} is not a list of {rows} values", hint=f"give {name} one value a row, or leave it out"
        )
    return values


def _keys(body: dict[str, Any], rows: int) -> list[str] | None:
    keys = _listed(body, "keys", rows)
    if keys is None:
        return None
    for key in keys:
        if not isinstance(key, str | int) or isinstance(key, bool) or len(str(key)) > 250:
            raise InvalidInput(
                f"{shown(str(key))} is not a key",
                hint="keys are text of up to 250 characters, or whole numbers",
            )
    return [str(key) for key in keys]


def _ids(body: dict[str, Any], rows: int) -> bytes | None:
    ids = _listed(body, "ids", rows)
    if ids is None:
        return None
    for each in ids:
        if not isinstance(each, str) or not is_id(each):
            raise InvalidInput(
                f"{shown(str(each))} is not an identifier",
                hint="ids are 32 lower-case hexadecimal digits; use keys for your own",
            )
    return bytes.fromhex("".join(ids))


def _times(body: dict[str, Any], rows: int) -> list[datetime] | datetime | None:
    given = body.get("time")
    if given is None:
        return None
    if not isinstance(given, list):
        return _time(given)
    if len(given) != rows:
        raise InvalidInput(
            f"time has {len(given)} values for {rows} rows", hint="give one time, or one a row"
        )
    return [_time(each) for each in given]


def _time(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InvalidInput(f"{shown(str(text))} is not a time", hint="write 2026-01-01T00:00:00Z") from None
    return require_zone(moment, "the time")
