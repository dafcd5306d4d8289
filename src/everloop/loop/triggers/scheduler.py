"""Looking again and again: what has come, whose turn it is, who carries it out.

A firing gets a process of its own, in a session of its own: it outlives a server that is killed, and goes on and reports as if
nothing had been. A server that stops in order asks its processes to stop, and gives back what they had not finished.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import psutil

from everloop.domain.firings import FiringStatus
from everloop.domain.runs import Owner
from everloop.errors import Conflict, EverloopError
from everloop.loop.triggers.arriving import files_at
from everloop.loop.triggers.records import FileSeen, Firing
from everloop.tracking.places import place, this_process

if TYPE_CHECKING:
    from everloop.loop.loop import Loop

log = logging.getLogger("everloop.server")

AT_ONCE = 4
"""Firings that one server carries out at the same time; others wait, or go to another server."""
LOOK_AT_FILES_SECONDS = 5.0
"""Between two looks at files: one that is still being written grows in that time."""
GENTLY_SECONDS = 10.0
"""How long a pipeline that is asked to stop may go on with the steps at work."""
STOPPED = "its server stopped"


class Child(NamedTuple):
    """A process at work, what it says when it cannot go on, and the firing as it was claimed."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    firing: Firing


class Scheduler:
    """What one process knows of triggers between two looks: the children at work, and the files it saw. Not for two threads."""

    def __init__(
        self, loop: Loop, *, at_once: int = AT_ONCE, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._at_once = at_once
        self._timer = timer
        self._children: dict[str, Child] = {}
        self._files: dict[str, tuple[list[FileSeen], int]] = {}
        self._looked_at: float | None = None

    @property
    def at_work(self) -> list[str]:
        """The firings whose processes run."""
        return list(self._children)

    def turn(self, now: datetime) -> list[Firing]:
        """One look at `now`. Returns the firings that were begun."""
        self._collect()
        self._look_at_files(now)
        self._loop.decide_firings(now=now)
        free = self._at_once - len(self._children)
        if free <= 0:
            return []
        begun = self._loop.claim_firings(now=now, process=this_process(), most=free)
        for each in begun:
            self._start(each)
        return begun

    def wait(self, seconds: float) -> None:
        """Until a child ends, and no longer than that."""
        for child in list(self._children.values())[:1]:
            try:
                child.process.wait(seconds)
            except subprocess.TimeoutExpired:
                return

    def stop(self) -> None:
        """Ask the children to stop, first gently, and give back what they leave."""
        for how in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            for child in self._children.values():
                if child.process.poll() is None:
                    _signal(child.process, how)
            deadline = time.monotonic() + GENTLY_SECONDS
            for child in self._children.values():
                try:
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        left = [child.firing for child in self._children.values()]
        self._collect()
        for each in left:
            self._give_back(each)

    def _start(self, firing: Firing) -> None:
        context = self._loop.context
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the child has ended)
        command = [
            sys.executable,
            "-m",
            "everloop.client.firing",
            context.location,
            firing.id,
            str(firing.attempts),
        ]
        child = subprocess.Popen(
            command,
            cwd=context.project,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
        self._children[firing.id] = Child(child, errors, firing)
        try:  # it is the child's from now on: should it end before it can say so itself, it is seen to be gone
            owner = Owner(place(), child.pid, psutil.Process(child.pid).create_time())
            self._loop.begin_firing(firing=firing.id, attempt=firing.attempts, process=owner)
        except Conflict:  # it has begun and ended meanwhile
            return

    def _give_back(self, firing: Firing) -> None:
        """What was stopped before it could say so itself: it is no death."""
        try:
            self._loop.end_firing(
                firing=firing.id, attempt=firing.attempts, status=FiringStatus.WAITING, reason=STOPPED
            )
        except Conflict:  # it has said what came of it
            return

    def _collect(self) -> None:
        """Let go of children that have ended. They report by themselves; one that could not is found by its claim."""
        for identifier, child in list(self._children.items()):
            status = child.process.poll()
            if status is None:
                continue
            del self._children[identifier]
            if status not in (0, 130, -signal.SIGINT):  # the last: stopped before it could listen
                said = _last(child.errors)
                log.warning("the process of firing %s ended with %d: %s", identifier, status, said)
            child.errors.close()

    def _look_at_files(self, now: datetime) -> None:
        """The server looks at the files of its own machine; one who works for a server elsewhere does not."""
        if self._loop.context.remote:
            return
        if self._looked_at is not None and self._timer() - self._looked_at < LOOK_AT_FILES_SECONDS:
            return
        self._looked_at = self._timer()
        for trigger, pattern in self._loop.file_patterns().items():
            self._look_at(trigger, pattern, now)

    def _look_at(self, trigger: str, pattern: str, now: datetime) -> None:
        files = files_at(pattern, self._loop.context.project)
        before, told = self._files.get(trigger, ([], 0))
        told = told + 1 if files == before else 1
        self._files[trigger] = files, told
        if told <= 2:  # a state is told twice: the second time says that it stands still
            try:
                self._loop.see_files(trigger=trigger, files=files, now=now)
            except EverloopError as error:
                log.error("the files of trigger %s: %s", trigger, error.message)


def _signal(child: subprocess.Popen[Any], how: int) -> None:
    try:
        if how == signal.SIGKILL:
            os.killpg(child.pid, how)  # its workers, too
        else:
            child.send_signal(how)
    except ProcessLookupError:
        pass


def _last(errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 2000))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
