"""What a run prints: standard output and error go where they always went, and whole lines of them into the run's journal.

The `write` of the streams that are there is wrapped, not the streams themselves: a logging handler that took hold of
``sys.stderr`` before the run began is heard too, and in a notebook the cell still shows everything. Output of other programs
and of libraries written in C goes past Python and is not seen.

A line is kept as a terminal would show it in the end: of a progress bar that draws over itself, the last state. Text goes to
the runs that are open where it is printed; in a thread that knows of none, to all that are open in the process.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from everloop.tracking.secrets import text_mask

MOST_BYTES = 10_000_000
"""How much of a run's output is kept."""
SETTING = "EVERLOOP_OUTPUT"
"""The environment variable that turns it off: 0, off, no or false."""
LONGEST_LINE = 100_000
"""Characters after which a line is kept although it has not ended."""

Say = Callable[[str, str], None]
"""Takes the name of a stream and whole lines."""


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether runs record what they print.

    >>> is_wanted({}), is_wanted({"EVERLOOP_OUTPUT": "off"})
    (True, False)
    """
    return environment.get(SETTING, "").strip().lower() not in ("0", "off", "no", "false")


class Listener:
    """Gathers whole lines of one run's output and hands them to `say`."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._mask = text_mask()
        self._begun = {"stdout": "", "stderr": ""}
        self._left = MOST_BYTES
        self._lock = threading.Lock()

    def hear(self, stream: str, text: str) -> None:
        """Take in what was printed: at most what ends in a line is handed on, the rest waits."""
        with self._lock:
            whole, newline, rest = (self._begun[stream] + text).rpartition("\n")
            overwritten = rest.rpartition("\r")
            if (
                overwritten[1] and overwritten[2]
            ):  # what comes after a return of the carriage is drawn over what was before
                rest = overwritten[2]
            if len(rest) > LONGEST_LINE:
                whole, newline, rest = whole + newline + rest, "\n", ""
            self._begun[stream] = rest
            if newline:
                self._hand_on(stream, "\n".join(map(_as_shown, whole.split("\n"))) + "\n")

    def end(self) -> None:
        """Hand on lines that were begun."""
        with self._lock:
            for stream, rest in self._begun.items():
                if _as_shown(rest):
                    self._hand_on(stream, _as_shown(rest) + "\n")
            self._begun = {"stdout": "", "stderr": ""}

    def _hand_on(self, stream: str, text: str) -> None:
        if self._left <= 0:
            return
        masked = self._mask(text)
        self._left -= len(masked.encode(errors="replace"))
        self._say(stream, masked)
        if self._left <= 0:
            self._say(
                "stderr", f"everloop: of the output of a run, {MOST_BYTES:,} bytes are kept; more is not\n"
            )


class _Tap:
    """Wraps the `write` of one stream while anybody listens."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream = name, stream
        self._write = stream.write
        self._own = "write" in getattr(stream, "__dict__", {})
        stream.write = self.write  # type: ignore[method-assign]

    def write(self, text: str) -> int:
        written = self._write(text)
        if not _busy.__dict__.get("now"):
            _busy.now = True  # what a listener prints, such as a warning, must not come round again
            try:
                for listener in _listeners():
                    listener.hear(self.name, text)
            finally:
                _busy.now = False
        return written

    def remove(self) -> None:
        """Undo the wrapping, unless somebody has wrapped it once more meanwhile: then it stays, and passes everything on."""
        if self.stream.__dict__.get("write") != self.write:
            return
        if self._own:
            self.stream.write = self._write  # type: ignore[method-assign]
        else:
            del self.stream.write


_busy = threading.local()
_lock = threading.Lock()
_open: list[Listener] = []
_taps: list[_Tap] = []
_here: Callable[[], list[Listener]] = list


def listen(listener: Listener, here: Callable[[], list[Listener]]) -> None:
    """Begin to hand on what is printed. `here` says which listeners belong to the code that is running."""
    global _here
    with _lock:
        _here = here
        _open.append(listener)
        for name in ("stdout", "stderr"):
            stream: Any = getattr(sys, name)
            if stream is not None and not any(tap.stream is stream for tap in _taps):
                try:
                    _taps.append(_Tap(name, stream))
                except AttributeError:  # a stream of a kind that cannot be wrapped: the run goes without
                    continue


def stop(listener: Listener) -> None:
    """Hand on what is left, and no more. The last to stop leaves the streams as they were."""
    listener.end()
    with _lock:
        if listener in _open:
            _open.remove(listener)
        if not _open:
            while _taps:
                _taps.pop().remove()


def forget() -> None:
    """In a forked child: nobody listens, and no lock is to be waited for."""
    global _lock
    _lock = threading.Lock()
    _open.clear()


def _listeners() -> list[Listener]:
    own = [each for each in _here() if each in _open]
    return own or list(_open)


def _as_shown(line: str) -> str:
    """What a terminal shows of a line in the end."""
    return line.rstrip("\r").rpartition("\r")[2]
