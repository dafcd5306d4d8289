"""Starting a run's command again, so that it goes on where it was cut off."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.errors import Conflict, Failed, InvalidInput
from everloop.tracking.starting import RESUME, resumable

if TYPE_CHECKING:
    from everloop.domain.runs import RunRecord
    from everloop.tracking.tracking import Tracking

STANDARD_ERROR = 2


class Resumed(msgspec.Struct, frozen=True):
    """What became of it: `run` is the one that went on (None, where the command started none), `exit_code` the command's."""

    run: str | None
    resumed_from: str
    status: str
    exit_code: int


def resume_command(tracking: "Tracking", given: str, *, say: Callable[[str], None]) -> Resumed:
    """Run the command of a run that was cut off again, in its folder, with the environment variable that makes the first
    `start_run` of the process go on with it. What the command prints goes to standard error.

    Raises Conflict when the run is running or has finished, InvalidInput when its command is not one that can be repeated.
    """
    record = resumable(tracking, given)
    captured = tracking.describe(record.run_id, metrics=False).captured
    how = f"in your script: ev.resume('{record.run_id}')"
    if (
        not captured.command
        or captured.source in ("notebook", "interactive")
        or captured.source.endswith(".ipynb")
    ):
        raise InvalidInput(f"run {record.name} was not started by a command", hint=how)
    if captured.masked:
        raise InvalidInput(
            f"the command of run {record.name} held a secret, which was not kept",
            hint=f"start it yourself with {RESUME}={record.run_id} in the environment",
        )
    folder = Path(captured.folder)
    if not folder.is_dir():
        raise Conflict(f"run {record.name} was started in {folder}, which is not here", hint=how)
    command = [_interpreter(captured.interpreter), *captured.command[1:]]
    say(f"$ cd {folder} && {' '.join(command)}")
    before = {each.run_id for each in _continuations(tracking, record.run_id)}
    environment = os.environ | {RESUME: record.run_id, "EVERLOOP_WORKSPACE": tracking.context.location}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=STANDARD_ERROR, check=False)
    except OSError as error:
        raise Failed(
            f"the command of run {record.name} could not be started: {error.strerror}", hint=how
        ) from error
    tracking.ship_pending()
    new = [each for each in _continuations(tracking, record.run_id) if each.run_id not in before]
    if not new:
        return Resumed(None, record.run_id, "failed" if done.returncode else "finished", done.returncode)
    return Resumed(new[0].run_id, record.run_id, new[0].status, done.returncode)


def _continuations(tracking: "Tracking", run_id: str) -> "list[RunRecord]":
    return tracking.search(f"resumed_from = '{run_id}'", state="all", limit=1000).runs


def _interpreter(captured: str) -> str:
    """The interpreter that ran the command, or this one where it is not here any more."""
    return captured if captured and Path(captured).exists() else sys.executable
