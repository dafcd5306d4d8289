"""Telling a demo as a story: what each step does, the one command to do it oneself, what was seen, how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import msgspec


class Step(msgspec.Struct):
    """One step as it was told. `seen` are the sentences that say what happened."""

    name: str
    seconds: float = 0.0
    seen: list[str] = []


class Narrator:
    """Prints steps as they happen and keeps them for the JSON at the end.

    >>> story = Narrator(quiet=True)
    >>> with story.step("Months arrive", "Data comes in parts.", "everloop data add …") as step:
    ...     step.saw("12 versions")
    >>> story.steps[0].seen
    ['12 versions']
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        out: TextIO | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps: list[Step] = []
        self._quiet = quiet
        self._out = out or sys.stderr
        self._timer = timer
        self._live = not quiet and self._out.isatty()

    def say(self, text: str = "") -> None:
        """A line of the story."""
        if not self._quiet:
            self._clear()
            print(text, file=self._out, flush=True)

    @contextmanager
    def step(self, name: str, what: str, command: str = "") -> Iterator[Telling]:
        """A step of the story, from its heading to how long it took."""
        told = Step(name)
        self.steps.append(told)
        self.say()
        self.say(f"── {len(self.steps)}. {name} " + "─" * max(2, 74 - len(name)))
        for line in what.strip().splitlines():
            self.say(f"   {line.strip()}")
        if command:
            for number, line in enumerate(command.strip().splitlines()):
                self.say(f"   {'$' if number == 0 else ' '} {line.strip()}")
        start = self._timer()
        try:
            yield Telling(self, told)
        finally:
            told.seconds = round(self._timer() - start, 3)
            self.say(f"     {told.seconds:.1f} s")

    def pulse(self, text: str) -> None:
        """What is going on right now: overwritten by the next line, shown on a terminal only."""
        if self._live:
            self._clear()
            self._out.write(f"     … {text}"[:118])
            self._out.flush()

    def _clear(self) -> None:
        if self._live:
            self._out.write("\r\x1b[2K")


class Telling:
    """What a step may say while it runs."""

    def __init__(self, narrator: Narrator, step: Step) -> None:
        self._narrator = narrator
        self._step = step

    def saw(self, sentence: str) -> None:
        """A sentence about what happened: with the numbers that were seen, not those that were hoped for."""
        self._step.seen.append(sentence)
        self._narrator.say(f"   → {sentence}")

    def pulse(self, text: str) -> None:
        """What is going on right now."""
        self._narrator.pulse(text)
