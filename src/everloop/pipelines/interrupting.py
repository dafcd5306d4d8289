"""Ctrl-C while a pipeline runs."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """What can end gently: `at_work` names what runs; once `stopping` is set nothing new begins."""

    stopping: bool

    @property
    def at_work(self) -> list[str]: ...


@contextmanager
def interrupted_gently(run: Stoppable) -> Iterator[None]:
    """Ctrl-C once: the steps at work are finished and recorded, no other is begun. Twice: they are killed. Only a main thread is
    told of signals; and one that Python was told to ignore (a job in the background) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: object) -> None:
        if run.stopping or not run.at_work:
            raise KeyboardInterrupt
        run.stopping = True
        print(f"stopping when {', '.join(run.at_work)} has finished; once more: stop now", file=sys.stderr)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
