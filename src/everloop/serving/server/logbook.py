"""The prediction log being written: a record is with the kernel before the reply is, and on the disk soon after."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from everloop.errors import EverloopError
from everloop.serving.frames import Frame, encode
from everloop.store.journal import JournalWriter

SYNC_SECONDS = 0.1
"""How much of the log a power cut may take. The death of the process takes nothing."""

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed when it has grown beyond this."""


class Logbook:
    """Writes frames into segments ``SEGMENT.journal``; a segment is one server's, from opening to closing."""

    def __init__(
        self, folder: Path, new_segment: Callable[[], str], *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._new_segment = new_segment
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._writer = self._open()
        self._size = 0
        self._dirty = False
        self._closed = threading.Event()
        self.problem = ""
        """Why the last sync failed, or empty."""
        self._thread = threading.Thread(target=self._sync_often, name="prediction-log", daemon=True)
        self._thread.start()

    def write(self, frames: Sequence[Frame]) -> None:
        """Append the frames of one request in one write. When it returns, killing the process loses none of them."""
        payloads = [encode(frame) for frame in frames]
        with self._lock:
            if self._size > self._segment_bytes:
                self._rotate()
            self._size = self._writer.append_many(payloads)
            self._dirty = True

    def rotate(self) -> None:
        """Close the segment if anything is in it, so that it can be compacted, and begin another."""
        with self._lock:
            if self._size:
                self._rotate()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        with self._lock:
            self._writer.sync()
            self._writer.close()

    def _open(self) -> JournalWriter:
        return JournalWriter(self._folder / f"{self._new_segment()}.journal")

    def _rotate(self) -> None:
        following = self._open()
        self._writer.sync()
        self._writer.close()
        self._writer, self._size, self._dirty = following, 0, False

    def _sync_often(self) -> None:
        while not self._closed.wait(SYNC_SECONDS):
            with self._lock:
                writer, dirty = self._writer, self._dirty
                self._dirty = False
            if not dirty:
                continue
            try:
                writer.sync()
                self.problem = ""
            except (
                OSError,
                EverloopError,
            ) as error:  # rotated away meanwhile (synced there), or the disk is failing
                with self._lock:
                    if writer is self._writer:
                        self._dirty, self.problem = True, str(error)
