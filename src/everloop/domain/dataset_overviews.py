"""What a list of datasets shows of each."""

from __future__ import annotations

from datetime import datetime

import msgspec

from everloop.domain.checks import CheckReport


class DatasetOverview(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset by its newest version, `latest`. stored: bytes of content that all its versions added to the object store.

    readers: runs that read any of its versions, each counted once a version. quarantined: rows in its newest quarantine version;
    None when it has none. report: the last verdict on the newest version.
    """

    name: str
    latest: str
    versions: int
    bytes: int
    stored: int
    rows: int | None
    producer: str | None
    user: str
    created: datetime
    readers: int
    quarantined: int | None
    report: CheckReport | None
