"""Programs that steps start: what they print goes to the step's log, and one that fails fails the step with its last line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from everloop.errors import Failed


def run_program(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, returns: bool = False
) -> bytes:
    """Run a program to its end, and kill it when the step is stopped. `returns`: what it prints is returned; otherwise only told.

    Raises Failed, with the last line that it said, for one that does not end well.
    """
    last, printed = "", b""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if returns else subprocess.STDOUT,
    ) as at_work:
        assert at_work.stdout is not None
        try:
            if returns:
                printed, errors = at_work.communicate()
                for line in errors.splitlines(keepends=True):
                    last = _say(sys.stderr, line) or last
            else:
                for line in at_work.stdout:
                    last = _say(sys.stdout, line) or last
        except BaseException:
            at_work.kill()
            raise
    code = at_work.returncode
    if code:
        how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
        raise Failed(f"the command {how}" + (f": {last}" if last else ""))
    return printed


def path_here() -> str:
    """Where programs are looked for: first beside this Python, so that ``python`` is this one."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def _say(stream: TextIO, line: bytes) -> str:
    """Hand on a line of output; returns it without the space around."""
    text = line.decode("utf-8", "replace")
    stream.write(text)
    return text.strip()
