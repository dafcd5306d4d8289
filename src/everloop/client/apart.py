"""One call of a room in a process of its own: ``python -m everloop.client.apart WORKSPACE``, with the call as JSON on standard
input; the last line of standard output is the answer.

Gates import a project's definitions. That is user code, which never runs in the server's process: a bad import or a crash ends
this one. What is done here is done in the name of who asked for it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, TypeVar

import msgspec

from everloop.client.ambient import connect, using
from everloop.errors import EverloopError, Failed, from_dict
from everloop.governance.identity import Actor, acting_as, current_actor
from everloop.workspace.workspace import Workspace

T = TypeVar("T")

PATIENCE = 900.0
"""Seconds a call may take: gates may train a model again."""


class Call(msgspec.Struct, frozen=True):
    """What is to be done, and in whose name."""

    room: str
    method: str
    arguments: dict[str, Any]
    actor: Actor


class Answer(msgspec.Struct, frozen=True):
    """What came of it: a result, or an error as `EverloopError.to_dict` writes it."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, str] | None = None


def call_apart(workspace: Workspace, kind: type[T], room: str, method: str, **arguments: Any) -> T:
    """Call a method of a room in a process of its own, in the name of who acts here; its result is of `kind`. Raises what the
    method raises; Failed when the process dies or takes longer than `PATIENCE`."""
    call = msgspec.json.encode(Call(room, method, arguments, current_actor()))
    command = [sys.executable, "-m", __name__, workspace.location]
    try:
        done = subprocess.run(
            command, input=call, capture_output=True, timeout=PATIENCE, check=False, cwd=workspace.project
        )
    except subprocess.TimeoutExpired:
        raise Failed(
            f"it took longer than {PATIENCE / 60:.0f} minutes", hint="run the command in a terminal"
        ) from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        told = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise Failed(f"the process that asks the gates ended: {told}", hint="run the command in a terminal")
    answer = msgspec.json.decode(lines[-1], type=Answer)
    if answer.error is not None:
        raise from_dict(answer.error)
    return msgspec.json.decode(answer.result, type=kind)


def main(location: str) -> int:
    call = msgspec.json.decode(sys.stdin.buffer.read(), type=Call)
    with acting_as(call.actor), connect(location) as workspace, using(workspace):
        try:
            done = getattr(getattr(workspace, call.room), call.method)(**call.arguments)
            answer = Answer(result=msgspec.Raw(msgspec.json.encode(done)))
        except EverloopError as error:
            answer = Answer(error=error.to_dict())
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
