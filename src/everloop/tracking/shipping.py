"""A run's journal on the caller's side, and bringing it into the ledger.

Every call that logs is one append to a file in the workspace's folder: there when the call returns, whatever happens to the
process next, and no server is asked. A thread sends what has gathered; what a killed process left behind is sent by the next
one that starts a run or lists runs. Records are numbered, so nothing arrives twice.

Nobody's training fails because tracking fails. A server that is away, a locked ledger or a full disk cost one warning each:

    the ledger is away      records wait in the file, other operations as errands in it; both are sent when it is back
    the disk is full        records wait in memory and go to the ledger from there; they are written when there is room
    both, for long          records are lost, and the first that is written again says how many
"""

import itertools
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.domain.runs import Shipped
from everloop.errors import EverloopError, Failed, StorageError
from everloop.store.journal import JournalWriter
from everloop.tracking import records
from everloop.tracking.errands import BEGIN, Errand, Spool
from everloop.tracking.leftbehind import BATCH_BYTES, BATCH_RECORDS, ship_records
from everloop.tracking.leftbehind import journal_folder as journal_folder

if TYPE_CHECKING:
    from everloop.tracking.tracking import Tracking

MOST_WAITING = 500_000
"""How many records gather before they are sent at once; of twice as many, those that are in the file leave the memory."""
MOST_UNWRITTEN = 100_000
"""How many records wait in memory for room on the disk."""
SHIP_SECONDS = 2.0
"""How long records wait for others."""
HEARTBEAT_SECONDS = 60.0
"""How often a run that logs nothing gives a sign of life."""
PATIENCE = 30.0
"""Seconds between attempts to reach a ledger that stays away; the first are `SHIP_SECONDS` apart, each double the last."""
SLOW_SECONDS = 3.0
"""An attempt that failed after so long is not made again when the run ends."""

_WHY_LOST = "the disk was full and the ledger away"


