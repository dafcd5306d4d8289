"""A run's journal on the caller's side, and bringing it into the ledger.

Every call that logs is one append to a file in the workspace's folder: there when the call returns, whatever happens to the
process next, and no server is asked. A thread sends what has gathered; what a killed process left behind is sent by the next
one that starts a run or lists runs. Records are numbered, so nothing arrives twice.
"""

import itertools
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from everloop.domain.runs import Shipped
from everloop.errors import (
    Conflict,
    Corrupted,
    EverloopError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    StorageError,
    Unavailable,
)
from everloop.store.journal import JournalWriter, read_journal, recover
from everloop.tracking import records

if TYPE_CHECKING:
    from everloop.tracking.tracking import Tracking

BATCH_RECORDS = 20_000
"""How many records one shipment carries at most."""
BATCH_BYTES = 4_000_000
"""And how many bytes, but for a single record that is larger."""
MOST_WAITING = 500_000
"""How many records gather before they are sent at once."""
SHIP_SECONDS = 2.0
"""How long records wait for others."""
HEARTBEAT_SECONDS = 60.0
"""How often a run that logs nothing gives a sign of life."""


class Destination(Protocol):
    """Where records go: the room's operations, which are here or behind a server."""

    def ship(self, run_id: str, first: int, records: bytes) -> Shipped: ...

    def heartbeat(self, run_id: str) -> None: ...


def journal_folder(folder: Path) -> Path:
    """Where a workspace's journals are."""
    return folder / "journals"


class RunJournal:
    """Appends records and sends them on. Used by several threads; `first` is the number of the first record to come.

    An error on the way to the ledger is no error of the user's training: records stay in the file, one warning says so.
    """

    def __init__(self, path: Path, run_id: str, first: int, destination: Destination) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._run_id, self._destination = path, run_id, destination
        # Others look for journals without a writer: this one takes its name when it has its head and is locked.
        begun = path.with_suffix(".begun")
        self._writer = JournalWriter(begun)
        self._writer.append(records.encode((records.HEAD, run_id, first)))
        begun.rename(path)
        self._append = threading.Lock()
        self._send = threading.Lock()
        self._waiting: list[bytes] = []
        self._sent = first
        self._wake, self._closing = threading.Event(), False
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._work, name=f"everloop-{run_id[:8]}", daemon=True)
        self._thread.start()

    def append(self, record: bytes) -> None:
        """Add a record; it survives the process from here on."""
        with self._append:
            try:
                self._writer.append(record)
            except (
                StorageError
            ) as error:  # the disk is full: it still goes to the ledger, as long as the process lives
                self._warn(f"{error.message}; what is logged now is lost if the process dies")
            self._waiting.append(record)
            gathered = len(self._waiting)
        if gathered == MOST_WAITING:
            self._wake.set()

    def flush(self) -> int:
        """Send everything logged so far; returns how many records of the run the ledger has. Raises what the ledger says."""
        with self._send:
            remaining = len(
                self._waiting
            )  # what is logged meanwhile waits: a busy writer must not keep us at it for ever
            while remaining:
                batch = _shipment(self._waiting, remaining)
                answer = self._destination.ship(self._run_id, self._sent, records.batch(batch))
                with self._append:
                    del self._waiting[: len(batch)]
                self._sent += len(batch)
                remaining -= len(batch)
                for key in answer.refused:
                    self._warn(f"the parameter {key} has another value already; a parameter is written once")
            return self._sent

    def try_flush(self) -> bool:
        """Send what can be sent; False when records must wait for a later day."""
        try:
            self.flush()
        except EverloopError as error:
            self._warn(
                f"the run could not be sent ({error.message}); it is kept in {self._path} and sent later"
            )
            return False
        return True

    def close(self) -> None:
        """Send the rest and end. The file goes when all of it has arrived."""
        self._closing = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        arrived = self.try_flush()
        if arrived:
            self._path.unlink(missing_ok=True)
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file and leave it: as a process does that is killed."""
        self._closing = True
        with self._append:
            self._waiting.clear()
        self._wake.set()
        self._thread.join()
        self._writer.close()

    def _work(self) -> None:
        quiet = 0.0
        while not self._closing:
            woken = self._wake.wait(SHIP_SECONDS)
            self._wake.clear()
            if self._closing:
                return
            quiet = 0.0 if self._waiting or woken else quiet + SHIP_SECONDS
            if self._waiting:
                self.try_flush()
            elif quiet >= HEARTBEAT_SECONDS:
                quiet = 0.0
                self._beat()

    def _beat(self) -> None:
        try:
            self._destination.heartbeat(self._run_id)
        except EverloopError as error:
            self._warn(f"no sign of life could be sent ({error.message})")

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"everloop run {self._run_id[:8]}: {message}", RuntimeWarning, stacklevel=4)


def _shipment(waiting: Sequence[bytes], available: int) -> Sequence[bytes]:
    """The first of the records that wait, as many as one shipment carries; one at least."""
    count = size = 0
    for record in itertools.islice(waiting, min(available, BATCH_RECORDS)):
        size += len(record)
        if count and size > BATCH_BYTES:
            break
        count += 1
    return waiting[:count]


def ship_left_behind(tracking: "Tracking", folder: Path) -> list[str]:
    """Send the journals whose writers have gone, and return their runs. Those being written are left to their writers.

    A torn tail is cut. Where a journal is damaged further up, what stands before the damage is sent and the file kept, with
    ``.damaged`` at its name's end. A journal of a run that the ledger does not know is kept as it is.
    """
    sent: list[str] = []
    for path in sorted(journal_folder(folder).glob("*.journal")):
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
        except (Unavailable, StorageError, PermissionDenied):  # whoever only looks is not kept from it
            return sent
        if run_id:
            sent.append(run_id)
    return sent


def _ship_file(destination: Destination, path: Path) -> str:
    found = _payloads(path)
    head = next(found, None)
    if head is None:
        path.unlink(missing_ok=True)
        return ""
    _, run_id, number = records.decode_one(head)
    gathered: list[bytes] = []
    size, damaged = 0, False
    while True:
        try:
            record = next(found, None)
        except Corrupted:
            record, damaged = None, True
        if record is not None:
            gathered.append(record)
            size += len(record)
        if gathered and (record is None or len(gathered) == BATCH_RECORDS or size > BATCH_BYTES):
            destination.ship(run_id, number, records.batch(gathered))
            number += len(gathered)
            size = 0
            gathered.clear()
        if record is None:
            break
    if damaged:
        path.rename(path.with_suffix(".damaged"))
    else:
        path.unlink(missing_ok=True)
    return str(run_id)


def _payloads(path: Path) -> Iterator[bytes]:
    for _, payload in read_journal(path):
        yield payload
