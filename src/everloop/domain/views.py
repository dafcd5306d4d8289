"""A saved way to look at runs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

State = Literal["active", "deleted", "all"]


class RunView(msgspec.Struct, frozen=True):
    """Which runs (`where`, `experiment`, `state`), which columns, in which order, grouped by what, under a name. Empty `columns`:
    all there are. `nested`: runs stand below those that started them. `widths`: pixels of columns on the page, by name."""

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
    nested: bool = False
    widths: dict[str, int] = {}
