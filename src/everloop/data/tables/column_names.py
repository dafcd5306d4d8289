"""Names of columns that every reader tells apart: SQL has none for a column without a name, and no capitals in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop.domain.names import shown
from everloop.errors import InvalidInput


def unfit(names: Iterable[str]) -> str:
    """Why a table cannot have these columns, as an end of a sentence about it; empty when it can.

    >>> unfit(["a", "b", "B"])
    "the columns 'b' and 'B', which are one name in SQL"
    >>> unfit(["", "b"]), unfit(["ä", "Ä"])
    ('a column without a name', '')
    """
    seen: dict[bytes, str] = {}
    for name in names:
        if not name:
            return "a column without a name"
        folded = name.encode("utf-8", "surrogatepass").lower()  # the letters of ASCII only, as SQL does
        if folded in seen:
            before = seen[folded]
            if before == name:
                return f"two columns called {shown(name)}"
            return f"the columns {shown(before)} and {shown(name)}, which are one name in SQL"
        seen[folded] = name
    return ""


def require_fit(rows: Any) -> None:
    """Raises InvalidInput for a table (anything with a schema) whose columns SQL would take for one another. None is added any
    more; one that was kept before can still be read, by Arrow."""
    if wrong := unfit(rows.schema.names if hasattr(rows, "schema") else ()):
        raise InvalidInput(f"the table has {wrong}", hint="add it again with other names")
