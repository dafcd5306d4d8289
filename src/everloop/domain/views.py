"""A saved way to look at runs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

State = Literal["active", "deleted", "all"]


class RunView(msgspec.Struct, frozen=True):
    """Which runs (`where`, `experiment`, `state`), which columns, in which order, grouped by what, under a name. Empty `columns`:
    all there are."""

    name: str
    where: str = ""
    experiment: list[str] = []
    state: State = "active"
    columns: list[str] = []
    order_by: list[str] = []
    group_by: list[str] = []
    description: str = ""
    user: str = ""
    updated: datetime | None = None