class RunJournal:
    """Appends records and sends them on. Used by several threads; `first` is the number of the first record to come. `begin`:
    the errand that makes the run, where the ledger was away when it started."""

    def __init__(
        self, path: Path, run_id: str, first: int, tracking: "Tracking", *, begin: Errand | None = None
    ) -> None:
        self._path, self._run_id, self._tracking = path, run_id, tracking
        self._warned: set[str] = set()
        self._append = threading.Lock()
        self._send = threading.Lock()
        self._waiting: list[bytes] = []
        self._only_in_file = False
        self._sent = self._count = first
        self._errands: list[Errand] = []
        self._lost = 0
        self.spool = Spool(path)
        self._file = _File(path, run_id, first)
        self._append_now = self._file.appender()
        self._failures, self._again_at, self._slow = 0, 0.0, False
        self.chores: list[Callable[[], None]] = []
        """What the thread also does each time it wakes, such as measuring the machine."""
        if self._file.fault is not None:
            self._no_room(self._file.fault)
        if begin is not None:
            self.later(begin)
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name=f"everloop-{run_id[:8]}", daemon=True)
        self._thread.start()

    # What the run says

    def append(self, record: bytes) -> None:
        """Add a record; it survives the process from here on."""
        with self._append:
            try:
                self._append_now(record)
            except StorageError as error:
                if not self._keep_unwritten(record, error):
                    return
            self._count += 1
            if not self._only_in_file:
                self._waiting.append(record)
            gathered = len(self._waiting)
        if gathered >= MOST_WAITING:
            self._too_many(gathered)

    def later(self, errand: Errand) -> None:
        """Keep an operation that cannot be done now. Its bytes, if it names any, are in `spool` already."""
        with self._append:
            try:
                self._append_now(errand.note())
            except StorageError as error:  # it is still done as long as the process lives
                self._no_room(error)
            self._errands.append(errand)

    @property
    def is_away(self) -> bool:
        """Whether the ledger did not answer lately, so that asking it again would only cost time."""
        return self._failures > 0 and time.monotonic() < self._again_at

    @property
    def has_errands(self) -> bool:
        """Whether something must be done before what comes now."""
        return bool(self._errands)

    @property
    def count(self) -> int:
        """How many records the run has, those included that have not arrived."""
        return self._count

    # Sending

    def flush(self) -> int:
        """Send everything logged so far; returns how many records of the run the ledger has. Raises what the ledger says."""
        with self._send:
            started = time.monotonic()
            try:
                self._deliver()
                target = (
                    self._count
                )  # what is logged meanwhile waits: a busy writer must not keep us at it for ever
                while self._sent < target:
                    if self._only_in_file:
                        self._send_from_file()
                    else:
                        batch = _shipment(self._waiting, target - self._sent)
                        self._answered(
                            self._tracking.ship(self._run_id, self._sent, records.batch(batch)), len(batch)
                        )
                self._run_errands()
            except Exception:
                self._failures += 1
                self._again_at = time.monotonic() + self._patience()
                self._slow = time.monotonic() - started > SLOW_SECONDS
                raise
            self._failures = 0
            return self._sent

    def try_flush(self) -> bool:
        """Send what can be sent; False when records must wait for a later day."""
        try:
            self.flush()
        except EverloopError as error:
            self.away(error)
            return False
        except Exception as error:  # noqa: BLE001 (the boundary to somebody's training: it goes on whatever happens here)
            self.away(Failed(f"{type(error).__name__}: {error}"))
            return False
        return True

    def away(self, error: EverloopError) -> None:
        """Say once that the ledger is away."""
        self.warn(
            "away", f"the run could not be sent ({error.message}); it is kept in {self._path} and sent later"
        )

    def close(self) -> None:
        """Send the rest and end. The file goes when all of it has arrived."""
        self._closing = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        arrived = not (self.is_away and self._slow) and self.try_flush()
        with self._append:
            unsaid = 0 if arrived else self._file.unwritten
            if self._lost or unsaid:
                self.warn("lost", f"{self._lost + unsaid:,} records of it are lost: {_WHY_LOST}")
            self._file.close()
        if arrived:
            self._path.unlink(missing_ok=True)
            self.spool.remove()

    def abandon(self) -> None:
        """Let go of the file and leave it: as a process does that is killed."""
        self._closing = True
        with self._append:
            self._waiting.clear()
            self._count = self._sent
        self._wake.set()
        self._thread.join()
        self._file.close()

    def let_go(self) -> None:
        """In a forked child: the file is the parent's, and so is its lock; locks of threads may be held for ever here."""
        self._file.close()

    # Inside

    def _deliver(self) -> None:
        """Bring bytes that wait to the object store, and make the run where that is still to be done."""
        if not self._errands:
            return
        self.spool.deliver(self._tracking.objects)
        if self._errands[0].name == BEGIN:
            self._errands[0].perform(self._tracking)
            del self._errands[0]

    def _run_errands(self) -> None:
        while self._errands:
            self._errands[0].perform(self._tracking)
            del self._errands[0]

    def _send_from_file(self) -> None:
        for answer in ship_records(self._tracking, self._run_id, self._path, self._sent):
            self._answered(answer, 0)
            self._sent = answer.records
        with self._append:
            self._only_in_file = self._sent < self._count

    def _answered(self, answer: Shipped, sent: int) -> None:
        with self._append:
            del self._waiting[:sent]
            self._sent += sent
            self._file.arrived(self._sent)
        for key in answer.refused:
            self.warn(key, f"the parameter {key} has another value already; a parameter is written once")

    def _keep_unwritten(self, record: bytes, error: StorageError) -> bool:
        """A record that the disk has no room for; False when the memory has none either."""
        self._no_room(error)
        self._append_now = self._file.append  # which keeps the order while records wait
        if self._file.unwritten < MOST_UNWRITTEN and not self._only_in_file:
            self._file.keep(record, self._count)
            return True
        self._lost += 1
        return False

    def _no_room(self, error: StorageError) -> None:
        self.warn("room", f"{error.message}; what is logged now is lost if the process dies")

    def _room_again(self) -> None:
        """Write what waits for room on the disk, and how much was lost meanwhile."""
        with self._append:
            if self._file.unwritten and not self._file.catch_up():
                return
            self._append_now = self._file.appender()
            lost = self._lost
            if lost:
                said = records.encode((records.LOST, lost, _WHY_LOST))
                try:
                    self._append_now(said)
                except StorageError:
                    return
                self._count += 1
                if not self._only_in_file:
                    self._waiting.append(said)
                self._lost = 0
        if lost:
            self.warn("lost", f"{lost:,} records of it are lost: {_WHY_LOST}")

    def _too_many(self, gathered: int) -> None:
        self._wake.set()
        if gathered >= 2 * MOST_WAITING and self._failures:
            with self._append:
                if not self._file.unwritten:
                    self._only_in_file = True
                    self._waiting.clear()

    def _patience(self) -> float:
        return min(PATIENCE, SHIP_SECONDS * 2 ** min(self._failures - 1, 10))

    def _work(self) -> None:
        quiet = 0.0
        while not self._closing:
            woken = self._wake.wait(SHIP_SECONDS)
            self._wake.clear()
            if self._closing:
                return
            for chore in self.chores:
                self._do(chore)
            if self._file.unwritten or self._lost:
                self._room_again()
            quiet = 0.0 if self._waiting or woken else quiet + SHIP_SECONDS
            if self.is_away:
                continue
            if self._sent < self._count or self._errands:
                self.try_flush()
            elif quiet >= HEARTBEAT_SECONDS:
                quiet = 0.0
                self._beat()

    def _do(self, chore: Callable[[], None]) -> None:
        try:
            chore()
        except Exception as error:  # noqa: BLE001 (a background loop: it must outlive whatever one chore meets)
            self.chores.remove(chore)
            self.warn(f"chore {chore!r}", f"{getattr(chore, '__qualname__', chore)} failed: {error}")

    def _beat(self) -> None:
        try:
            self._tracking.heartbeat(self._run_id)
        except EverloopError as error:
            self.warn("beat", f"no sign of life could be sent ({error.message})")

    def warn(self, about: str, message: str) -> None:
        """Warn, once in the run about each thing."""
        if about not in self._warned:
            self._warned.add(about)
            warnings.warn(f"everloop run {self._run_id[:8]}: {message}", RuntimeWarning, stacklevel=4)


