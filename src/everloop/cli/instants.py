"""Instants on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click


class Instant(click.ParamType):
    """An instant in ISO 8601, with its zone."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}' is not an instant such as 2013-06-01T12:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"'{value}' has no time zone; write 2013-06-01T12:00:00Z", param, ctx)
        return moment.astimezone(UTC)
