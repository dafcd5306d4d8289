"""How the server says things: JSON by msgspec, errors in one shape."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from everloop.errors import EverloopError

_ENCODER = msgspec.json.Encoder()


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def error_response(error: EverloopError) -> Response:
    """An error as every client of ours expects it: ``{"error": {"code", "message", "hint"}}``."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return Response(
        _ENCODER.encode({"error": error.to_dict()}), error.status, headers, media_type="application/json"
    )