class _File:
    """A journal's file, and the records that wait for room in it. Not for several threads at once.

    While records wait, all that follow wait too, so that the file has them in their order. Those that reached the ledger from
    memory need no place in the file: a new head says which number goes on there.
    """

    def __init__(self, path: Path, run_id: str, first: int) -> None:
        self._path, self._run_id, self._first = path, run_id, first
        self._writer: JournalWriter | None = None
        self._waiting: list[bytes] = []
        self._number = first
        self._jumped = False
        self.fault: StorageError | None = None
        """Why the file could not be made, if so."""
        try:
            self._writer = self._made(first)
        except StorageError as error:
            self.fault = error

    def _made(self, first: int) -> JournalWriter:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder {self._path.parent} cannot be made: {error.strerror}") from error
        # Others look for journals without a writer: this one takes its name when it has its head and is locked.
        begun = self._path.with_suffix(".begun")
        writer = JournalWriter(begun)
        try:
            writer.append(self._head(first))
            begun.rename(self._path)
            writer.path = self._path
        except (OSError, StorageError):
            writer.close()
            begun.unlink(missing_ok=True)
            raise
        return writer

    @property
    def unwritten(self) -> int:
        return len(self._waiting)

    def appender(self) -> Callable[[bytes], object]:
        """What writes a record: the writer itself, while nothing waits."""
        if self._waiting or self._jumped or self._writer is None:
            return self.append
        return self._writer.append

    def append(self, record: bytes) -> None:
        """Write a record. Raises StorageError when there is no room, or others wait for it."""
        if self._waiting or self._jumped or self._writer is None:
            raise self.fault or StorageError(
                f"the disk is full: nothing can be added to the journal {self._path}"
            )
        self._writer.append(record)

    def keep(self, record: bytes, number: int) -> None:
        """A record that could not be written waits."""
        if not self._waiting:
            self._number = number
        self._waiting.append(record)

    def arrived(self, sent: int) -> None:
        """The ledger has all records before this number."""
        if self._waiting and sent > self._number:
            del self._waiting[: sent - self._number]
            self._number, self._jumped = sent, True
            if not self._waiting:
                self.catch_up()

    def catch_up(self) -> bool:
        """Write what waits; False when there is still no room for it."""
        try:
            if self._writer is None:
                self._writer = self._made(self._number)
            self._writer.append_many([self._head(self._number), *self._waiting])
        except (OSError, StorageError):
            return False
        self._waiting.clear()
        self._jumped, self.fault = False, None
        return True

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _head(self, first: int) -> bytes:
        return records.encode((records.HEAD, self._run_id, first))


def _shipment(waiting: Sequence[bytes], available: int) -> Sequence[bytes]:
    """The first of the records that wait, as many as one shipment carries; one at least."""
    count = size = 0
    for record in itertools.islice(waiting, min(available, BATCH_RECORDS)):
        size += len(record)
        if count and size > BATCH_BYTES:
            break
        count += 1
    return waiting[:count]
