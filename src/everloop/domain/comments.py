"""What people say about runs."""

from __future__ import annotations

from datetime import datetime

import msgspec

MAX_COMMENT = 20_000
"""Characters of a comment."""


class Comment(msgspec.Struct, frozen=True):
    """A comment on a run, in Markdown. `edited`: when it was written anew, None if never."""

    id: str
    run_id: str
    user: str
    text: str
    created: datetime
    edited: datetime | None = None
