"""The points of the runs that come next are read in a process of its own, while those before are being written: reading a large
`mlflow.db` takes as long as writing what was in it, and SQLite's driver makes threads wait for each other at every row.

Nothing depends on it. Whatever was not read ahead, whatever the reason, is read by whoever needs it.

    request    four bytes for the length, then the runs in MessagePack
    answer     eight bytes for the length, then their metrics in MessagePack; length 0: these cannot be read ahead
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from everloop.domain.adoption import MetricColumns
from everloop.errors import EverloopError

LARGE = 100 << 20
"""Bytes of a database that is worth another process."""

_REQUEST, _ANSWER = struct.Struct("<I"), struct.Struct("<Q")
_runs = msgspec.msgpack.Decoder(list[str])
_metrics = msgspec.msgpack.Decoder(dict[str, MetricColumns])


class Ahead:
    """Reads ahead in one database, batch by batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: list[str] = []
        self._usable = path.stat().st_size >= LARGE and (os.cpu_count() or 1) > 1

    def ask(self, runs: Sequence[str]) -> None:
        """Begin to read the metrics of these runs."""
        if not self._usable or not runs:
            return
        request = msgspec.msgpack.encode(runs)
        try:
            pipe = self._started().stdin
            assert pipe is not None
            pipe.write(_REQUEST.pack(len(request)) + request)
            pipe.flush()
        except OSError:
            self.close()
        else:
            self._asked = list(runs)

    def take(self, runs: Sequence[str]) -> dict[str, MetricColumns] | None:
        """The metrics of these runs, if they are what was asked for last. Otherwise somebody reads in another order than was
        thought, and nothing more is read ahead."""
        if not self._asked:
            return None
        asked, self._asked = self._asked, []
        answer = self._answer() if asked == list(runs) else b""
        if not answer:
            self.close()
            return None
        return _metrics.decode(answer)

    def close(self) -> None:
        self._usable, self._asked = False, []
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):  # what was not read of it yet
                self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", __name__, str(self._path)]
            pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
        return self._process

    def _answer(self) -> bytes:
        """Empty where the other process has ended, or can read no more of these."""
        assert self._process is not None
        assert self._process.stdout is not None
        head = self._process.stdout.read(_ANSWER.size)
        if len(head) < _ANSWER.size:
            return b""
        (length,) = _ANSWER.unpack(head)
        body = self._process.stdout.read(length)
        return body if len(body) == length else b""


def main() -> None:
    """Answer until nobody asks any more."""
    from everloop.exchange.mlflow.database import DatabaseSource

    source = DatabaseSource(Path(sys.argv[1]))
    asking, answering = sys.stdin.buffer, sys.stdout.buffer
    while head := asking.read(_REQUEST.size):
        runs = _runs.decode(asking.read(_REQUEST.unpack(head)[0]))
        try:
            found = source.metrics_of(runs)
        except EverloopError:  # whoever needs them meets it as well, and says so
            found = None
        answer = b"" if found is None else msgspec.msgpack.encode(found)
        answering.write(_ANSWER.pack(len(answer)))
        answering.write(answer)
        answering.flush()


if __name__ == "__main__":
    main()
