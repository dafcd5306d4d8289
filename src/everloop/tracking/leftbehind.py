"""Journals whose writers have gone: read, sent, and removed."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import Shipped
from everloop.errors import (
    Conflict,
    Corrupted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    StorageError,
    Unauthenticated,
    Unavailable,
)
from everloop.store.journal import read_journal, recover
from everloop.tracking import records
from everloop.tracking.errands import BEGIN, Errand, Spool

if TYPE_CHECKING:
    from everloop.tracking.tracking import Tracking

BATCH_RECORDS = 20_000
"""How many records one shipment carries at most."""
BATCH_BYTES = 4_000_000
"""And how many bytes, but for a single record that is larger."""
BEGINNING_SECONDS = 3600
"""After so long, a journal that has not begun never will."""


def journal_folder(folder: Path) -> Path:
    """Where a workspace's journals are."""
    return folder / "journals"


_AWAY = (Unavailable, StorageError, PermissionDenied, Unauthenticated)
"""Whoever only looks, or starts a run, is not kept from it by these."""


def bring_in(tracking: "Tracking", folder: Path) -> list[str]:
    """Send what is left behind; of the runs it came from, record that they are not running any more. Returns these runs."""
    sent = ship_left_behind(tracking, folder)
    if sent:
        with suppress(*_AWAY):
            tracking.settle()
    return sent


def ship_left_behind(tracking: "Tracking", folder: Path) -> list[str]:
    """Send the journals whose writers have gone, and return their runs. Those being written are left to their writers.

    A torn tail is cut. Where a journal is damaged further up, what stands before the damage is sent and the file kept, with
    ``.damaged`` at its name's end. A journal of a run that the ledger does not know is kept as it is.
    """
    sent: list[str] = []
    _sweep(journal_folder(folder))
    for path in sorted(
        journal_folder(folder).glob("*.journal")
    ):  # oldest first: parents before their children
        try:
            recover(path)
        except Conflict:  # its writer lives
            continue
        except NotFound:  # another process was quicker
            continue
        except Corrupted:
            path.rename(path.with_suffix(".damaged"))
            continue
        try:
            run_id = _ship_file(tracking, path)
        except (NotFound, Conflict):  # purged, or deleted: it may be restored
            continue
        except InvalidInput:  # written by something else; it must not be in the way for ever
            path.rename(path.with_suffix(".damaged"))
            continue
        except _AWAY:
            return sent
        if run_id:
            sent.append(run_id)
    return sent


def _sweep(journals: Path) -> None:
    """Remove what a process left that was killed while it began: a file that was to become a journal, bytes without one."""
    old = time.time() - BEGINNING_SECONDS
    for each in (*journals.glob("*.begun"), *journals.glob("*.files")):
        with suppress(OSError):
            if each.stat().st_mtime < old and not each.with_suffix(".journal").exists():
                shutil.rmtree(each) if each.is_dir() else each.unlink()


def ship_records(tracking: "Tracking", run_id: str, path: Path, sent: int) -> Iterator[Shipped]:
    """Send the records of a journal that are numbered from `sent` on, and yield each answer. Raises Corrupted at damage, after
    everything before it has been sent."""
    gathered: list[bytes] = []
    first = number = sent
    size = 0
    damage: Corrupted | None = None
    found = _records(path)
    while True:
        record: bytes | None = None
        try:
            number, record = next(found, (number, None))
        except Corrupted as error:
            damage = error
        if gathered and (
            record is None
            or number != first + len(gathered)
            or len(gathered) == BATCH_RECORDS
            or size + len(record) > BATCH_BYTES
        ):
            yield tracking.ship(run_id, first, records.batch(gathered))
            gathered.clear()
            size = 0
        if record is None:
            break
        if number >= sent:
            first = first if gathered else number
            gathered.append(record)
            size += len(record)
    if damage is not None:
        raise damage


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered records of a journal, each with its number."""
    number = 0
    for _, payload in read_journal(path):
        if not records.is_note(payload):
            yield number, payload
            number += 1
        else:
            note = records.decode_one(payload)
            if note[0] == records.HEAD:
                number = int(note[2])


def _ship_file(tracking: "Tracking", path: Path) -> str:
    notes, damaged = _notes(path)
    if not notes:
        path.unlink(missing_ok=True)
        return ""
    run_id, first = str(notes[0][1]), int(notes[0][2])
    errands = [Errand.read(each) for each in notes if each[0] == records.ERRAND]
    spool = Spool(path)
    spool.deliver(tracking.objects)
    for each in errands:
        if each.name == BEGIN:
            each.perform(tracking)
    try:
        for _ in ship_records(tracking, run_id, path, first):
            pass
    except Corrupted:
        damaged = True
    for each in errands:
        if each.name != BEGIN:
            each.perform(tracking)
    if damaged:
        path.rename(path.with_suffix(".damaged"))
    else:
        spool.remove()
        path.unlink(missing_ok=True)
    return run_id


def _notes(path: Path) -> tuple[list[list[Any]], bool]:
    """The notes in a journal, its head first, and whether it is damaged."""
    notes: list[list[Any]] = []
    try:
        for _, payload in read_journal(path):
            if records.is_note(payload):
                notes.append(records.decode_one(payload))
    except Corrupted:
        return notes, True
    return notes, False
